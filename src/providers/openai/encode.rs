//! Requests as this wire's JSON. Pure, and without copying what the request holds.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use crate::error::{ErrorKind, ProviderError};
use crate::provider::CallContext;
use crate::request::{
    ChatRequest, MediaSource, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};

/// In what a server differs from others that speak this wire.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    /// The model of calls that name none.
    pub model: Option<String>,
    pub max_tokens_field: MaxTokensField,
    pub stream_usage: bool,
    pub reasoning: Option<ReasoningField>,
}

/// The field that bounds the answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaxTokensField {
    /// `max_tokens`: the old name, which compatible servers know.
    MaxTokens,
    /// `max_completion_tokens`: the name OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

/// The field of an assistant's message that holds its reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningField {
    /// `reasoning_content`.
    ReasoningContent,
    /// `reasoning`.
    Reasoning,
}

/// The body of a chat request. Fields in `extra` replace ours.
pub(crate) fn chat(
    request: &ChatRequest,
    cx: &CallContext,
    dialect: &Dialect,
    stream: bool,
) -> Result<Vec<u8>, ProviderError> {
    let model = cx.model(request).or(dialect.model.as_deref());
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        push_message(&mut messages, message, dialect)?;
    }
    let text: usize = request.messages.iter().map(text_len).sum();
    to_json(&Body { request, dialect, model, messages, stream }, text + text / 8 + FRAME)
}

/// Room for the fields around the texts of a short conversation.
pub(super) const FRAME: usize = 256;

fn text_len(message: &Message) -> usize {
    message.content.iter().filter_map(Part::as_text).map(str::len).sum()
}

/// `room` is a guess of the length: without one, a long conversation is copied at each doubling.
pub(super) fn to_json(body: &impl Serialize, room: usize) -> Result<Vec<u8>, ProviderError> {
    let mut json = Vec::with_capacity(room);
    serde_json::to_writer(&mut json, body)
        .map_err(|_| ProviderError::new(ErrorKind::InvalidRequest, "the request is not JSON"))?;
    Ok(json)
}

struct Body<'a> {
    request: &'a ChatRequest,
    dialect: &'a Dialect,
    model: Option<&'a str>,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.request;
        let mut fields = Fields { map: serializer.serialize_map(None)?, extra: &request.extra };
        fields.some("model", self.model)?;
        fields.put("messages", &self.messages)?;
        self.put_sampling(&mut fields)?;
        if !request.tools.is_empty() {
            fields.put("tools", &request.tools.iter().map(WireTool).collect::<Vec<_>>())?;
        }
        fields.some("tool_choice", request.tool_choice.as_ref().map(tool_choice))?;
        fields.some("parallel_tool_calls", request.parallel_tool_calls)?;
        fields.some("response_format", request.response_format.as_ref().map(WireFormat))?;
        if self.stream {
            fields.put("stream", &true)?;
            let usage = self.dialect.stream_usage.then(|| json!({"include_usage": true}));
            fields.some("stream_options", usage)?;
        }
        fields.finish()
    }
}

impl Body<'_> {
    fn put_sampling<M: SerializeMap>(&self, fields: &mut Fields<'_, M>) -> Result<(), M::Error> {
        let sampling = &self.request.sampling;
        let max_tokens = match self.dialect.max_tokens_field {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        fields.some(max_tokens, sampling.max_output_tokens)?;
        fields.some("temperature", sampling.temperature)?;
        fields.some("top_p", sampling.top_p)?;
        fields.some("top_k", sampling.top_k)?;
        fields.some("stop", (!sampling.stop.is_empty()).then_some(&sampling.stop))?;
        fields.some("seed", sampling.seed)?;
        fields.some("frequency_penalty", sampling.frequency_penalty)?;
        fields.some("presence_penalty", sampling.presence_penalty)
    }
}

/// The body's fields: ours where `extra` has none of that name, then all of `extra`.
struct Fields<'a, M> {
    map: M,
    extra: &'a Map<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn put(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), M::Error> {
        if self.extra.contains_key(name) {
            return Ok(());
        }
        self.map.serialize_entry(name, value)
    }

    fn some(&mut self, name: &'static str, value: Option<impl Serialize>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(name, &value))
    }

    fn finish(mut self) -> Result<M::Ok, M::Error> {
        for (name, value) in self.extra {
            self.map.serialize_entry(name, value)?;
        }
        self.map.end()
    }
}

#[derive(Default, serde::Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

/// Servers all take a string; not all take a list.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Joined(String),
    Parts(Vec<WirePart<'a>>),
}

impl<'a> Content<'a> {
    fn of(mut parts: Vec<WirePart<'a>>) -> Option<Self> {
        match parts[..] {
            [] => None,
            [WirePart::Text(text)] => Some(Self::Text(text)),
            _ => Some(Self::Parts(std::mem::take(&mut parts))),
        }
    }
}

fn push_message<'a>(
    messages: &mut Vec<WireMessage<'a>>,
    message: &'a Message,
    dialect: &Dialect,
) -> Result<(), ProviderError> {
    let mut parts = Vec::new();
    let mut calls = Vec::new();
    for part in &message.content {
        match part {
            Part::ToolResult { call_id, content, is_error: _ } => {
                messages.push(tool_message(call_id, content)?);
            }
            Part::ToolCall(call) => calls.push(WireCall(call)),
            part => parts.extend(wire_part(part)?),
        }
    }
    if message.role == Role::Tool {
        let only_results = parts.is_empty() && calls.is_empty();
        return only_results.then_some(()).ok_or_else(stray_tool_content);
    }
    let role = role(message.role);
    let mut wire = WireMessage { role, content: Content::of(parts), ..WireMessage::default() };
    wire.tool_calls = calls;
    set_reasoning(&mut wire, message, dialect);
    if wire.content.is_some() || !wire.tool_calls.is_empty() {
        messages.push(wire);
    }
    Ok(())
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn tool_message<'a>(
    call_id: &'a str,
    content: &'a [Part],
) -> Result<WireMessage<'a>, ProviderError> {
    let content = match content {
        [Part::Text { text }] => Content::Text(text),
        parts if parts.iter().all(|part| part.as_text().is_some()) => {
            Content::Joined(parts.iter().filter_map(Part::as_text).collect())
        }
        _ => return Err(unsupported("a tool's result that is not text")),
    };
    let (content, tool_call_id) = (Some(content), Some(call_id));
    Ok(WireMessage { role: "tool", content, tool_call_id, ..WireMessage::default() })
}

fn set_reasoning(wire: &mut WireMessage<'_>, message: &Message, dialect: &Dialect) {
    let Some(field) = dialect.reasoning else { return };
    let thoughts: String = message.content.iter().filter_map(thought).collect();
    let thoughts = (!thoughts.is_empty()).then_some(thoughts);
    match field {
        ReasoningField::ReasoningContent => wire.reasoning_content = thoughts,
        ReasoningField::Reasoning => wire.reasoning = thoughts,
    }
}

fn thought(part: &Part) -> Option<&str> {
    match part {
        Part::Reasoning(reasoning) => Some(&reasoning.text),
        _ => None,
    }
}

enum WirePart<'a> {
    Text(&'a str),
    Image { source: &'a MediaSource, detail: Option<&'a str> },
    File { source: &'a MediaSource, name: Option<&'a str> },
    Raw(&'a Value),
}

/// The part as a content part; `None` for what has no place among them.
fn wire_part(part: &Part) -> Result<Option<WirePart<'_>>, ProviderError> {
    Ok(match part {
        Part::Text { text } => Some(WirePart::Text(text)),
        Part::Image { source: MediaSource::Id(_), .. } => {
            return Err(unsupported("an image by its id"));
        }
        Part::Image { source, detail } => {
            Some(WirePart::Image { source, detail: detail.as_deref() })
        }
        Part::File { source: MediaSource::Url(_), .. } => {
            return Err(unsupported("a document by its address"));
        }
        Part::File { source, name } => Some(WirePart::File { source, name: name.as_deref() }),
        Part::Opaque { provider, value } if provider == "openai" => Some(WirePart::Raw(value)),
        Part::Opaque { .. } | Part::Reasoning(_) => None,
        Part::ToolCall(_) | Part::ToolResult { .. } => None,
    })
}

impl Serialize for WirePart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Raw(value) = self {
            return value.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        match *self {
            Self::Text(text) => {
                map.serialize_entry("type", "text")?;
                map.serialize_entry("text", text)?;
            }
            Self::Image { source, detail } => {
                map.serialize_entry("type", "image_url")?;
                map.serialize_entry("image_url", &WireImage { url: Address(source), detail })?;
            }
            Self::File { source, name } => {
                map.serialize_entry("type", "file")?;
                map.serialize_entry("file", &WireFile::new(source, name))?;
            }
            Self::Raw(_) => {}
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct WireImage<'a> {
    url: Address<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct WireFile<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<Address<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
}

impl<'a> WireFile<'a> {
    fn new(source: &'a MediaSource, filename: Option<&'a str>) -> Self {
        match source {
            MediaSource::Id(id) => Self { file_id: Some(id), file_data: None, filename },
            source => Self { file_id: None, file_data: Some(Address(source)), filename },
        }
    }
}

/// An address, or the data itself as a `data:` address, written without building it first.
struct Address<'a>(&'a MediaSource);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            MediaSource::Url(url) => serializer.serialize_str(url),
            MediaSource::Base64 { media_type, data } => {
                serializer.collect_str(&format_args!("data:{media_type};base64,{data}"))
            }
            MediaSource::Id(id) => serializer.serialize_str(id),
        }
    }
}

struct WireCall<'a>(&'a ToolCall);

impl Serialize for WireCall<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let ToolCall { id, name, arguments } = self.0;
        // A call without arguments is stored as an empty text, which is not JSON.
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Function { name, arguments })?;
        map.end()
    }
}

struct WireTool<'a>(&'a Tool);

impl Serialize for WireTool<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Function<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            description: &'a str,
            parameters: &'a Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            strict: Option<bool>,
        }
        let Tool { name, description, parameters, strict } = self.0;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", "function")?;
        let function = Function { name, description, parameters, strict: *strict };
        map.serialize_entry("function", &function)?;
        map.end()
    }
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

struct WireFormat<'a>(&'a ResponseFormat);

impl Serialize for WireFormat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Schema<'a> {
            name: &'a str,
            schema: &'a Value,
            strict: bool,
        }
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            ResponseFormat::JsonObject => map.serialize_entry("type", "json_object")?,
            ResponseFormat::JsonSchema { name, schema, strict } => {
                map.serialize_entry("type", "json_schema")?;
                let schema = Schema { name, schema, strict: *strict };
                map.serialize_entry("json_schema", &schema)?;
            }
        }
        map.end()
    }
}

fn unsupported(what: &str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, format!("this wire does not carry {what}"))
}

fn stray_tool_content() -> ProviderError {
    let message = "a message of the role tool holds something other than tool results";
    ProviderError::new(ErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests;
