//! A streaming answer of the messages API, event by event.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::decode::{self, Counts, Tag, Tokens, Trees, WIRE, bad, read};
use crate::chunk::{Chunk, ChunkStart};
use crate::error::ProviderError;
use crate::providers::http::classify::Told;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::lenient::lenient;
use crate::providers::http::sse;
use crate::request::{Part, Reasoning, ToolCall};

/// The wire streams one block after the other; a server that leaves more than these open is lost.
const MAX_OPEN_BLOCKS: usize = 64;

/// Turns the events of one answer into chunks.
///
/// Memory is the open blocks: nothing of text, reasoning and tool calls, and the content of blocks
/// that become [`Part::Opaque`], within the transport's bound of the stream.
#[derive(Default)]
pub(crate) struct Decoder {
    /// By the server's index, which is a name and nothing more: any number may come.
    open: BTreeMap<u64, Block>,
    /// Blocks begun so far. Their own numbers, so that a server that uses an index twice does not
    /// have two blocks run together.
    begun: u32,
    counts: Counts,
    trees: Trees,
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
            "message_stop" => self.stop(data, chunks)?,
            "error" => return Err(read::<Failed>(data)?.error.in_answer()),
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
    #[serde(default, deserialize_with = "lenient")]
    usage: Tokens,
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

/// All that a delta may carry. No enum by its tag: serde would keep a tree of what it skips.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    text: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    thinking: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    signature: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    partial_json: Option<String>,
}

/// A piece of an opaque block's input, as JSON text.
#[derive(Deserialize)]
struct InputDelta<'a> {
    #[serde(borrow)]
    partial_json: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BlockStop {
    index: u64,
}

#[derive(Deserialize)]
struct MessageDelta {
    #[serde(default)]
    delta: Stopped,
    #[serde(default, deserialize_with = "lenient")]
    usage: Tokens,
}

#[derive(Deserialize, Default)]
struct Stopped {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    error: Told,
}

impl Decoder {
    fn start(&mut self, MessageStart { message }: MessageStart, chunks: &mut VecDeque<Chunk>) {
        let mut start = ChunkStart::new();
        start.id = message.id;
        start.model = message.model;
        chunks.push_back(Chunk::Start(start));
        self.count(message.usage, chunks);
    }

    fn count(&mut self, usage: Tokens, chunks: &mut VecDeque<Chunk>) {
        let counts = Counts::from(usage);
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
        let kind = begin_part(index, decode::part(start.content_block, &mut self.trees)?, chunks);
        self.open.insert(start.index, Block { index, kind });
        Ok(())
    }

    fn extend(
        &mut self,
        delta: &BlockDelta<'_>,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        let block = self.open.get_mut(&delta.index).ok_or_else(|| bad("a delta of no block"))?;
        block.extend(delta.delta.get(), &mut self.trees, chunks)
    }

    /// Also for blocks that were never begun: there is nothing to end, and nothing is lost.
    fn end_block(&mut self, index: u64, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        match self.open.remove(&index) {
            Some(block) => block.end(&mut self.trees, chunks),
            None => Ok(()),
        }
    }

    fn note(&mut self, message: MessageDelta, chunks: &mut VecDeque<Chunk>) {
        if message.delta.stop_reason.is_some() {
            self.stop_reason = message.delta.stop_reason;
        }
        self.count(message.usage, chunks);
    }

    /// The name alone is not the event: a body without a length may end in the middle of its data.
    fn stop(&mut self, data: &str, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        read::<IgnoredAny>(data)?;
        for (_, block) in std::mem::take(&mut self.open) {
            block.end(&mut self.trees, chunks)?;
        }
        chunks.push_back(Chunk::done(decode::finish(self.stop_reason.as_deref())));
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
    fn extend(
        &mut self,
        json: &str,
        trees: &mut Trees,
        chunks: &mut VecDeque<Chunk>,
    ) -> Result<(), ProviderError> {
        if let BlockKind::Opaque { value, input } = &mut self.kind {
            if read::<Tag<'_>>(json)?.kind == "input_json_delta" {
                input.push_str(&read::<InputDelta<'_>>(json)?.partial_json);
            } else {
                extend_opaque(value, trees.read(json)?);
            }
            return Ok(());
        }
        let Delta { kind, text, thinking, signature, partial_json } = read(json)?;
        let carried = |field: Option<String>| field.ok_or_else(|| bad("a delta without its field"));
        match &*kind {
            "text_delta" => push_text(self.index, carried(text)?, chunks),
            "thinking_delta" => {
                push_reasoning(self.index, Reasoning::new(carried(thinking)?), chunks);
            }
            "signature_delta" => {
                let signature = carried(signature)?;
                if !signature.is_empty() {
                    let delta = Reasoning::default().with_signature(signature);
                    push_reasoning(self.index, delta, chunks);
                }
            }
            "input_json_delta" => self.push_arguments(carried(partial_json)?, chunks),
            _ => {}
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

    fn end(self, trees: &mut Trees, chunks: &mut VecDeque<Chunk>) -> Result<(), ProviderError> {
        let Self { index, kind } = self;
        match kind {
            BlockKind::Plain | BlockKind::Call { unsent: None } => {}
            BlockKind::Call { unsent: Some(arguments) } => {
                let delta = ToolCall::new("", "", arguments);
                chunks.push_back(Chunk::ToolCall { index, delta });
            }
            BlockKind::Opaque { mut value, input } => {
                if !input.is_empty() {
                    value.insert("input".into(), trees.read(&input)?);
                }
                let part = Part::Opaque { provider: WIRE.into(), value: Value::Object(value) };
                chunks.push_back(Chunk::Part { index, part });
            }
        }
        Ok(())
    }
}

/// Deltas of kinds this code has never heard of carry more of their block's own fields.
fn extend_opaque(value: &mut Map<String, Value>, mut delta: Map<String, Value>) {
    delta.remove("type");
    for (name, more) in delta {
        match (value.get_mut(&name), more) {
            (_, Value::Null) => {}
            (Some(Value::String(sofar)), Value::String(more)) => sofar.push_str(&more),
            (Some(Value::Array(sofar)), Value::Array(more)) => sofar.extend(more),
            (_, more) => drop(value.insert(name, more)),
        }
    }
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

#[cfg(test)]
mod tests;
