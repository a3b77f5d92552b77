//! What the messages API answers.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess};
use serde_json::value::RawValue;

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::classify::Told;
use crate::providers::http::lenient::{Each, Fields as _, Lenient, fields, lenient, values};
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason};
use crate::usage::Usage;

/// The wire's name in [`Part::Opaque`].
pub(super) const WIRE: &str = "anthropic";

/// The body of a whole answer.
///
/// # Errors
/// [`ErrorKind::Malformed`] when it is no message; the classified error when it is one.
pub(crate) fn response(body: &[u8], keep_raw: bool) -> Result<ChatResponse, ProviderError> {
    let message: Message<'_> = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = message.error {
        return Err(error.in_answer());
    }
    let blocks = message.content.ok_or_else(|| bad("the answer has no content"))?;
    let content = content(blocks)?;
    let finish = reconciled(finish(message.stop_reason.as_deref()), &content);
    let mut response = ChatResponse::new(content, finish);
    response.id = message.id;
    response.model = message.model;
    response.usage = Counts::from(message.usage).usage();
    response.raw = if keep_raw { serde_json::from_slice(body).ok() } else { None };
    Ok(response)
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    stop_reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Tokens,
    /// An error inside a response that began as a success.
    #[serde(default, deserialize_with = "lenient")]
    error: Option<Told>,
}

/// More blocks in one answer are nonsense; each takes many times its few bytes.
const MOST_BLOCKS: usize = 1024;

fn content(blocks: &RawValue) -> Result<Vec<Part>, ProviderError> {
    let (mut parts, mut trees) = (Vec::new(), Trees::default());
    // Beside the parser's own error, which would make its message an owned text.
    let mut failed = None;
    let mut add = |block: &RawValue| {
        let part = part(block, &mut trees)?;
        if says_something(&part) {
            parts.push(part);
        }
        if parts.len() > MOST_BLOCKS { Err(bad("the answer has too many blocks")) } else { Ok(()) }
    };
    let see = |block: &RawValue| {
        add(block).map_err(|error| {
            failed = Some(error);
            "a block failed"
        })
    };
    let mut blocks = serde_json::Deserializer::from_str(blocks.get());
    let read = blocks.deserialize_seq(Each::new(see)).map_err(malformed);
    failed.map_or(read, Err).map(|()| parts)
}

/// How many values the parts of one answer may hold that this crate has no word for, and has to keep
/// as trees. A tree takes up to 85 times its text: so many values take three mebibytes at the worst.
const MOST_VALUES: usize = 8192;

/// What is left of them.
#[derive(Debug)]
pub(super) struct Trees(usize);

impl Default for Trees {
    fn default() -> Self {
        Self(MOST_VALUES)
    }
}

impl Trees {
    /// Builds a tree, if there may be so large a one.
    pub(super) fn read<'a, T: Deserialize<'a>>(
        &mut self,
        json: &'a str,
    ) -> Result<T, ProviderError> {
        let left = self.0.checked_sub(values(json));
        self.0 = left.ok_or_else(|| bad("the answer has too many values of unknown kinds"))?;
        read(json)
    }
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
pub(super) fn part(block: &RawValue, trees: &mut Trees) -> Result<Part, ProviderError> {
    let json = block.get();
    let kind: Tag<'_> = read(json)?;
    Ok(match &*kind.kind {
        "text" => Part::text(read::<Text>(json)?.text),
        "thinking" => Part::Reasoning(read::<Thinking>(json)?.into()),
        "redacted_thinking" => Part::Reasoning(Reasoning::encrypted(read::<Redacted>(json)?.data)),
        "tool_use" => Part::ToolCall(read::<ToolUse<'_>>(json)?.into()),
        _ => Part::Opaque { provider: WIRE.into(), value: trees.read(json)? },
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

/// The same as they are written. What is no count is ignored, for a count is not worth an answer.
#[derive(Default)]
pub(super) struct Tokens {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Details,
}

fields!(Tokens:
    input_tokens,
    cache_read_input_tokens,
    cache_creation_input_tokens,
    output_tokens,
    output_tokens_details,
);

#[derive(Default)]
struct Details {
    thinking_tokens: Option<u64>,
}

fields!(Details: thinking_tokens);

impl<'de> Lenient<'de> for Tokens {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Self::read(object)
    }
}

impl<'de> Lenient<'de> for Details {
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Self::read(object)
    }
}

impl From<Tokens> for Counts {
    fn from(tokens: Tokens) -> Self {
        Self {
            input: tokens.input_tokens,
            cache_read: tokens.cache_read_input_tokens,
            cache_write: tokens.cache_creation_input_tokens,
            output: tokens.output_tokens,
            thinking: tokens.output_tokens_details.thinking_tokens,
        }
    }
}

impl Counts {
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
    use serde_json::{Value, json};

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
        let usage = |json: Value| Counts::from(lenient::<_, Tokens>(json).unwrap()).usage();
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
    fn the_last_count_of_a_name_stands() {
        let body = br#"{"content": [], "usage": {"input_tokens": 1, "input_tokens": 12,
            "output_tokens": 6, "output_tokens_details": {"thinking_tokens": 1, "thinking_tokens": 2}}}"#;
        let usage = response(body, false).unwrap().usage;
        assert_eq!(usage, Usage::counted(12, 6).with_reasoning(2));
    }

    #[test]
    fn too_much_of_an_answer_is_called_that() {
        let error = |content| decode(&answer(content, "end_turn")).unwrap_err();
        let blocks = error(vec![json!({"type": "text", "text": "a"}); MOST_BLOCKS + 1].into());
        assert_eq!(blocks.kind(), ErrorKind::Malformed);
        assert!(blocks.to_string().contains("the answer has too many blocks"), "{blocks}");
        let values = error(json!([{"type": "novel", "values": vec![0; MOST_VALUES]}]));
        assert_eq!(values.kind(), ErrorKind::Malformed);
        assert!(values.to_string().contains("too many values of unknown kinds"), "{values}");
        let most = vec![json!({"type": "text", "text": "a"}); MOST_BLOCKS];
        let most = decode(&answer(most.into(), "end_turn")).unwrap();
        assert_eq!(most.content.len(), MOST_BLOCKS);
    }

    #[test]
    fn the_raw_answer_is_kept_when_asked_for() {
        let body = answer(json!([]), "end_turn");
        assert_eq!(response(body.to_string().as_bytes(), true).unwrap().raw, Some(body.clone()));
        assert_eq!(decode(&body).unwrap().raw, None);
    }
}
