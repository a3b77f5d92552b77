use super::*;
use crate::chunk::Accumulator;
use crate::error::ErrorKind;
use crate::response::{ChatResponse, FinishReason};
use crate::usage::Usage;
use serde_json::json;

fn feed(decoder: &mut Decoder, name: &str, data: &str) -> Result<VecDeque<Chunk>, ProviderError> {
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
fn an_empty_signature_is_none() {
    let events = around(
        [
            started(0, json!({"type": "thinking", "thinking": "so", "signature": ""})),
            delta(0, json!({"type": "signature_delta", "signature": ""})),
        ],
        "end_turn",
    );
    assert_eq!(accumulate(&events).content, [Part::Reasoning(Reasoning::new("so"))]);
}

#[test]
fn deltas_replace_the_input_a_call_began_with() {
    let block = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let piece = |json: &str| delta(0, json!({"type": "input_json_delta", "partial_json": json}));
    let events = around([started(0, block), piece("{\"q\""), piece(":1}"), stopped(0)], "tool_use");
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
            opaque(json!({"type": "compaction", "content": "so far", "encrypted_content": "e"})),
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
        let blocks = (0..count).map(|index| started(index, json!({"type": "text", "text": ""})));
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
