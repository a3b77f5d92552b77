//! A request in the words of the messages API.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::decode::WIRE;
use crate::error::{ErrorKind, ProviderError};
use crate::request::{
    ChatRequest, MediaSource, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall,
    ToolChoice,
};

/// What a body needs beyond the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) model: &'a str,
    /// Sent where the request names no bound: the wire demands one.
    pub(crate) max_tokens: u64,
    pub(crate) cache_system: bool,
    pub(crate) stream: bool,
}

/// The body of `POST /v1/messages`.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] and [`ErrorKind::Unsupported`] for what the wire cannot say.
pub(crate) fn body(
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
mod tests;
