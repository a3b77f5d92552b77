//! A whole answer, and what whole and streamed answers share.

use evenkeel::{ChatResponse, FinishReason, Part, ProviderError, ToolCall, Usage};
use serde_json::Value;

use crate::classify;
use crate::failure::malformed;

/// The answer in `body`.
pub(crate) fn whole(body: Value, keep_raw: bool) -> Result<ChatResponse, ProviderError> {
    if !body["error"].is_null() {
        return Err(in_band(&body));
    }
    let choice = &body["choices"][0];
    let message = choice["message"].as_object().ok_or_else(malformed)?;
    let text = message.get("content").and_then(Value::as_str).filter(|text| !text.is_empty());
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let parts =
        text.map(Part::text).into_iter().chain(calls.map(|call| Part::ToolCall(tool_call(call))));
    let reason = finish(&choice["finish_reason"]);
    let mut response = ChatResponse::new(parts, reason.unwrap_or_else(unspecified));
    response.id = owned(&body["id"]);
    response.model = owned(&body["model"]);
    response.usage = usage(&body["usage"]).unwrap_or_default();
    response.raw = keep_raw.then_some(body);
    Ok(response)
}

/// An error that came with a good status.
pub(crate) fn in_band(body: &Value) -> ProviderError {
    classify::failure(None, &body.to_string(), |_| None)
}

/// A call, or the piece of one that an event carries.
pub(crate) fn tool_call(call: &Value) -> ToolCall {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let function = &call["function"];
    ToolCall::new(text(&call["id"]), text(&function["name"]), text(&function["arguments"]))
}

pub(crate) fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Why the model stopped; servers know words that the SDK does not.
pub(crate) fn finish(reason: &Value) -> Option<FinishReason> {
    Some(match reason.as_str()? {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.chars().take(64).collect()),
    })
}

pub(crate) fn unspecified() -> FinishReason {
    FinishReason::Other("unspecified".to_owned())
}

pub(crate) fn usage(counts: &Value) -> Option<Usage> {
    let count = |path: &str| counts.pointer(path).and_then(Value::as_u64);
    counts.as_object()?;
    let mut usage = Usage::new();
    usage.input_tokens = count("/prompt_tokens");
    usage.output_tokens = count("/completion_tokens");
    usage.cached_input_tokens = count("/prompt_tokens_details/cached_tokens");
    usage.reasoning_tokens = count("/completion_tokens_details/reasoning_tokens");
    Some(usage)
}
