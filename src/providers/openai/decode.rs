//! Whole answers. Pure.

use crate::error::{ErrorKind, ProviderError};
use crate::providers::openai::wire::{self, Answer};
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::ChatResponse;

/// The answer in `body`, or the error that it is although its status was 200.
pub(crate) fn chat(body: &[u8], keep_raw: bool) -> Result<ChatResponse, ProviderError> {
    let mut answer = Answer::parse(body)?;
    if let Some(failure) = answer.take_failure() {
        return Err(failure);
    }
    let usage = answer.take_usage();
    let mut choice = answer
        .take_choice()
        .ok_or_else(|| ProviderError::new(ErrorKind::Malformed, "the answer has no choice"))?;
    let mut finish = choice.finish().unwrap_or_else(wire::unspecified);
    let mut spoken = choice.take_spoken();
    let mut content = Vec::new();
    content.extend(spoken.take_reasoning().map(|text| Part::Reasoning(Reasoning::new(text))));
    content.extend(spoken.take_text().map(Part::text));
    if let Some(refusal) = spoken.take_refusal() {
        content.push(Part::text(refusal));
        finish = wire::refused(finish);
    }
    for call in spoken.take_calls()? {
        content.push(Part::ToolCall(ToolCall::new(call.id(), call.name(), call.arguments()?)));
    }
    let mut response = ChatResponse::new(content, finish).with_usage(usage.unwrap_or_default());
    response.id = wire::said(answer.id);
    response.model = wire::said(answer.model);
    response.raw = keep_raw.then(|| serde_json::from_slice(body).ok()).flatten();
    Ok(reconciled(response))
}

/// Some servers stop for tools and say that they just stopped.
fn reconciled(mut response: ChatResponse) -> ChatResponse {
    use crate::response::FinishReason::{Stop, ToolCalls};
    if response.finish == Stop && response.tool_calls().next().is_some() {
        response.finish = ToolCalls;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::FinishReason;
    use crate::usage::Usage;
    use serde_json::{Value, json};

    fn decoded(body: &Value) -> Result<ChatResponse, ErrorKind> {
        chat(body.to_string().as_bytes(), false).map_err(|error| error.kind())
    }

    fn says(message: Value, finish: &str) -> ChatResponse {
        decoded(&json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}))
            .unwrap()
    }

    #[test]
    fn a_whole_answer_is_read_with_its_counts() {
        let body = json!({"id": "c1", "object": "chat.completion", "model": "m-1", "novel": {"x": 1},
            "choices": [
                {"index": 1, "message": {"content": "other"}, "finish_reason": "length"},
                {"index": 0, "message": {"role": "assistant", "content": "hi"}, "logprobs": null,
                    "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 2}}});
        let response = chat(body.to_string().as_bytes(), true).unwrap();
        assert_eq!(response.text(), "hi");
        assert_eq!(response.finish, FinishReason::Stop);
        assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("c1"), Some("m-1")));
        assert_eq!(response.usage, Usage::counted(9, 4).with_cached_input(5).with_reasoning(2));
        assert_eq!(response.raw, Some(body));
    }

    #[test]
    fn tool_calls_are_read_and_make_the_finish_theirs() {
        let calls = json!({"content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"q\":1}"}},
            {"id": "c2", "type": "function", "function": {"name": "now", "arguments": {"z": 2}}}]});
        let response = says(calls, "stop");
        assert_eq!(response.finish, FinishReason::ToolCalls);
        let calls: Vec<_> = response.tool_calls().cloned().collect();
        assert_eq!(
            calls,
            [ToolCall::new("c1", "find", "{\"q\":1}"), ToolCall::new("c2", "now", "{\"z\":2}")]
        );
    }

    #[test]
    fn reasoning_is_kept_apart_in_each_of_its_forms() {
        let listed = json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "yes"}]);
        for message in [
            json!({"reasoning_content": "hm", "content": "yes"}),
            json!({"reasoning": "hm", "content": "yes"}),
            json!({"content": listed}),
        ] {
            let content = says(message, "stop").content;
            assert_eq!(content, [Part::Reasoning(Reasoning::new("hm")), Part::text("yes")]);
        }
    }

    #[test]
    fn a_refusal_is_text_and_no_ordinary_stop() {
        let response = says(json!({"content": null, "refusal": "I will not"}), "stop");
        assert_eq!(response.text(), "I will not");
        assert_eq!(response.finish, FinishReason::Other("refusal".into()));
    }

    #[test]
    fn every_reason_to_stop_has_its_word() {
        let finish = |reason| says(json!({"content": "x"}), reason).finish;
        assert_eq!(finish("length"), FinishReason::Length);
        assert_eq!(finish("tool_calls"), FinishReason::ToolCalls);
        assert_eq!(finish("content_filter"), FinishReason::ContentFilter);
        assert_eq!(finish("eos"), FinishReason::Stop);
        assert_eq!(finish("novel"), FinishReason::Other("novel".into()));
        assert_eq!(finish(""), wire::unspecified());
    }

    #[test]
    fn an_error_in_a_good_response_is_an_error() {
        let kind = |body: Value| decoded(&body).unwrap_err();
        assert_eq!(kind(json!({"error": {"code": 429, "message": "m"}})), ErrorKind::RateLimited);
        assert_eq!(kind(json!({"error": "it broke"})), ErrorKind::Server);
        assert_eq!(kind(json!({"object": "error", "message": "it broke"})), ErrorKind::Server);
        assert_eq!(kind(json!({"choices": []})), ErrorKind::Malformed);
        assert_eq!(kind(json!({})), ErrorKind::Malformed);
        assert_eq!(kind(json!("hello")), ErrorKind::Malformed);
    }

    #[test]
    fn fields_of_another_type_are_lost_and_nothing_else() {
        let response = says(json!({"content": "hi", "reasoning": {"a": 1}, "refusal": 7}), "stop");
        assert_eq!(response.content, [Part::text("hi")]);
    }

    #[test]
    fn the_last_field_of_a_name_stands() {
        let body = br#"{"choices": [{"message": {"content": [
                {"type": "x", "type": "text", "text": "no", "text": [{"text": "no", "text": "hi"}]}]}}],
            "usage": {"prompt_tokens": 1, "prompt_tokens": 9, "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 1, "cached_tokens": 5}}}"#;
        let response = chat(body, false).unwrap();
        assert_eq!(response.text(), "hi");
        assert_eq!(response.usage, Usage::counted(9, 4).with_cached_input(5));
        let groq = br#"{"choices": [{}], "x_groq": {"usage": 7, "usage": {"prompt_tokens": 9}}}"#;
        assert_eq!(chat(groq, false).unwrap().usage.input_tokens, Some(9));
    }

    #[test]
    fn too_many_calls_are_called_that() {
        let body = |calls: usize| {
            let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
            let choice = json!({"message": {"tool_calls": vec![call; calls]}});
            json!({"choices": [choice]}).to_string()
        };
        let response = chat(body(wire::MOST_CALLS).as_bytes(), false).unwrap();
        assert_eq!(response.tool_calls().count(), wire::MOST_CALLS);
        let error = chat(body(wire::MOST_CALLS + 1).as_bytes(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("the answer has too many tool calls"), "{error}");
    }

    #[test]
    fn malformed_json_is_not_quoted() {
        let error = chat(br#"{"choices": [secret"#, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(!error.message().contains("secret"), "{}", error.message());
    }
}
