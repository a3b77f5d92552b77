//! What holds between a whole answer and a streamed one, and for whatever a server sends.

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::decode;
use super::stream::Decoder;
use crate::chunk::{Accumulator, Chunk};
use crate::error::ProviderError;
use crate::providers::http::decoder::StreamDecoder as _;
use crate::providers::http::sse;
use crate::response::ChatResponse;
use crate::rng::Rng;

fn feed(decoder: &mut Decoder, name: &str, data: &str) -> Result<VecDeque<Chunk>, ProviderError> {
    let mut chunks = VecDeque::new();
    decoder.event(&sse::Event { name, data }, &mut chunks)?;
    Ok(chunks)
}

fn accumulate(events: &[Value]) -> ChatResponse {
    let (mut decoder, mut accumulator) = (Decoder::default(), Accumulator::default());
    for event in events {
        let name = event["type"].as_str().unwrap();
        for chunk in feed(&mut decoder, name, &event.to_string()).unwrap() {
            accumulator.push(&chunk).unwrap();
        }
    }
    accumulator.into_response()
}

/// The events in which the wire would stream `message`, its longer fields in pieces of `size`
/// characters.
fn streamed(message: &Value, size: usize) -> Vec<Value> {
    let mut head = message.clone();
    head["content"] = json!([]);
    head["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": head})];
    for (index, block) in (0..).zip(message["content"].as_array().unwrap()) {
        events.extend(streamed_block(index, block, size));
    }
    let end = json!({"stop_reason": message["stop_reason"]});
    events.push(json!({"type": "message_delta", "delta": end, "usage": message["usage"]}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn streamed_block(index: u64, block: &Value, size: usize) -> Vec<Value> {
    let mut begun = block.clone();
    let mut take = |field: &str, kind: &str, delta_field: &str, empty: Value| {
        let Some(value) = block.get(field) else { return vec![] };
        begun[field] = empty;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text: Vec<char> = text.chars().collect();
        text.chunks(size)
            .map(|piece| {
                let piece: String = piece.iter().collect();
                let delta = json!({"type": kind, delta_field: piece});
                json!({"type": "content_block_delta", "index": index, "delta": delta})
            })
            .collect()
    };
    let mut deltas = take("text", "text_delta", "text", json!(""));
    deltas.extend(take("thinking", "thinking_delta", "thinking", json!("")));
    deltas.extend(take("signature", "signature_delta", "signature", json!("")));
    deltas.extend(take("input", "input_json_delta", "partial_json", json!({})));
    let mut events =
        vec![json!({"type": "content_block_start", "index": index, "content_block": begun})];
    events.extend(deltas);
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

fn any_block() -> impl Strategy<Value = Value> {
    let input = prop::collection::btree_map("[a-z\"é]{0,4}", any::<i32>(), 0..4);
    prop_oneof![
        ".{0,40}".prop_map(|text| json!({"type": "text", "text": text})),
        (".{0,40}", "[a-zA-Z0-9+/]{0,20}").prop_map(|(thinking, signature)| {
            json!({"type": "thinking", "thinking": thinking, "signature": signature})
        }),
        "[a-z]{0,9}".prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        input
            .clone()
            .prop_map(|input| json!({"type": "tool_use", "id": "t", "name": "n", "input": input})),
        input.prop_map(
            |input| json!({"type": "server_tool_use", "id": "s", "name": "n", "input": input})
        ),
        "[a-z]{0,9}".prop_map(
            |data| json!({"type": "web_search_tool_result", "content": [{"title": data}]})
        ),
    ]
}

fn any_message() -> impl Strategy<Value = Value> {
    let reason = prop::sample::select(vec![
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
    ]);
    let blocks = prop::collection::vec(any_block(), 0..6);
    (blocks, reason, any::<[u32; 4]>()).prop_map(|(content, reason, counts)| {
        json!({
            "id": "msg_1", "model": "claude-x", "content": content, "stop_reason": reason,
            "usage": {
                "input_tokens": counts[0], "cache_read_input_tokens": counts[1],
                "cache_creation_input_tokens": counts[2], "output_tokens": counts[3],
            },
        })
    })
}

proptest! {
    #[test]
    fn a_stream_adds_up_to_the_whole_answer(message in any_message(), size in 1usize..9) {
        let whole = decode::response(message.to_string().as_bytes(), false).unwrap();
        prop_assert_eq!(accumulate(&streamed(&message, size)), whole);
    }
}

const NAMES: [&str; 8] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "message",
];

#[test]
fn a_million_random_bytes_panic_nobody() {
    let rng = Rng::from_seed(7);
    let mut decoder = Decoder::default();
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..50).map(|_| rng.next_u64() as u8).collect();
        let name = NAMES[rng.below(8) as usize];
        assert!(decode::response(&bytes, true).is_err());
        let _ = feed(&mut decoder, name, &String::from_utf8_lossy(&bytes));
    }
}

/// `value` with one of its values replaced, doubled or taken away.
fn mutate(value: &mut Value, rng: &Rng) {
    const REPLACEMENTS: [&str; 8] =
        ["null", "-1", "18446744073709551615", "1e400", "\"\"", "[]", "{}", "{\"type\":\"text\"}"];
    let children = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    } as u64;
    if children == 0 || rng.below(4) == 0 {
        let json = REPLACEMENTS[rng.below(8) as usize];
        *value = serde_json::from_str(json).unwrap_or_else(|_| json!(0.5));
        return;
    }
    let chosen = rng.below(children) as usize;
    match value {
        Value::Array(items) if rng.below(4) == 0 => drop(items.remove(chosen)),
        Value::Array(items) => mutate(&mut items[chosen], rng),
        Value::Object(fields) => {
            let name = fields.keys().nth(chosen).unwrap().clone();
            match rng.below(4) {
                0 => drop(fields.remove(&name)),
                _ => mutate(&mut fields[&name], rng),
            }
        }
        _ => {}
    }
}

#[test]
fn mutated_answers_panic_nobody() {
    let rng = Rng::from_seed(11);
    let content = json!([
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "abc"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"q": [1]}},
        {"type": "server_tool_use", "id": "s", "name": "n", "input": {"q": {}}},
    ]);
    let usage = json!({"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3});
    let message = json!({"id": "m", "model": "x", "content": content, "stop_reason": "tool_use", "usage": usage});
    let mut survived = 0;
    for _ in 0..3_000 {
        let mut whole = message.clone();
        mutate(&mut whole, &rng);
        survived += u32::from(decode::response(whole.to_string().as_bytes(), true).is_ok());

        let mut events = streamed(&message, 2);
        let chosen = rng.below(events.len() as u64) as usize;
        mutate(&mut events[chosen], &rng);
        let mut decoder = Decoder::default();
        for event in &events {
            let name = event.get("type").and_then(Value::as_str).unwrap_or("message");
            survived += u32::from(feed(&mut decoder, name, &event.to_string()).is_ok());
        }
    }
    assert!(survived > 3_000, "the mutations are mild enough to get past the parser");
}
