//! The messages API.

use std::fmt::Write as _;

use evenkeel::providers::door::Wire;
use serde_json::{Value, json};

use crate::bytes::Bytes;
use crate::wires::{self, in_pieces};

pub(crate) fn run(data: &[u8]) {
    wires::run(Wire::Anthropic, answer, data);
}

/// An answer as a whole body, and as the event stream of the same.
fn answer(bytes: &mut Bytes<'_>) -> (String, String) {
    let size = 1 + bytes.below(9);
    let blocks: Vec<Value> = (0..bytes.below(5)).map(|at| block(bytes, at)).collect();
    let reasons = ["end_turn", "max_tokens", "tool_use", "refusal", "pause_turn", "stop_sequence"];
    let stop = *bytes.pick(&reasons);
    let usage = json!({"input_tokens": bytes.number(), "output_tokens": bytes.number(),
        "cache_read_input_tokens": bytes.number(), "cache_creation_input_tokens": bytes.number()});
    let whole = json!({"id": "a", "model": "m", "content": blocks, "stop_reason": stop,
        "usage": usage});

    let mut head = whole.clone();
    head["content"] = json!([]);
    head["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": head})];
    // An index is a name: some servers count, others give what they like.
    let step = 1 + bytes.below(3);
    for (at, block) in blocks.iter().enumerate() {
        events.extend(streamed(at * step, block, size));
        if bytes.flag() {
            events.push(json!({"type": "ping"}));
        }
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}));
    events.push(json!({"type": "message_stop"}));
    let named = bytes.flag();
    let mut body = String::new();
    for event in events {
        if named {
            let _ = writeln!(body, "event: {}", event["type"].as_str().unwrap_or("message"));
        }
        let _ = write!(body, "data: {event}\n\n");
    }
    (whole.to_string(), body)
}

fn block(bytes: &mut Bytes<'_>, at: usize) -> Value {
    let input = |bytes: &mut Bytes<'_>| match bytes.below(3) {
        0 => json!({}),
        1 => json!({bytes.text(4): bytes.number()}),
        _ => json!({"q": bytes.text(12), "deep": [[bytes.text(3)], null, 0.5]}),
    };
    match bytes.below(5) {
        0 => json!({"type": "text", "text": bytes.text(40)}),
        1 => {
            let (thinking, signature) = (bytes.text(20), bytes.text(8));
            json!({"type": "thinking", "thinking": thinking, "signature": signature})
        }
        2 => json!({"type": "redacted_thinking", "data": bytes.text(9)}),
        3 => {
            json!({"type": "tool_use", "id": format!("t{at}"), "name": "n", "input": input(bytes)})
        }
        _ => {
            let id = format!("s{at}");
            json!({"type": "server_tool_use", "id": id, "name": "n", "input": input(bytes)})
        }
    }
}

/// The events of one block: begun empty, then filled.
fn streamed(index: usize, block: &Value, size: usize) -> Vec<Value> {
    let fields = [
        ("text", "text_delta", "text", json!("")),
        ("thinking", "thinking_delta", "thinking", json!("")),
        ("signature", "signature_delta", "signature", json!("")),
        ("input", "input_json_delta", "partial_json", json!({})),
    ];
    let (mut begun, mut deltas) = (block.clone(), Vec::new());
    for (field, kind, delta_field, empty) in fields {
        let Some(value) = block.get(field) else { continue };
        begun[field] = empty;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        deltas.extend(in_pieces(&text, size).iter().map(|piece| {
            let delta = json!({"type": kind, delta_field: piece});
            json!({"type": "content_block_delta", "index": index, "delta": delta})
        }));
    }
    let mut events =
        vec![json!({"type": "content_block_start", "index": index, "content_block": begun})];
    events.append(&mut deltas);
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}
