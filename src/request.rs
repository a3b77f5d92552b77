//! What an application asks for.
//!
//! The types carry what the field's wires carry: roles, multi-part content, tools, structured
//! output, sampling, and an [`extra`](ChatRequest::extra) map that reaches the wire untouched.
//! `Debug` prints shapes and sizes, never content.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One chat request. Serialises to a stable JSON form of its own, not to any vendor's wire.
///
/// ```
/// use evenkeel::ChatRequest;
///
/// let request = ChatRequest::new("gpt-x")
///     .system("Answer in one sentence.")
///     .user("What is Rust ownership?")
///     .max_output_tokens(200)
///     .temperature(0.2);
/// assert_eq!(request.messages.len(), 2);
/// ```
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The logical model; `None` uses each endpoint's default. Endpoints map it to their own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation, system prompts included, oldest first.
    pub messages: Vec<Message>,
    /// The tools the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether and which tool the model must call; `None` leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called in one turn; `None` leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The form the answer must take; `None` is free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// How the answer is sampled.
    #[serde(skip_serializing_if = "Sampling::is_default")]
    pub sampling: Sampling,
    /// Fields merged into the top level of the wire's JSON body, overriding ours.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl ChatRequest {
    /// An empty conversation with `model`.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..Self::default() }
    }

    /// An empty conversation with each endpoint's default model.
    #[must_use]
    pub fn with_default_model() -> Self {
        Self::default()
    }

    /// Adds a system prompt.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Message::system(text))
    }

    /// Adds what the user said.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// Adds what the model answered.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Message::assistant(text))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Offers the model a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Sets whether and which tool must be called.
    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = Some(choice);
        self
    }

    /// Sets the form the answer must take.
    #[must_use]
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }

    /// Bounds the answer, in tokens.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u64) -> Self {
        self.sampling.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the sampling temperature.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.sampling.temperature = Some(temperature);
        self
    }

    /// Sets how the answer is sampled.
    #[must_use]
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Adds a field to the top level of the wire's JSON body.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// Bytes of text, arguments and embedded data in the conversation and the tools. Linear in the
    /// number of parts, not in their length.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        let messages: usize =
            self.messages.iter().flat_map(|message| &message.content).map(Part::bytes).sum();
        let tools: usize =
            self.tools.iter().map(|tool| tool.name.len() + tool.description.len()).sum();
        messages + tools
    }
}

impl From<&str> for ChatRequest {
    /// One user message to each endpoint's default model.
    fn from(text: &str) -> Self {
        Self::default().user(text)
    }
}

impl From<String> for ChatRequest {
    /// One user message to each endpoint's default model.
    fn from(text: String) -> Self {
        Self::default().user(text)
    }
}

impl fmt::Debug for ChatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            response_format,
            sampling,
            extra,
        } = self;
        f.debug_struct("ChatRequest")
            .field("model", model)
            .field("messages", messages)
            .field("tools", &tools.len())
            .field("tool_choice", tool_choice)
            .field("parallel_tool_calls", parallel_tool_calls)
            .field("response_format", response_format)
            .field("sampling", sampling)
            .field("extra", &extra.len())
            .finish()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The application's instructions.
    System,
    /// The person, or whatever asks.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
}

impl Message {
    /// A message of any parts.
    pub fn new(role: Role, content: impl IntoIterator<Item = Part>) -> Self {
        Self { role, content: content.into_iter().collect() }
    }

    /// A system prompt.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, [Part::text(text)])
    }

    /// What the user said.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, [Part::text(text)])
    }

    /// What the model answered.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, [Part::text(text)])
    }

    /// What a tool returned for the call `call_id`.
    pub fn tool_result(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Role::Tool, [Part::tool_result(call_id, text)])
    }

    /// With one more part.
    #[must_use]
    pub fn part(mut self, part: Part) -> Self {
        self.content.push(part);
        self
    }

    /// The text parts, joined.
    #[must_use]
    pub fn text(&self) -> String {
        joined_text(&self.content)
    }
}

/// One piece of a message or of a response.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// Where it is.
        source: MediaSource,
        /// The wanted resolution, in the wire's own words (`"low"`, `"high"`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A document, such as a PDF.
    File {
        /// Where it is.
        source: MediaSource,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool's result.
    ToolResult {
        /// The id of the call it answers.
        call_id: String,
        /// What the tool returned.
        content: Vec<Self>,
        /// Whether the tool failed.
        #[serde(default)]
        is_error: bool,
    },
    /// The model's reasoning. Sent back unchanged in the next turn where the wire wants it.
    Reasoning(Reasoning),
    /// Something one provider understands; others leave it out.
    Opaque {
        /// The wire it belongs to, such as `"anthropic"`.
        provider: String,
        /// Its JSON, passed through untouched.
        value: Value,
    },
}

/// A tool call by the model.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The call's id, to be repeated in its result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them: JSON text, not yet parsed and possibly invalid.
    pub arguments: String,
}

impl ToolCall {
    /// The model calls `name` with `arguments`.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    /// The arguments as `T`.
    ///
    /// # Errors
    /// When the model wrote something that is not `T`.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.arguments)
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, arguments } = self;
        write!(f, "ToolCall({id:?}, {name:?}, <{} bytes>)", arguments.len())
    }
}

/// Reasoning the model showed or hid.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Reasoning {
    /// The visible text; empty when the server shows none.
    pub text: String,
    /// The server's signature over it, to be sent back with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Reasoning the server gives only in encrypted form, to be sent back unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<String>,
}

impl Reasoning {
    /// Visible reasoning.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// With the server's signature.
    #[must_use]
    pub fn with_signature(mut self, signature: impl Into<String>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// Reasoning the server gives only in encrypted form.
    pub fn encrypted(data: impl Into<String>) -> Self {
        Self { encrypted: Some(data.into()), ..Self::default() }
    }

    fn bytes(&self) -> usize {
        let Self { text, signature, encrypted } = self;
        text.len() + [signature, encrypted].into_iter().flatten().map(String::len).sum::<usize>()
    }
}

impl fmt::Debug for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reasoning(<{} bytes>)", self.bytes())
    }
}

/// Where an image or a document is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MediaSource {
    /// At an address the provider fetches itself.
    Url(String),
    /// Embedded, base64.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// The bytes in base64, without a `data:` prefix.
        data: String,
    },
    /// Uploaded to the provider before, by the id it gave.
    Id(String),
}

impl MediaSource {
    fn bytes(&self) -> usize {
        match self {
            Self::Url(text) | Self::Id(text) => text.len(),
            Self::Base64 { data, .. } => data.len(),
        }
    }
}

impl fmt::Debug for MediaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "Url(<{} bytes>)", url.len()),
            Self::Base64 { media_type, data } => {
                write!(f, "Base64({media_type:?}, <{} bytes>)", data.len())
            }
            Self::Id(id) => write!(f, "Id(<{} bytes>)", id.len()),
        }
    }
}

impl Part {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// An image at an address the provider fetches itself.
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::Image { source: MediaSource::Url(url.into()), detail: None }
    }

    /// An embedded image. `data` is base64 without a `data:` prefix.
    pub fn image_base64(media_type: impl Into<String>, data: impl Into<String>) -> Self {
        let source = MediaSource::Base64 { media_type: media_type.into(), data: data.into() };
        Self::Image { source, detail: None }
    }

    /// A tool's textual result.
    pub fn tool_result(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::ToolResult {
            call_id: call_id.into(),
            content: vec![Self::text(text)],
            is_error: false,
        }
    }

    /// The text, when the part is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            _ => None,
        }
    }

    /// Bytes of content in this part, what is nested in a tool result included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Image { source, .. } | Self::File { source, .. } => source.bytes(),
            Self::ToolCall(call) => call.name.len() + call.arguments.len(),
            Self::ToolResult { content, .. } => content.iter().map(Self::bytes).sum(),
            Self::Reasoning(reasoning) => reasoning.bytes(),
            Self::Opaque { .. } => 0,
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text } => write!(f, "Text(<{} bytes>)", text.len()),
            Self::Image { source, .. } => write!(f, "Image({source:?})"),
            Self::File { source, .. } => write!(f, "File({source:?})"),
            Self::ToolCall(call) => write!(f, "{call:?}"),
            Self::ToolResult { call_id, content, is_error } => {
                write!(f, "ToolResult({call_id:?}, {content:?}, error: {is_error})")
            }
            Self::Reasoning(reasoning) => write!(f, "{reasoning:?}"),
            Self::Opaque { provider, .. } => write!(f, "Opaque({provider:?})"),
        }
    }
}

/// The text parts of `content`, joined.
pub(crate) fn joined_text(content: &[Part]) -> String {
    content.iter().filter_map(Part::as_text).collect()
}

/// A tool the model may call.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
    /// Whether the server must hold the arguments to the schema; `None` leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl Tool {
    /// The tool `name`, whose arguments follow the JSON Schema `parameters`.
    pub fn new(name: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: String::new(), parameters, strict: None }
    }

    /// With what it does, for the model.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tool({:?})", self.name)
    }
}

/// Whether and which tool the model must call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Tool(String),
}

/// The form an answer must take.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
        /// Whether the server must hold the answer to it.
        strict: bool,
    },
}

impl fmt::Debug for ResponseFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JsonObject => f.write_str("JsonObject"),
            Self::JsonSchema { name, strict, .. } => {
                write!(f, "JsonSchema({name:?}, strict: {strict})")
            }
        }
    }
}

/// How an answer is sampled. `None` leaves a choice to the server.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sampling {
    /// The most output tokens, hidden reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Sample among this many tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// Strings that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// For answers that repeat, as far as the server can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Penalty by how often a token occurred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Penalty for a token that occurred at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
}

impl Sampling {
    /// Everything left to the server.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Stop strings are content, so only their number is shown.
impl fmt::Debug for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            stop,
            seed,
            frequency_penalty,
            presence_penalty,
        } = self;
        f.debug_struct("Sampling")
            .field("max_output_tokens", max_output_tokens)
            .field("temperature", temperature)
            .field("top_p", top_p)
            .field("top_k", top_k)
            .field("stop", &stop.len())
            .field("seed", seed)
            .field("frequency_penalty", frequency_penalty)
            .field("presence_penalty", presence_penalty)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rich() -> ChatRequest {
        ChatRequest::new("m")
            .system("secret-system")
            .message(Message::user("secret-user").part(Part::image_base64("image/png", "c2VjcmV0")))
            .message(Message::new(
                Role::Assistant,
                [
                    Part::Reasoning(Reasoning::new("secret-thought").with_signature("sig")),
                    Part::ToolCall(ToolCall::new("c1", "find", r#"{"q":"secret-arg"}"#)),
                ],
            ))
            .message(Message::tool_result("c1", "secret-result"))
            .tool(Tool::new("find", json!({"type": "object", "title": "secret-schema"})))
            .tool_choice(ToolChoice::Tool("find".into()))
            .response_format(ResponseFormat::JsonSchema {
                name: "answer".into(),
                schema: json!({"title": "secret-schema"}),
                strict: true,
            })
            .extra("user", "secret-extra")
            .sampling(Sampling { stop: vec!["secret-stop".into()], ..Sampling::new() })
    }

    #[test]
    fn debug_shows_shapes_and_no_content() {
        let shown = format!("{:?}", rich());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }

    #[test]
    fn a_request_survives_json() {
        let request = rich();
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<ChatRequest>(&json).unwrap(), request);
    }

    #[test]
    fn arguments_parse_where_they_are_json() {
        #[derive(Deserialize)]
        struct Find {
            q: String,
        }
        let call = ToolCall::new("c", "find", r#"{"q":"x"}"#);
        assert_eq!(call.parse::<Find>().unwrap().q, "x");
        assert!(ToolCall::new("c", "find", "{").parse::<Find>().is_err());
    }
}
