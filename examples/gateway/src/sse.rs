//! A stream of chunks as the events of OpenAI's API. Pure.

use bytes::Bytes;
use evenkeel::{Chunk, Error, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{Identity, finish, usage};
use crate::failure::Failure;

/// Turns chunks into events, one at a time.
#[derive(Debug)]
pub struct Events {
    identity: Identity,
    include_usage: bool,
    /// The part of each tool call seen so far: its place in the list is the call's number.
    calls: Vec<u32>,
    usage: Usage,
    spoke: bool,
}

/// The last event of a stream that did not break off.
const DONE: &str = "data: [DONE]\n\n";

impl Events {
    /// The events of one answer.
    pub fn new(identity: Identity, include_usage: bool) -> Self {
        Self { identity, include_usage, calls: Vec::new(), usage: Usage::new(), spoke: false }
    }

    /// What a chunk adds to the stream; nothing where it has nothing for the caller.
    pub fn of(&mut self, chunk: &Chunk) -> Bytes {
        match chunk {
            Chunk::Text { text, .. } => self.delta(json!({"content": text})),
            Chunk::Reasoning { delta, .. } => self.delta(json!({"reasoning_content": delta.text})),
            Chunk::ToolCall { index, delta } => {
                let call = self.call(*index, &delta.id, &delta.name, &delta.arguments);
                self.delta(json!({"tool_calls": [call]}))
            }
            Chunk::Usage(counted) => {
                self.usage.update(counted);
                Bytes::new()
            }
            // A comment: it tells whoever is between that the connection lives.
            Chunk::Heartbeat => Bytes::from_static(b":\n\n"),
            Chunk::Done { finish } => self.end(finish),
            _ => Bytes::new(),
        }
    }

    /// The last event of a stream that broke off: no `[DONE]` follows it.
    pub fn broken(error: &Error) -> Bytes {
        event(&Failure::from(error).body()).into()
    }

    fn delta(&mut self, mut delta: Value) -> Bytes {
        if !std::mem::replace(&mut self.spoke, true) {
            delta["role"] = json!("assistant");
        }
        event(&self.choice(&delta, None)).into()
    }

    /// The id and the name of a call come with its first piece.
    fn call(&mut self, part: u32, id: &str, name: &str, arguments: &str) -> Value {
        if let Some(number) = self.calls.iter().position(|&seen| seen == part) {
            return json!({"index": number, "function": {"arguments": arguments}});
        }
        self.calls.push(part);
        json!({
            "index": self.calls.len() - 1,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        })
    }

    fn end(&self, reason: &evenkeel::FinishReason) -> Bytes {
        let mut last = event(&self.choice(&json!({}), Some(finish(reason))));
        if self.include_usage {
            let counted = json!({"choices": [], "usage": usage(&self.usage)});
            last.push_str(&event(&self.identity.object("chat.completion.chunk", counted)));
        }
        last.push_str(DONE);
        last.into()
    }

    fn choice<'a>(&'a self, delta: &'a Value, finish: Option<&'a str>) -> impl Serialize + 'a {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.identity.object("chat.completion.chunk", json!({"choices": [choice]}))
    }
}

fn event(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("what is answered has only texts for keys");
    format!("data: {json}\n\n")
}
