//! A request in the words of the messages API.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::provider::WIRE;
use crate::error::{ErrorKind, ProviderError};
use crate::request::{
    ChatRequest, MediaSource, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall,
    ToolChoice,
};

/// What a body needs beyond the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) model: &'a str,
    /// Sent where the request names no bound: the wire demands one.
    pub(super) max_tokens: u64,
    pub(super) cache_system: bool,
    pub(super) stream: bool,
}

/// The body of `POST /v1/messages`.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] and [`ErrorKind::Unsupported`] for what the wire cannot say.
pub(super) fn body(
    request: &ChatRequest,
    settings: &Settings<'_>,
) -> Result<Vec<u8>, ProviderError> {
    let Conversation { mut system, turns } = Conversation::read(&request.messages)?;
    if settings.cache_system {
        mark_last(&mut system);
    }
    let body = Body {
        model: settings.model,
        max_tokens: request.sampling.max_output_tokens.unwrap_or(settings.max_tokens),
        system,
        messages: turns,
        tools: request.tools.iter().map(ToolSpec::from).collect(),
        tool_choice: tool_choice(request),
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        top_k: request.sampling.top_k,
        stop_sequences: &request.sampling.stop,
        output_config: request.response_format.as_ref().map(output_config).transpose()?,
        stream: settings.stream,
    };
    json(&body, request).map_err(|error| invalid("the request is no JSON").with_source(error))
}

fn json(body: &Body<'_>, request: &ChatRequest) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(body)?;
    if request.extra.is_empty() {
        return Ok(json);
    }
    // Raw values: what the caller does not override stays as it was written, key order included,
    // on which the server's prompt cache depends.
    let mut fields: BTreeMap<&str, Box<RawValue>> = serde_json::from_slice(&json)?;
    for (name, value) in &request.extra {
        fields.insert(name, to_raw_value(value)?);
    }
    serde_json::to_vec(&fields)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

/// The system prompts, and the turns between a user and an assistant that the wire knows.
#[derive(Default)]
struct Conversation<'a> {
    system: Vec<Block<'a>>,
    turns: Vec<Turn<'a>>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Speaker,
    content: Vec<Block<'a>>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Speaker {
    User,
    Assistant,
}

impl<'a> Conversation<'a> {
    fn read(messages: &'a [Message]) -> Result<Self, ProviderError> {
        let mut conversation = Self::default();
        for Message { role, content } in messages {
            match role {
                Role::System => conversation.instruct(content)?,
                Role::Assistant => conversation.say(Speaker::Assistant, blocks(content)?),
                Role::User | Role::Tool => conversation.say(Speaker::User, blocks(content)?),
            }
        }
        conversation.turns.iter_mut().for_each(Turn::put_results_first);
        Ok(conversation)
    }

    fn instruct(&mut self, content: &'a [Part]) -> Result<(), ProviderError> {
        if content.iter().any(|part| !matches!(part, Part::Text { .. } | Part::Opaque { .. })) {
            return Err(unsupported("a system prompt can only be text on this wire"));
        }
        self.system.extend(blocks(content)?);
        Ok(())
    }

    /// The wire wants the roles to alternate, so a role that goes on speaking extends its turn.
    fn say(&mut self, role: Speaker, content: Vec<Block<'a>>) {
        match self.turns.last_mut() {
            _ if content.is_empty() => {}
            Some(turn) if turn.role == role => turn.content.extend(content),
            _ => self.turns.push(Turn { role, content }),
        }
    }
}

impl Turn<'_> {
    /// The wire refuses a turn in which anything precedes a tool's result.
    fn put_results_first(&mut self) {
        self.content.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Self>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    #[serde(untagged)]
    Opaque(&'a Value),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CacheControl {
    Ephemeral,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Url { url: &'a str },
    Base64 { media_type: &'a str, data: &'a str },
    File { file_id: &'a str },
}

impl<'a> From<&'a MediaSource> for Source<'a> {
    fn from(source: &'a MediaSource) -> Self {
        match source {
            MediaSource::Url(url) => Self::Url { url },
            MediaSource::Base64 { media_type, data } => Self::Base64 { media_type, data },
            MediaSource::Id(file_id) => Self::File { file_id },
        }
    }
}

fn blocks(content: &[Part]) -> Result<Vec<Block<'_>>, ProviderError> {
    content.iter().filter_map(|part| block(part).transpose()).collect()
}

/// `None` for what the wire has no place for: empty text, which it refuses, reasoning that no
/// server of this wire signed, and what belongs to another wire.
fn block(part: &Part) -> Result<Option<Block<'_>>, ProviderError> {
    Ok(Some(match part {
        Part::Text { text } if text.is_empty() => return Ok(None),
        Part::Text { text } => Block::Text { text, cache_control: None },
        Part::Image { source, detail: _ } => Block::Image { source: source.into() },
        Part::File { source, name } => {
            Block::Document { source: source.into(), title: name.as_deref() }
        }
        Part::ToolCall(call) => tool_use(call)?,
        Part::ToolResult { call_id, content, is_error } => Block::ToolResult {
            tool_use_id: call_id,
            content: result_blocks(call_id, content)?,
            is_error: *is_error,
        },
        Part::Reasoning(reasoning) => return Ok(thinking(reasoning)),
        Part::Opaque { provider, value } if provider == WIRE => Block::Opaque(value),
        Part::Opaque { .. } => return Ok(None),
    }))
}

fn result_blocks<'a>(call_id: &str, content: &'a [Part]) -> Result<Vec<Block<'a>>, ProviderError> {
    let nested = |part: &Part| matches!(part, Part::ToolCall(_) | Part::ToolResult { .. });
    if content.iter().any(nested) {
        return Err(invalid(format!("the result of tool call {call_id:?} holds another tool's")));
    }
    blocks(content)
}

fn tool_use(call: &ToolCall) -> Result<Block<'_>, ProviderError> {
    let ToolCall { id, name, arguments } = call;
    // Models that take no arguments often write nothing at all.
    let json = if arguments.trim().is_empty() { "{}" } else { arguments.as_str() };
    match serde_json::from_str::<&RawValue>(json) {
        Ok(input) if input.get().starts_with('{') => Ok(Block::ToolUse { id, name, input }),
        _ => Err(invalid(format!("the arguments of tool call {id:?} are not a JSON object"))),
    }
}

fn thinking(reasoning: &Reasoning) -> Option<Block<'_>> {
    let Reasoning { text, signature, encrypted } = reasoning;
    match (signature, encrypted) {
        (Some(signature), _) => Some(Block::Thinking { thinking: text, signature }),
        (None, Some(data)) => Some(Block::RedactedThinking { data }),
        (None, None) => None,
    }
}

fn mark_last(system: &mut [Block<'_>]) {
    if let Some(Block::Text { cache_control, .. }) = system.last_mut() {
        *cache_control = Some(CacheControl::Ephemeral);
    }
}

#[derive(Serialize)]
struct ToolSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> From<&'a Tool> for ToolSpec<'a> {
    fn from(tool: &'a Tool) -> Self {
        let Tool { name, description, parameters, strict } = tool;
        Self { name, description, input_schema: parameters, strict: *strict }
    }
}

#[derive(Serialize)]
struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

/// `None` without tools too: the wire takes a choice only beside tools.
fn tool_choice(request: &ChatRequest) -> Option<Choice<'_>> {
    let parallel = request.parallel_tool_calls;
    if request.tools.is_empty() && !request.extra.contains_key("tools") {
        return None;
    }
    let (kind, name) = match (&request.tool_choice, parallel) {
        (None, None) => return None,
        (None | Some(ToolChoice::Auto), _) => ("auto", None),
        (Some(ToolChoice::Required), _) => ("any", None),
        (Some(ToolChoice::Tool(name)), _) => ("tool", Some(name.as_str())),
        (Some(ToolChoice::None), _) => ("none", None),
    };
    let disable_parallel_tool_use = parallel.filter(|_| kind != "none").map(|parallel| !parallel);
    Some(Choice { kind, name, disable_parallel_tool_use })
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    format: OutputFormat<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OutputFormat<'a> {
    JsonSchema { schema: &'a Value },
}

/// The wire has no names for schemas and is always strict about them.
fn output_config(format: &ResponseFormat) -> Result<OutputConfig<'_>, ProviderError> {
    match format {
        ResponseFormat::JsonSchema { name: _, schema, strict: _ } => {
            Ok(OutputConfig { format: OutputFormat::JsonSchema { schema } })
        }
        ResponseFormat::JsonObject => {
            Err(unsupported("JSON answers need a schema on this wire: use JsonSchema"))
        }
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ProviderError {
    ProviderError::new(ErrorKind::InvalidRequest, message)
}

fn unsupported(message: &'static str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Sampling;
    use serde_json::json;

    const SETTINGS: Settings<'static> =
        Settings { model: "claude-x", max_tokens: 4096, cache_system: false, stream: false };

    fn encode(request: &ChatRequest) -> Value {
        serde_json::from_slice(&body(request, &SETTINGS).unwrap()).unwrap()
    }

    fn refused(request: &ChatRequest) -> ProviderError {
        body(request, &SETTINGS).unwrap_err()
    }

    #[test]
    fn a_plain_question_is_a_small_body() {
        assert_eq!(
            encode(&ChatRequest::new("m").user("Hi")),
            json!({
                "model": "claude-x",
                "max_tokens": 4096,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            })
        );
    }

    #[test]
    fn system_prompts_leave_the_conversation_in_order() {
        let request =
            ChatRequest::new("m").system("one").user("q").system("two").user("r").assistant("a");
        let body = encode(&request);
        assert_eq!(
            body["system"],
            json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])
        );
        assert_eq!(
            body["messages"],
            json!([
                {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            ])
        );
    }

    #[test]
    fn a_system_prompt_of_images_is_unsupported() {
        let request = ChatRequest::new("m")
            .message(Message::new(Role::System, [Part::image_url("https://example.com/a.png")]));
        assert_eq!(refused(&request).kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn the_cache_breakpoint_stands_on_the_last_system_prompt() {
        let request = ChatRequest::new("m").system("one").system("two").user("q");
        let settings = Settings { cache_system: true, ..SETTINGS };
        let body: Value = serde_json::from_slice(&body(&request, &settings).unwrap()).unwrap();
        assert_eq!(body["system"][0].get("cache_control"), None);
        assert_eq!(body["system"][1]["cache_control"], json!({"type": "ephemeral"}));
    }

    #[test]
    fn media_go_by_address_data_or_id() {
        let file = |source, name: Option<&str>| Part::File { source, name: name.map(Into::into) };
        let message = Message::user("see")
            .part(Part::image_url("https://example.com/a.png"))
            .part(Part::image_base64("image/png", "aWJt"))
            .part(file(MediaSource::Url("https://example.com/a.pdf".into()), None))
            .part(file(
                MediaSource::Base64 { media_type: "application/pdf".into(), data: "cGRm".into() },
                Some("a.pdf"),
            ))
            .part(file(MediaSource::Id("file_1".into()), None));
        assert_eq!(
            encode(&ChatRequest::new("m").message(message))["messages"][0]["content"],
            json!([
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aWJt"}},
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"}, "title": "a.pdf"},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            ])
        );
    }

    #[test]
    fn results_of_parallel_calls_share_one_turn_and_lead_it() {
        let call = |id: &str| Part::ToolCall(ToolCall::new(id, "find", r#"{"q": 1}"#));
        let failed = Part::ToolResult {
            call_id: "c2".into(),
            content: vec![Part::text("broken"), Part::image_base64("image/png", "aWJt")],
            is_error: true,
        };
        let request = ChatRequest::new("m")
            .user("q")
            .message(Message::new(Role::Assistant, [call("c1"), call("c2")]))
            .message(Message::tool_result("c1", "found"))
            .user("meanwhile")
            .message(Message::new(Role::Tool, [failed]));
        let messages = &encode(&request)["messages"];
        assert_eq!(
            messages[1]["content"][0],
            json!({"type": "tool_use", "id": "c1", "name": "find", "input": {"q": 1}})
        );
        assert_eq!(
            messages[2],
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "found"}]},
                {"type": "tool_result", "tool_use_id": "c2", "is_error": true, "content": [
                    {"type": "text", "text": "broken"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aWJt"}},
                ]},
                {"type": "text", "text": "meanwhile"},
            ]})
        );
    }

    #[test]
    fn arguments_keep_the_text_the_model_wrote() {
        let arguments = r#"{"z": 1e400, "a": 123456789012345678901234567890}"#;
        let request = ChatRequest::new("m")
            .message(Message::new(
                Role::Assistant,
                [Part::ToolCall(ToolCall::new("c", "n", arguments))],
            ))
            .extra("service_tier", "auto");
        let body = String::from_utf8(body(&request, &SETTINGS).unwrap()).unwrap();
        assert!(body.contains(arguments), "{body}");
    }

    #[test]
    fn arguments_that_are_no_object_are_refused_by_the_calls_name() {
        let call = |arguments: &str| {
            let call = Part::ToolCall(ToolCall::new("toolu_7", "n", arguments));
            ChatRequest::new("m").message(Message::new(Role::Assistant, [call]))
        };
        for arguments in ["{", "[1]", "7", "{} {}", "secret"] {
            let error = refused(&call(arguments));
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{arguments}");
            assert!(error.message().contains("toolu_7"), "{}", error.message());
            assert!(!error.message().contains("secret"), "{}", error.message());
        }
        assert_eq!(encode(&call(" "))["messages"][0]["content"][0]["input"], json!({}));
    }

    #[test]
    fn a_result_inside_a_result_is_refused() {
        let nested = Part::ToolResult {
            call_id: "outer".into(),
            content: vec![Part::tool_result("inner", "x")],
            is_error: false,
        };
        let request = ChatRequest::new("m").message(Message::new(Role::Tool, [nested]));
        assert!(refused(&request).message().contains("outer"));
    }

    #[test]
    fn reasoning_goes_back_signed_or_not_at_all() {
        let parts = [
            Part::Reasoning(Reasoning::new("thought").with_signature("sig")),
            Part::Reasoning(Reasoning::new("").with_signature("sig2")),
            Part::Reasoning(Reasoning::encrypted("cipher")),
            Part::Reasoning(Reasoning::new("of another wire")),
            Part::text(""),
            Part::text("answer"),
        ];
        let request = ChatRequest::new("m").message(Message::new(Role::Assistant, parts));
        assert_eq!(
            encode(&request)["messages"][0]["content"],
            json!([
                {"type": "thinking", "thinking": "thought", "signature": "sig"},
                {"type": "thinking", "thinking": "", "signature": "sig2"},
                {"type": "redacted_thinking", "data": "cipher"},
                {"type": "text", "text": "answer"},
            ])
        );
    }

    #[test]
    fn opaque_parts_go_to_their_own_wire_only() {
        let opaque = |provider: &str| Part::Opaque {
            provider: provider.into(),
            value: json!({"type": "server_tool_use", "id": "s", "of": provider}),
        };
        let message = Message::new(Role::Assistant, [opaque("anthropic"), opaque("openai")]);
        assert_eq!(
            encode(&ChatRequest::new("m").message(message))["messages"][0]["content"],
            json!([{"type": "server_tool_use", "id": "s", "of": "anthropic"}])
        );
    }

    #[test]
    fn tools_and_the_choice_among_them() {
        let tool = Tool::new("find", json!({"type": "object"})).with_description("Finds.");
        let mut request = ChatRequest::new("m").user("q").tool(tool);
        assert_eq!(
            encode(&request)["tools"],
            json!([{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}])
        );
        assert_eq!(encode(&request).get("tool_choice"), None);

        request.parallel_tool_calls = Some(false);
        for (choice, expected) in [
            (None, json!({"type": "auto", "disable_parallel_tool_use": true})),
            (Some(ToolChoice::Auto), json!({"type": "auto", "disable_parallel_tool_use": true})),
            (Some(ToolChoice::Required), json!({"type": "any", "disable_parallel_tool_use": true})),
            (
                Some(ToolChoice::Tool("find".into())),
                json!({"type": "tool", "name": "find", "disable_parallel_tool_use": true}),
            ),
            (Some(ToolChoice::None), json!({"type": "none"})),
        ] {
            request.tool_choice = choice;
            assert_eq!(encode(&request)["tool_choice"], expected);
        }

        request.tools.clear();
        assert_eq!(encode(&request).get("tool_choice"), None);
    }

    #[test]
    fn sampling_goes_as_far_as_the_wire_does() {
        let mut sampling = Sampling::new();
        sampling.max_output_tokens = Some(10);
        sampling.temperature = Some(0.5);
        sampling.top_p = Some(0.25);
        sampling.top_k = Some(5);
        sampling.stop = vec!["END".into()];
        sampling.seed = Some(1);
        sampling.frequency_penalty = Some(1.0);
        sampling.presence_penalty = Some(1.0);
        let body = encode(&ChatRequest::with_default_model().sampling(sampling));
        assert_eq!(
            body,
            json!({
                "model": "claude-x", "messages": [], "max_tokens": 10, "temperature": 0.5,
                "top_p": 0.25, "top_k": 5, "stop_sequences": ["END"],
            })
        );
    }

    #[test]
    fn a_schema_becomes_the_output_format_and_a_bare_object_is_unsupported() {
        let schema = json!({"type": "object"});
        let format =
            ResponseFormat::JsonSchema { name: "a".into(), schema: schema.clone(), strict: false };
        let request = ChatRequest::new("m").user("q");
        assert_eq!(
            encode(&request.clone().response_format(format))["output_config"],
            json!({"format": {"type": "json_schema", "schema": schema}})
        );
        let error = refused(&request.response_format(ResponseFormat::JsonObject));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn extra_fields_come_last_and_override() {
        let request = ChatRequest::new("m")
            .user("q")
            .extra("max_tokens", 7)
            .extra("thinking", json!({"type": "enabled", "budget_tokens": 1024}));
        let body = encode(&request);
        assert_eq!(body["max_tokens"], 7);
        assert_eq!(body["thinking"]["budget_tokens"], 1024);
        assert_eq!(body["model"], "claude-x");
    }
}
