//! A streaming answer of the messages API, event by event.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::decode::{self, Counts, Tag, bad, read};
use crate::chunk::{Chunk, ChunkStart};
use crate::error::ProviderError;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::{classify, sse};
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::FinishReason;

/// The wire streams one block after the other; a server that leaves more than these open is lost.
const MAX_OPEN_BLOCKS: usize = 64;

/// Turns the events of one answer into chunks.
///
/// Memory is the open blocks: nothing of text, reasoning and tool calls, and the content of blocks
/// that become [`Part::Opaque`], within the transport's bound of the stream.
#[derive(Default)]
pub(super) struct Decoder {
    /// By the server's index, which is a name and nothing more: any number may come.
    open: BTreeMap<u64, Block>,
    /// Blocks begun so far. Their own numbers, so that a server that uses an index twice does not
    /// have two blocks run together.
    begun: u32,
    counts: Counts,
    stop_reason: Option<String>,
}

impl StreamDecoder for Decoder {
    fn event(
        &mut self,
        event: &sse::Event<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        let before = chunks.len();
        let data = event.data;
        match &*kind(event)? {
            "message_start" => self.start(read(data)?, chunks),
            "content_block_start" => self.begin(&read(data)?, chunks)?,
            "content_block_delta" => self.extend(&read(data)?, chunks)?,
            "content_block_stop" => self.end_block(read::<BlockStop>(data)?.index, chunks)?,
            "message_delta" => self.note(read(data)?, chunks),
            "message_stop" => self.stop(chunks)?,
            "error" => return Err(classify::error_value(None, &read::<Failed>(data)?.error)),
            _ => {}
        }
        // Whatever has no chunk of its own (pings, citations, events newer than this code, input of
        // the server's own tools) still shows that the server is at work.
        if chunks.len() == before {
            chunks.push_back(Chunk::Heartbeat);
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        chunks.extend(Chunk::from_response(decode::response(body, false)?));
        Ok(())
    }
}

/// The event's name is also in its data, where servers that name no events have it too.
fn kind<'a>(event: &sse::Event<'a>) -> Result<Cow<'a, str>, ProviderError> {
    match event.name {
        "message" => Ok(read::<Tag<'_>>(event.data)?.kind),
        name => Ok(Cow::Borrowed(name)),
    }
}

/// A block that is being streamed.
struct Block {
    index: u32,
    kind: BlockKind,
}

enum BlockKind {
    /// Text and reasoning: every delta is a chunk.
    Plain,
    /// A tool call, with the arguments it began with: they count where no delta brings others.
    Call { unsent: Option<String> },
    /// Anything else, put together here; its `input` comes as pieces of JSON text.
    Opaque { value: Map<String, Value>, input: String },
}

#[derive(Deserialize)]
struct MessageStart {
    message: StartedMessage,
}

#[derive(Deserialize)]
struct StartedMessage {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct BlockStart<'a> {
    index: u64,
    #[serde(borrow)]
    content_block: &'a RawValue,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    index: u64,
    #[serde(borrow)]
    delta: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct BlockStop {
    index: u64,
}

#[derive(Deserialize)]
struct MessageDelta {
    #[serde(default)]
    delta: Stopped,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize, Default)]
struct Stopped {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    error: Value,
}

impl Decoder {
    fn start(&mut self, MessageStart { message }: MessageStart, chunks: &mut VecDeque<Chunk>) {
        let mut start = ChunkStart::new();
        start.id = message.id;
        start.model = message.model;
        chunks.push_back(Chunk::Start(start));
        self.count(&message.usage, chunks);
    }

    fn count(&mut self, usage: &Value, chunks: &mut VecDeque<Chunk>) {
        let counts = Counts::read(usage);
        if counts != Counts::default() {
            self.counts.update(counts);
            chunks.push_back(Chunk::Usage(self.counts.usage()));
        }
    }

    fn begin(
        &mut self,
        start: &BlockStart<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        self.end_block(start.index, chunks)?;
        if self.open.len() >= MAX_OPEN_BLOCKS {
            return Err(bad("the stream has too many blocks open"));
        }
        let index = self.begun;
        self.begun = index.checked_add(1).ok_or_else(|| bad("the stream has too many blocks"))?;
        let kind = begin_part(index, decode::part(start.content_block)?, chunks);
        self.open.insert(start.index, Block { index, kind });
        Ok(())
    }

    fn extend(
        &mut self,
        delta: &BlockDelta<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        let block = self.open.get_mut(&delta.index).ok_or_else(|| bad("a delta of no block"))?;
        block.extend(delta.delta.get(), chunks)
    }

    /// Also for blocks that were never begun: there is nothing to end, and nothing is lost.
    fn end_block(&mut self, index: u64, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        match self.open.remove(&index) {
            Some(block) => block.end(chunks),
            None => Ok(()),
        }
    }

    fn note(&mut self, message: MessageDelta, chunks: &mut VecDeque<Chunk>) {
        if message.delta.stop_reason.is_some() {
            self.stop_reason = message.delta.stop_reason;
        }
        self.count(&message.usage, chunks);
    }

    fn stop(&mut self, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        for (_, block) in std::mem::take(&mut self.open) {
            block.end(chunks)?;
        }
        let finish = self.stop_reason.as_deref().map_or_else(unsaid, decode::finish);
        chunks.push_back(Chunk::done(finish));
        Ok(())
    }
}

fn begin_part(index: u32, part: Part, chunks: &mut VecDeque<Chunk>) -> BlockKind {
    match part {
        Part::Text { text } => push_text(index, text, chunks),
        Part::Reasoning(delta) => push_reasoning(index, delta, chunks),
        Part::ToolCall(ToolCall { id, name, arguments }) => {
            chunks.push_back(Chunk::ToolCall { index, delta: ToolCall::new(id, name, "") });
            return BlockKind::Call { unsent: Some(arguments) };
        }
        Part::Opaque { value: Value::Object(value), .. } => {
            return BlockKind::Opaque { value, input: String::new() };
        }
        _ => {}
    }
    BlockKind::Plain
}

impl Block {
    fn extend(&mut self, json: &str, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        if let BlockKind::Opaque { value, input } = &mut self.kind {
            return extend_opaque(value, input, read(json)?);
        }
        match read(json)? {
            Delta::Text { text } => push_text(self.index, text, chunks),
            Delta::Thinking { thinking } => {
                push_reasoning(self.index, Reasoning::new(thinking), chunks);
            }
            Delta::Signature { signature } => {
                let delta = Reasoning::default().with_signature(signature);
                push_reasoning(self.index, delta, chunks);
            }
            Delta::InputJson { partial_json } => self.push_arguments(partial_json, chunks),
            Delta::Unknown => {}
        }
        Ok(())
    }

    fn push_arguments(&mut self, piece: String, chunks: &mut VecDeque<Chunk>) {
        let BlockKind::Call { unsent } = &mut self.kind else { return };
        if !piece.is_empty() {
            *unsent = None;
            let delta = ToolCall::new("", "", piece);
            chunks.push_back(Chunk::ToolCall { index: self.index, delta });
        }
    }

    fn end(self, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        let Self { index, kind } = self;
        match kind {
            BlockKind::Plain | BlockKind::Call { unsent: None } => {}
            BlockKind::Call { unsent: Some(arguments) } => {
                let delta = ToolCall::new("", "", arguments);
                chunks.push_back(Chunk::ToolCall { index, delta });
            }
            BlockKind::Opaque { mut value, input } => {
                if !input.is_empty() {
                    value.insert("input".into(), read(&input)?);
                }
                let part = Part::Opaque {
                    provider: super::provider::WIRE.into(),
                    value: Value::Object(value),
                };
                chunks.push_back(Chunk::Part { index, part });
            }
        }
        Ok(())
    }
}

/// Deltas of kinds this code has never heard of carry more of their block's own fields.
fn extend_opaque(
    value: &mut Map<String, Value>,
    input: &mut String,
    mut delta: Map<String, Value>,
) -> Result<(), ProviderError> {
    let kind = delta.remove("type");
    if kind.as_ref().and_then(Value::as_str) == Some("input_json_delta") {
        let piece = delta.get("partial_json").and_then(Value::as_str);
        input.push_str(piece.ok_or_else(|| bad("an input delta without JSON text"))?);
        return Ok(());
    }
    for (name, more) in delta {
        match (value.get_mut(&name), more) {
            (_, Value::Null) => {}
            (Some(Value::String(sofar)), Value::String(more)) => sofar.push_str(&more),
            (Some(Value::Array(sofar)), Value::Array(more)) => sofar.extend(more),
            (_, more) => drop(value.insert(name, more)),
        }
    }
    Ok(())
}

fn push_text(index: u32, text: String, chunks: &mut VecDeque<Chunk>) {
    if !text.is_empty() {
        chunks.push_back(Chunk::Text { index, text });
    }
}

fn push_reasoning(index: u32, delta: Reasoning, chunks: &mut VecDeque<Chunk>) {
    if delta != Reasoning::default() {
        chunks.push_back(Chunk::Reasoning { index, delta });
    }
}

/// What the accumulator says of an answer without a reason to stop.
fn unsaid() -> FinishReason {
    FinishReason::Other("incomplete".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Accumulator;
    use crate::error::ErrorKind;
    use crate::response::ChatResponse;
    use crate::usage::Usage;
    use serde_json::json;

    fn feed(
        decoder: &mut Decoder,
        name: &str,
        data: &str,
    ) -> Result<VecDeque<Chunk>, ProviderError> {
        let mut chunks = VecDeque::new();
        decoder.event(&sse::Event { name, data }, &mut chunks)?;
        Ok(chunks)
    }

    /// The chunks of a stream of `events`, which are named as their data says.
    fn chunks(events: &[Value]) -> Result<Vec<Chunk>, ProviderError> {
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for event in events {
            let name = event["type"].as_str().unwrap();
            all.extend(feed(&mut decoder, name, &event.to_string())?);
        }
        Ok(all)
    }

    fn accumulate(events: &[Value]) -> ChatResponse {
        let mut accumulator = Accumulator::default();
        for chunk in chunks(events).unwrap() {
            accumulator.push(&chunk).unwrap();
        }
        accumulator.into_response()
    }

    fn started(index: u64, block: Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn delta(index: u64, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    fn stopped(index: u64) -> Value {
        json!({"type": "content_block_stop", "index": index})
    }

    fn message_start() -> Value {
        json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "content": [],
            "model": "claude-x", "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1},
        }})
    }

    fn message_end(stop_reason: &str) -> [Value; 2] {
        [
            json!({"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 15}}),
            json!({"type": "message_stop"}),
        ]
    }

    fn around(blocks: impl IntoIterator<Item = Value>, stop_reason: &str) -> Vec<Value> {
        std::iter::once(message_start()).chain(blocks).chain(message_end(stop_reason)).collect()
    }

    #[test]
    fn a_text_arrives_delta_by_delta() {
        let events = around(
            [
                started(0, json!({"type": "text", "text": ""})),
                json!({"type": "ping"}),
                delta(0, json!({"type": "text_delta", "text": "Hel"})),
                delta(0, json!({"type": "text_delta", "text": "lo"})),
                delta(0, json!({"type": "citations_delta", "citation": {"cited_text": "x"}})),
                stopped(0),
            ],
            "end_turn",
        );
        let mut start = ChunkStart::new();
        start.id = Some("msg_1".into());
        start.model = Some("claude-x".into());
        assert_eq!(
            chunks(&events).unwrap(),
            [
                Chunk::Start(start),
                Chunk::Usage(Usage::counted(125, 1).with_cached_input(100)),
                Chunk::Heartbeat,
                Chunk::Heartbeat,
                Chunk::text(0, "Hel"),
                Chunk::text(0, "lo"),
                Chunk::Heartbeat,
                Chunk::Heartbeat,
                Chunk::Usage(Usage::counted(125, 15).with_cached_input(100)),
                Chunk::done(FinishReason::Stop),
            ]
        );
    }

    #[test]
    fn counts_are_totals_and_never_fall() {
        let end = json!({"type": "message_delta", "delta": {}, "usage": {"input_tokens": 0, "output_tokens": 9}});
        let response = accumulate(&[message_start(), end.clone(), end]);
        assert_eq!(response.usage, Usage::counted(125, 9).with_cached_input(100));
    }

    #[test]
    fn a_call_without_input_deltas_keeps_the_input_it_began_with() {
        for (input, arguments) in [(json!({}), "{}"), (json!({"q": 1}), r#"{"q":1}"#)] {
            let block = json!({"type": "tool_use", "id": "t", "name": "n", "input": input});
            let empty = delta(0, json!({"type": "input_json_delta", "partial_json": ""}));
            let response = accumulate(&around([started(0, block), empty], "tool_use"));
            assert_eq!(response.content, [Part::ToolCall(ToolCall::new("t", "n", arguments))]);
        }
    }

    #[test]
    fn deltas_replace_the_input_a_call_began_with() {
        let block = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
        let piece =
            |json: &str| delta(0, json!({"type": "input_json_delta", "partial_json": json}));
        let events =
            around([started(0, block), piece("{\"q\""), piece(":1}"), stopped(0)], "tool_use");
        let call = accumulate(&events).tool_calls().next().cloned();
        assert_eq!(call, Some(ToolCall::new("t", "n", "{\"q\":1}")));
    }

    #[test]
    fn blocks_of_unknown_kinds_are_put_together() {
        let events = around(
            [
                started(
                    0,
                    json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
                ),
                delta(0, json!({"type": "input_json_delta", "partial_json": "{\"query\":"})),
                delta(0, json!({"type": "input_json_delta", "partial_json": "\"x\"}"})),
                stopped(0),
                started(1, json!({"type": "compaction", "content": null})),
                delta(
                    1,
                    json!({"type": "compaction_delta", "content": "so ", "encrypted_content": "e"}),
                ),
                delta(
                    1,
                    json!({"type": "compaction_delta", "content": "far", "encrypted_content": null}),
                ),
                stopped(1),
            ],
            "end_turn",
        );
        let opaque = |value| Part::Opaque { provider: "anthropic".into(), value };
        assert_eq!(
            accumulate(&events).content,
            [
                opaque(
                    json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}})
                ),
                opaque(
                    json!({"type": "compaction", "content": "so far", "encrypted_content": "e"})
                ),
            ]
        );
    }

    #[test]
    fn a_stream_that_names_no_events_is_read_by_their_type() {
        let mut decoder = Decoder::default();
        let text = started(0, json!({"type": "text", "text": "whole"})).to_string();
        assert_eq!(feed(&mut decoder, "message", &text).unwrap(), [Chunk::text(0, "whole")]);
        let news = feed(&mut decoder, "message", r#"{"type": "news"}"#).unwrap();
        assert_eq!(news, [Chunk::Heartbeat]);
    }

    #[test]
    fn an_error_event_is_classified() {
        let kind = |kind: &str| {
            let event = json!({"type": "error", "error": {"type": kind, "message": "m"}});
            chunks(&[message_start(), event]).unwrap_err().kind()
        };
        assert_eq!(kind("overloaded_error"), ErrorKind::Overloaded);
        assert_eq!(kind("rate_limit_error"), ErrorKind::RateLimited);
        assert_eq!(kind("api_error"), ErrorKind::Server);
        assert_eq!(kind("authentication_error"), ErrorKind::Auth);
        assert_eq!(kind("invalid_request_error"), ErrorKind::InvalidRequest);
    }

    #[test]
    fn any_index_is_only_a_name() {
        let text = |index| {
            let block = started(index, json!({"type": "text", "text": ""}));
            let more = delta(index, json!({"type": "text_delta", "text": "a"}));
            [block, more, stopped(index)]
        };
        let events =
            around(text(u64::MAX).into_iter().chain(text(u64::MAX)).chain(text(7)), "end_turn");
        let indexes: Vec<u32> = chunks(&events)
            .unwrap()
            .iter()
            .filter_map(|chunk| match chunk {
                Chunk::Text { index, .. } => Some(*index),
                _ => None,
            })
            .collect();
        assert_eq!(indexes, [0, 1, 2]);
    }

    #[test]
    fn a_server_cannot_leave_blocks_open_without_end() {
        let open = |count: u64| {
            let blocks =
                (0..count).map(|index| started(index, json!({"type": "text", "text": ""})));
            chunks(&around(blocks, "end_turn"))
        };
        assert!(open(MAX_OPEN_BLOCKS as u64).is_ok());
        assert_eq!(open(MAX_OPEN_BLOCKS as u64 + 1).unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn a_delta_of_no_block_is_malformed() {
        let stray = delta(3, json!({"type": "text_delta", "text": "lost"}));
        assert_eq!(chunks(&[stray]).unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn a_whole_answer_to_a_request_for_a_stream_is_streamed() {
        let mut chunks = VecDeque::new();
        let body = json!({"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"});
        Decoder::default().whole(body.to_string().as_bytes(), &mut chunks).unwrap();
        assert!(chunks.contains(&Chunk::text(0, "hi")));
        assert_eq!(chunks.back(), Some(&Chunk::done(FinishReason::Stop)));
    }
}
