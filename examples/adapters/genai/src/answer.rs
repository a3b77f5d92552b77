//! A whole answer, and what whole and streamed answers share.

use evenkeel::request::Reasoning;
use evenkeel::{ChatResponse, FinishReason, Part, ProviderError, ToolCall, Usage};
use genai::chat::{self, ContentPart, StopReason};
use serde_json::Value;

use crate::failure::malformed;

/// The answer. The SDK makes an empty one of whatever has none in it.
pub(crate) fn whole(answer: chat::ChatResponse) -> Result<ChatResponse, ProviderError> {
    if answer.stop_reason.is_none() && answer.content.is_empty() {
        return Err(malformed());
    }
    let thought = answer.reasoning_content.map(|text| Part::Reasoning(Reasoning::new(text)));
    let parts = thought.into_iter().chain(answer.content.into_parts().into_iter().filter_map(part));
    let mut response = ChatResponse::new(parts, finish(answer.stop_reason));
    response.id = answer.response_id;
    response.model = Some(answer.provider_model_iden.model_name.to_string());
    response.usage = usage(&answer.usage);
    response.raw = answer.captured_raw_body;
    Ok(response)
}

fn part(part: ContentPart) -> Option<Part> {
    match part {
        ContentPart::Text(text) if !text.is_empty() => Some(Part::text(text)),
        ContentPart::ToolCall(call) => Some(Part::ToolCall(tool_call(call))),
        ContentPart::ReasoningContent(text) => Some(Part::Reasoning(Reasoning::new(text))),
        ContentPart::ThoughtSignature(signature) => {
            Some(Part::Reasoning(Reasoning::default().with_signature(signature)))
        }
        _ => None,
    }
}

/// The arguments as JSON text again.
pub(crate) fn tool_call(call: chat::ToolCall) -> ToolCall {
    let arguments = match call.fn_arguments {
        Value::String(text) => text,
        json => json.to_string(),
    };
    ToolCall::new(call.call_id, call.fn_name, arguments)
}

pub(crate) fn finish(reason: Option<StopReason>) -> FinishReason {
    match reason {
        Some(StopReason::Completed(_) | StopReason::StopSequence(_)) => FinishReason::Stop,
        Some(StopReason::MaxTokens(_)) => FinishReason::Length,
        Some(StopReason::ToolCall(_)) => FinishReason::ToolCalls,
        Some(StopReason::ContentFilter(_)) => FinishReason::ContentFilter,
        Some(StopReason::Other(word)) => FinishReason::Other(word.chars().take(64).collect()),
        None => FinishReason::Other("unspecified".to_owned()),
    }
}

pub(crate) fn usage(counted: &chat::Usage) -> Usage {
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    let input = counted.prompt_tokens_details.as_ref();
    let output = counted.completion_tokens_details.as_ref();
    let mut usage = Usage::new();
    usage.input_tokens = count(counted.prompt_tokens);
    usage.output_tokens = count(counted.completion_tokens);
    usage.cached_input_tokens = count(input.and_then(|details| details.cached_tokens));
    usage.cache_write_tokens = count(input.and_then(|details| details.cache_creation_tokens));
    usage.reasoning_tokens = count(output.and_then(|details| details.reasoning_tokens));
    usage
}
