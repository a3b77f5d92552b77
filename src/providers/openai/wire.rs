//! What this wire answers, as loosely as servers write it.
//!
//! Only the frame is typed. The leaves are JSON values, so that a server that puts something else in
//! a field loses that field and not the answer; unknown fields are ignored.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::classify;
use crate::response::FinishReason;
use crate::usage::Usage;

/// A whole answer, or one event of a stream.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub id: Value,
    pub model: Value,
    pub choices: Option<Vec<Choice>>,
    pub usage: Value,
    /// Where Groq puts the usage of a stream.
    pub x_groq: Value,
    pub error: Value,
    /// Where some servers put an error that they do not call one.
    pub message: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub index: Value,
    message: Option<Spoken>,
    delta: Option<Spoken>,
    pub finish_reason: Value,
    /// Where Moonshot puts the usage of a stream.
    pub usage: Value,
}

/// What the model said: all of it, or a piece.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spoken {
    content: Value,
    reasoning_content: Value,
    reasoning: Value,
    refusal: Value,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub index: Value,
    pub id: Value,
    pub function: Option<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub name: Value,
    pub arguments: Value,
}

impl Answer {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ProviderError> {
        serde_json::from_slice(json).map_err(|error| malformed(&error))
    }

    /// The error the answer is, if it is one.
    pub(super) fn failure(&self) -> Option<ProviderError> {
        if !self.error.is_null() {
            return Some(classify::error_value(None, &self.error));
        }
        let silent = self.choices.is_none() && self.message.is_string();
        silent.then(|| classify::error_value(None, &self.message))
    }

    /// The first choice; only one is ever asked for.
    pub(super) fn take_choice(&mut self) -> Option<Choice> {
        let choices = self.choices.take()?;
        choices.into_iter().find(|choice| choice.index.as_u64().unwrap_or(0) == 0)
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        usage(&self.usage).or_else(|| usage(&self.x_groq["usage"]))
    }
}

impl Choice {
    pub(super) fn take_spoken(&mut self) -> Spoken {
        self.delta.take().or_else(|| self.message.take()).unwrap_or_default()
    }

    pub(super) fn finish(&self) -> Option<FinishReason> {
        self.finish_reason.as_str().filter(|reason| !reason.is_empty()).map(finish)
    }
}

impl Spoken {
    pub(super) fn take_text(&mut self) -> Option<String> {
        flat(self.content.take(), "text")
    }

    pub(super) fn take_reasoning(&mut self) -> Option<String> {
        // Mistral lists thoughts among the content.
        let listed = self.content.is_array().then(|| flat(self.content.clone(), "thinking"));
        [self.reasoning_content.take(), self.reasoning.take()]
            .into_iter()
            .find_map(text)
            .or_else(|| listed.flatten())
    }

    pub(super) fn take_refusal(&mut self) -> Option<String> {
        text(self.refusal.take())
    }

    pub(super) fn take_calls(&mut self) -> Vec<Call> {
        self.tool_calls.take().unwrap_or_default()
    }
}

impl Call {
    pub(super) fn id(&self) -> &str {
        self.id.as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.function.as_ref().and_then(|function| function.name.as_str()).unwrap_or_default()
    }

    /// The arguments as JSON text; some servers send the JSON itself.
    pub(super) fn take_arguments(&mut self) -> String {
        match self.function.as_mut().map(|function| function.arguments.take()) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(json) => json.to_string(),
        }
    }
}

/// A text that says something.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// A text, or the `kind` parts of a list of parts.
fn flat(value: Value, kind: &str) -> Option<String> {
    match value {
        Value::Array(parts) => {
            let parts = parts.into_iter().filter(|part| part["type"] == kind);
            let flat: String = parts.filter_map(|mut part| inner(part[kind].take())).collect();
            (!flat.is_empty()).then_some(flat)
        }
        value if kind == "text" => text(value),
        _ => None,
    }
}

/// The text inside a part: as it stands, or as a list of text parts.
fn inner(value: Value) -> Option<String> {
    match value {
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part["text"].as_str()).collect())
        }
        value => text(value),
    }
}

/// The reason in our words. Some servers name the token that ended the answer.
fn finish(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "eos_token" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.chars().take(64).collect()),
    }
}

/// The finish of an answer that names none.
pub(super) fn unspecified() -> FinishReason {
    FinishReason::Other("unspecified".to_owned())
}

/// The finish of an answer whose text is a refusal.
pub(super) fn refused(finish: FinishReason) -> FinishReason {
    match finish {
        FinishReason::Stop => FinishReason::Other("refusal".to_owned()),
        finish => finish,
    }
}

pub(super) fn usage(usage: &Value) -> Option<Usage> {
    if !usage.is_object() {
        return None;
    }
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    // Not by JSON pointers, which are unescaped into new texts at every look.
    let detail = |of: &str, name: &str| usage.get(of)?.get(name)?.as_u64();
    Some(Usage {
        input_tokens: count("prompt_tokens"),
        output_tokens: count("completion_tokens"),
        cached_input_tokens: detail("prompt_tokens_details", "cached_tokens")
            .or_else(|| count("prompt_cache_hit_tokens")),
        cache_write_tokens: detail("prompt_tokens_details", "cache_write_tokens"),
        reasoning_tokens: detail("completion_tokens_details", "reasoning_tokens"),
        estimated: false,
    })
}

/// Where the JSON went wrong, without quoting it.
pub(super) fn malformed(error: &serde_json::Error) -> ProviderError {
    let message = format!("the JSON is wrong at line {} column {}", error.line(), error.column());
    ProviderError::new(ErrorKind::Malformed, message)
}
