//! A whole answer in OpenAI's words.

use evenkeel::request::Reasoning;
use evenkeel::{Completion, FinishReason, Part, ToolCall, Usage};
use serde_json::{Map, Value, json};

/// What stays the same in every piece of an answer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The answer's id.
    pub id: String,
    /// When it was asked for, in seconds since 1970.
    pub created: u64,
    /// The model that was asked for.
    pub model: String,
}

impl Identity {
    /// An object of the API with these fields and `more`.
    pub fn object(&self, kind: &str, more: Value) -> Value {
        let Self { id, created, model } = self;
        let mut object = Map::from_iter([
            ("id".to_owned(), json!(id)),
            ("object".to_owned(), json!(kind)),
            ("created".to_owned(), json!(created)),
            ("model".to_owned(), json!(model)),
        ]);
        if let Value::Object(more) = more {
            object.extend(more);
        }
        Value::Object(object)
    }
}

/// The whole answer.
pub fn completion(identity: &Identity, done: &Completion) -> Value {
    let response = &done.response;
    let choice = json!({
        "index": 0,
        "message": message(&response.content),
        "logprobs": null,
        "finish_reason": finish(&response.finish),
    });
    let more = json!({"choices": [choice], "usage": usage(&response.usage)});
    identity.object("chat.completion", more)
}

fn message(content: &[Part]) -> Value {
    let text: String = content.iter().filter_map(Part::as_text).collect();
    let calls: Vec<Value> = content.iter().filter_map(as_call).collect();
    let thoughts: String = content.iter().filter_map(as_thought).collect();
    let content = (!text.is_empty() || calls.is_empty()).then_some(text);
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    if !thoughts.is_empty() {
        message["reasoning_content"] = Value::String(thoughts);
    }
    message
}

fn as_call(part: &Part) -> Option<Value> {
    let Part::ToolCall(ToolCall { id, name, arguments, .. }) = part else { return None };
    Some(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

fn as_thought(part: &Part) -> Option<&str> {
    match part {
        Part::Reasoning(Reasoning { text, .. }) => Some(text),
        _ => None,
    }
}

/// Why the model stopped. Clients know these five words and no other.
pub fn finish(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        _ => "stop",
    }
}

/// The token counts; null where the server gave none.
pub fn usage(usage: &Usage) -> Value {
    if usage.is_unknown() {
        return Value::Null;
    }
    json!({
        "prompt_tokens": usage.input_tokens.unwrap_or(0),
        "completion_tokens": usage.output_tokens.unwrap_or(0),
        "total_tokens": usage.total_tokens(),
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens.unwrap_or(0)},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
    })
}
