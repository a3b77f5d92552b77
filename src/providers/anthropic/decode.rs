//! What the messages API answers.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::classify;
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason};
use crate::usage::Usage;

/// The wire's name in [`Part::Opaque`].
pub(super) const WIRE: &str = "anthropic";

/// The body of a whole answer.
///
/// # Errors
/// [`ErrorKind::Malformed`] when it is no message; the classified error when it is one.
pub(super) fn response(body: &[u8], keep_raw: bool) -> Result<ChatResponse, ProviderError> {
    let message: Message<'_> = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = message.error {
        return Err(classify::error_value(None, &error));
    }
    let blocks = message.content.ok_or_else(|| bad("the answer has no content"))?;
    let content = content(&blocks)?;
    let finish = reconciled(finish(message.stop_reason.as_deref()), &content);
    let mut response = ChatResponse::new(content, finish);
    response.id = message.id;
    response.model = message.model;
    response.usage = Counts::read(&message.usage).usage();
    response.raw = if keep_raw { serde_json::from_slice(body).ok() } else { None };
    Ok(response)
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
    /// An error inside a response that began as a success.
    error: Option<Value>,
}

fn content(blocks: &[&RawValue]) -> Result<Vec<Part>, ProviderError> {
    let parts: Result<Vec<Part>, ProviderError> = blocks.iter().map(|block| part(block)).collect();
    Ok(parts?.into_iter().filter(says_something).collect())
}

/// An empty block says nothing and is refused when it is sent back. A stream yields no chunk of it.
fn says_something(part: &Part) -> bool {
    match part {
        Part::Text { text } => !text.is_empty(),
        Part::Reasoning(reasoning) => *reasoning != Reasoning::default(),
        _ => true,
    }
}

/// One content block. What this crate has no word for becomes [`Part::Opaque`].
pub(super) fn part(block: &RawValue) -> Result<Part, ProviderError> {
    let json = block.get();
    let kind: Tag<'_> = read(json)?;
    Ok(match &*kind.kind {
        "text" => Part::text(read::<Text>(json)?.text),
        "thinking" => Part::Reasoning(read::<Thinking>(json)?.into()),
        "redacted_thinking" => Part::Reasoning(Reasoning::encrypted(read::<Redacted>(json)?.data)),
        "tool_use" => Part::ToolCall(read::<ToolUse<'_>>(json)?.into()),
        _ => Part::Opaque { provider: WIRE.into(), value: read(json)? },
    })
}

#[derive(Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Thinking {
    #[serde(default)]
    thinking: String,
    signature: Option<String>,
}

impl From<Thinking> for Reasoning {
    fn from(Thinking { thinking, signature }: Thinking) -> Self {
        let mut reasoning = Self::new(thinking);
        reasoning.signature = signature.filter(|signature| !signature.is_empty());
        reasoning
    }
}

#[derive(Deserialize)]
struct Redacted {
    data: String,
}

#[derive(Deserialize)]
struct ToolUse<'a> {
    id: String,
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl From<ToolUse<'_>> for ToolCall {
    /// The arguments stay the server's text: parsing would cost the order of keys and the digits of
    /// large numbers.
    fn from(ToolUse { id, name, input }: ToolUse<'_>) -> Self {
        Self::new(id, name, input.map_or("{}", RawValue::get))
    }
}

/// The wire's stop reasons in the crate's words.
pub(super) fn finish(stop_reason: Option<&str>) -> FinishReason {
    match stop_reason {
        Some("end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("refusal") => FinishReason::ContentFilter,
        Some(other) => FinishReason::Other(other.to_owned()),
        None => FinishReason::Other("unspecified".to_owned()),
    }
}

/// Servers that only speak the wire stop for tools and may say that they just stopped.
fn reconciled(finish: FinishReason, content: &[Part]) -> FinishReason {
    let calls = || content.iter().any(|part| matches!(part, Part::ToolCall(_)));
    if finish == FinishReason::Stop && calls() { FinishReason::ToolCalls } else { finish }
}

/// The wire's token counts. They count the prompt cache apart from the input and, in a stream, are
/// running totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    /// What is there and is a count; anything else is ignored, for a count is not worth an answer.
    pub(super) fn read(usage: &Value) -> Self {
        let count = |name| usage.get(name).and_then(Value::as_u64);
        let details = usage.get("output_tokens_details");
        Self {
            input: count("input_tokens"),
            cache_read: count("cache_read_input_tokens"),
            cache_write: count("cache_creation_input_tokens"),
            output: count("output_tokens"),
            thinking: details.and_then(|of| of.get("thinking_tokens")?.as_u64()),
        }
    }

    /// Totals never shrink, so the larger one is the later one. Gateways that send a zero at the
    /// start or at the end of a stream do no harm that way.
    pub(super) fn update(&mut self, later: Self) {
        let Self { input, cache_read, cache_write, output, thinking } = later;
        self.input = self.input.max(input);
        self.cache_read = self.cache_read.max(cache_read);
        self.cache_write = self.cache_write.max(cache_write);
        self.output = self.output.max(output);
        self.thinking = self.thinking.max(thinking);
    }

    /// In the crate's terms, where the cached parts are contained in the input.
    pub(super) fn usage(self) -> Usage {
        let Self { input, cache_read, cache_write, output, thinking } = self;
        let mut usage = Usage::new();
        usage.input_tokens =
            [input, cache_read, cache_write].into_iter().flatten().reduce(u64::saturating_add);
        usage.output_tokens = output;
        usage.cached_input_tokens = cache_read;
        usage.cache_write_tokens = cache_write;
        usage.reasoning_tokens = thinking;
        usage
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, ProviderError> {
    serde_json::from_str(json).map_err(malformed)
}

/// The parser's words name fields and positions and may quote a value, so they stay in the message.
fn malformed(error: serde_json::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, error.to_string())
}

pub(super) fn bad(what: &'static str) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, what)
}

#[cfg(test)]
mod tests {
    use super::super::encode::{self, Settings};
    use super::*;
    use crate::request::ChatRequest;
    use serde_json::json;

    fn decode(body: &Value) -> Result<ChatResponse, ProviderError> {
        response(body.to_string().as_bytes(), false)
    }

    fn answer(content: Value, stop_reason: &str) -> Value {
        json!({
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5-20250929", "content": content, "stop_reason": stop_reason,
            "stop_sequence": null, "usage": {"input_tokens": 12, "output_tokens": 6},
        })
    }

    fn rich_content() -> Value {
        json!([
            {"type": "thinking", "thinking": "They want the weather.", "signature": "EqQBCgIYAhIM"},
            {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
            {"type": "text", "text": "I will look."},
            {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "get_weather",
             "input": {"unit": "celsius", "location": "Paris"}},
        ])
    }

    #[test]
    fn a_message_keeps_its_parts_in_order() {
        let response = decode(&answer(rich_content(), "tool_use")).unwrap();
        assert_eq!(response.id.as_deref(), Some("msg_01XFDUDYJgAACzvnptvVoYEL"));
        assert_eq!(response.model.as_deref(), Some("claude-sonnet-4-5-20250929"));
        assert_eq!(response.finish, FinishReason::ToolCalls);
        assert_eq!(response.usage, Usage::counted(12, 6));
        assert_eq!(
            response.content,
            [
                Part::Reasoning(
                    Reasoning::new("They want the weather.").with_signature("EqQBCgIYAhIM")
                ),
                Part::Reasoning(Reasoning::encrypted("EmwKAhgBEgy3va3pzix")),
                Part::text("I will look."),
                Part::ToolCall(ToolCall::new(
                    "toolu_01A09q90qw90lq917835lq9",
                    "get_weather",
                    r#"{"location":"Paris","unit":"celsius"}"#,
                )),
            ]
        );
    }

    #[test]
    fn an_answer_goes_back_as_the_blocks_it_came_in() {
        let mut content = rich_content();
        let server_tool = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}});
        content.as_array_mut().unwrap().insert(2, server_tool);
        let said = decode(&answer(content.clone(), "tool_use")).unwrap().to_message();
        let request = ChatRequest::new("m").user("q").message(said);
        let settings = Settings { model: "m", max_tokens: 1, cache_system: false, stream: false };
        let body: Value =
            serde_json::from_slice(&encode::body(&request, &settings).unwrap()).unwrap();
        assert_eq!(body["messages"][1], json!({"role": "assistant", "content": content}));
    }

    #[test]
    fn arguments_stay_the_servers_text() {
        let body = br#"{"content": [{"type": "tool_use", "id": "t", "name": "n", "input": {"z": 1,  "a": 1e999}}]}"#;
        let response = response(body, false).unwrap();
        assert_eq!(response.tool_calls().next().unwrap().arguments, r#"{"z": 1,  "a": 1e999}"#);
    }

    #[test]
    fn a_call_without_input_takes_no_arguments() {
        let block = json!([{"type": "tool_use", "id": "t", "name": "n"}]);
        let response = decode(&answer(block, "tool_use")).unwrap();
        assert_eq!(response.tool_calls().next().unwrap().arguments, "{}");
    }

    #[test]
    fn blocks_of_other_kinds_pass_through() {
        let block = json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"encrypted_content": "x"}]});
        let response = decode(&answer(json!([block]), "end_turn")).unwrap();
        assert_eq!(response.content, [Part::Opaque { provider: "anthropic".into(), value: block }]);
    }

    #[test]
    fn blocks_that_say_nothing_are_left_out() {
        let content = json!([
            {"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""},
        ]);
        assert_eq!(decode(&answer(content, "end_turn")).unwrap().content, []);
    }

    #[test]
    fn stop_reasons_have_their_words() {
        let finish = |reason: &str| decode(&answer(json!([]), reason)).unwrap().finish;
        assert_eq!(finish("end_turn"), FinishReason::Stop);
        assert_eq!(finish("stop_sequence"), FinishReason::Stop);
        assert_eq!(finish("max_tokens"), FinishReason::Length);
        assert_eq!(finish("model_context_window_exceeded"), FinishReason::Length);
        assert_eq!(finish("tool_use"), FinishReason::ToolCalls);
        assert_eq!(finish("refusal"), FinishReason::ContentFilter);
        assert_eq!(finish("pause_turn"), FinishReason::Other("pause_turn".into()));
    }

    #[test]
    fn a_call_beside_an_ordinary_stop_is_a_stop_for_tools() {
        let response = decode(&answer(rich_content(), "end_turn")).unwrap();
        assert_eq!(response.finish, FinishReason::ToolCalls);
    }

    #[test]
    fn the_prompt_cache_is_part_of_the_input() {
        let usage = |json: Value| Counts::read(&json).usage();
        assert_eq!(
            usage(json!({
                "input_tokens": 10, "cache_read_input_tokens": 2000,
                "cache_creation_input_tokens": 300, "output_tokens": 40,
                "output_tokens_details": {"thinking_tokens": 25},
            })),
            Usage::counted(2310, 40)
                .with_cached_input(2000)
                .with_cache_write(300)
                .with_reasoning(25)
        );
        let most = json!({"input_tokens": u64::MAX, "cache_read_input_tokens": u64::MAX});
        assert_eq!(usage(most).input_tokens, Some(u64::MAX));
        let odd =
            json!({"input_tokens": -1, "cache_read_input_tokens": null, "output_tokens": "9"});
        assert_eq!(usage(odd), Usage::new());
        assert_eq!(usage(json!(null)), Usage::new());
    }

    #[test]
    fn an_error_in_place_of_a_message_is_that_error() {
        let body = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        assert_eq!(decode(&body).unwrap_err().kind(), ErrorKind::Overloaded);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for body in
            ["", "{", "[]", "{}", r#"{"content": [{}]}"#, r#"{"content": [{"type": "text"}]}"#]
        {
            let error = response(body.as_bytes(), false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
        }
    }

    #[test]
    fn the_raw_answer_is_kept_when_asked_for() {
        let body = answer(json!([]), "end_turn");
        assert_eq!(response(body.to_string().as_bytes(), true).unwrap().raw, Some(body.clone()));
        assert_eq!(decode(&body).unwrap().raw, None);
    }
}
