//! A whole answer in OpenAI's words. It is written as it stands, and no JSON value is built of it.

use evenkeel::request::Reasoning;
use evenkeel::{Completion, FinishReason, Part, ToolCall, Usage};
use serde::Serialize;
use serde_json::{Value, json};

/// What stays the same in every piece of an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// The answer's id.
    pub id: String,
    /// When it was asked for, in seconds since 1970.
    pub created: u64,
    /// The model that was asked for.
    pub model: String,
}

impl Identity {
    /// An object of the API with these fields and those of `more`.
    pub fn object<'a>(&'a self, kind: &'a str, more: impl Serialize + 'a) -> impl Serialize + 'a {
        #[derive(Serialize)]
        struct Object<'a, M> {
            #[serde(flatten)]
            identity: &'a Identity,
            object: &'a str,
            #[serde(flatten)]
            more: M,
        }
        Object { identity: self, object: kind, more }
    }
}

/// The whole answer.
pub fn completion<'a>(identity: &'a Identity, done: &'a Completion) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Answer<'a> {
        choices: [Choice<'a>; 1],
        usage: Value,
    }
    let response = &done.response;
    let (message, finish_reason) = (Message::of(&response.content), finish(&response.finish));
    let choice = Choice { index: 0, message, logprobs: (), finish_reason };
    let answer = Answer { choices: [choice], usage: usage(&response.usage) };
    identity.object("chat.completion", answer)
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: (),
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: (),
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
}

impl<'a> Message<'a> {
    fn of(content: &'a [Part]) -> Self {
        let text: String = content.iter().filter_map(Part::as_text).collect();
        let tool_calls: Vec<_> = content.iter().filter_map(Call::of).collect();
        let reasoning_content = content.iter().filter_map(as_thought).collect();
        let content = (!text.is_empty() || tool_calls.is_empty()).then_some(text);
        Self { role: "assistant", content, refusal: (), tool_calls, reasoning_content }
    }
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn of(part: &'a Part) -> Option<Self> {
        let Part::ToolCall(ToolCall { id, name, arguments, .. }) = part else { return None };
        Some(Self { id, kind: "function", function: Function { name, arguments } })
    }
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
