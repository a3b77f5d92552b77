//! Chat completions.

use std::fmt::Write as _;

use evenkeel::providers::door::Wire;
use serde_json::{Value, json};

use crate::bytes::Bytes;
use crate::wires::{self, in_pieces};

pub(crate) fn run(data: &[u8]) {
    wires::run(Wire::OpenAi, answer, data);
}

/// An answer as a whole body, and as the event stream of the same.
fn answer(bytes: &mut Bytes<'_>) -> (String, String) {
    let size = 1 + bytes.below(9);
    let (reasoning, text) = (bytes.text(20), bytes.text(40));
    let calls: Vec<[String; 3]> = (0..bytes.below(4))
        .map(|at| [format!("c{at}"), format!("n{}", bytes.text(4)), bytes.text(20)])
        .collect();
    let finish = *bytes.pick(&["stop", "length", "content_filter", "tool_calls", "eos", "novel"]);
    let usage = json!({"prompt_tokens": bytes.number(), "completion_tokens": bytes.number(),
        "prompt_tokens_details": {"cached_tokens": bytes.number()}});

    let whole_calls: Vec<Value> = calls.iter().map(|[id, name, arguments]| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }).collect();
    let message = json!({"role": "assistant", "reasoning_content": reasoning, "content": text,
        "tool_calls": whole_calls});
    let whole = json!({"id": "a", "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}]});

    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    deltas.extend(in_pieces(&reasoning, size).iter().map(|it| json!({"reasoning_content": it})));
    deltas.extend(in_pieces(&text, size).iter().map(|it| json!({"content": it})));
    let repeats = bytes.flag();
    for (at, [id, name, arguments]) in calls.iter().enumerate() {
        for (n, piece) in in_pieces(arguments, size).iter().enumerate() {
            let mut call = json!({"index": at, "function": {"arguments": piece}});
            // Some servers say id and name once, others with every piece.
            if n == 0 || repeats {
                call["id"] = json!(id);
                call["function"]["name"] = json!(name);
            }
            deltas.push(json!({"tool_calls": [call]}));
        }
    }
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "a", "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events: Vec<Value> = deltas.into_iter().map(|it| chunk(it, Value::Null)).collect();
    events.push(chunk(json!({}), json!(finish)));
    events.push(json!({"id": "a", "choices": [], "usage": usage}));
    let end = *bytes.pick(&["\n", "\r\n", "\r"]);
    let mut streamed = String::new();
    for event in events {
        let _ = write!(streamed, "data: {event}{end}{end}");
    }
    let _ = write!(streamed, "data: [DONE]{end}{end}");
    (whole.to_string(), streamed)
}
