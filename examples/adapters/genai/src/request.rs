//! A request in the SDK's words.

use evenkeel::request::MediaSource;
use evenkeel::{
    CallContext, ChatRequest, ErrorKind, Message, Part, ProviderError, ResponseFormat, Role,
    ToolCall, ToolChoice,
};
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest as Asked, ChatResponseFormat, ChatRole, ContentPart,
    JsonSpec, MessageContent, Tool, ToolCall as Call, ToolChoice as Choice, ToolResponse,
};
use serde_json::{Map, Value, json};

/// The conversation and the tools.
pub(crate) fn messages(request: &ChatRequest) -> Result<Asked, ProviderError> {
    let messages = request.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let tools = request.tools.iter().map(|tool| {
        let wire = Tool::new(tool.name.as_str()).with_schema(tool.parameters.clone());
        let wire = match tool.description.as_str() {
            "" => wire,
            description => wire.with_description(description),
        };
        tool.strict.into_iter().fold(wire, Tool::with_strict)
    });
    let tools: Vec<Tool> = tools.collect();
    let asked = Asked::new(messages);
    Ok(if tools.is_empty() { asked } else { asked.with_tools(tools) })
}

fn message(message: &Message) -> Result<ChatMessage, ProviderError> {
    let role = match message.role {
        Role::System => ChatRole::System,
        Role::Assistant => ChatRole::Assistant,
        Role::Tool => ChatRole::Tool,
        _ => ChatRole::User,
    };
    let parts = message.content.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<ContentPart> = parts.into_iter().flatten().collect();
    Ok(ChatMessage::new(role, MessageContent::from_parts(parts)))
}

/// What the SDK makes of a part: a thought may be two, and another vendor's own part is none.
fn part(part: &Part) -> Result<Vec<ContentPart>, ProviderError> {
    Ok(match part {
        Part::Text { text } => vec![ContentPart::from_text(text)],
        Part::Image { source, .. } => vec![binary(source, "image/*", None)?],
        Part::File { source, name } => vec![binary(source, "application/pdf", name.clone())?],
        Part::ToolCall(call) => vec![ContentPart::ToolCall(tool_call(call))],
        Part::ToolResult { call_id, content, .. } => {
            let text: String = content.iter().filter_map(Part::as_text).collect();
            vec![ContentPart::ToolResponse(ToolResponse::new(call_id, text))]
        }
        Part::Reasoning(thought) => {
            let signature = thought.signature.clone().map(ContentPart::ThoughtSignature);
            let text = (!thought.text.is_empty()).then(|| thought.text.clone());
            signature.into_iter().chain(text.map(ContentPart::ReasoningContent)).collect()
        }
        _ => Vec::new(),
    })
}

fn binary(
    source: &MediaSource,
    assumed: &str,
    name: Option<String>,
) -> Result<ContentPart, ProviderError> {
    match source {
        MediaSource::Url(url) => Ok(ContentPart::from_binary_url(assumed, url, name)),
        MediaSource::Base64 { media_type, data } => {
            Ok(ContentPart::from_binary_base64(media_type, data.as_str(), name))
        }
        _ => Err(unsupported("content that was uploaded before")),
    }
}

/// The SDK wants JSON where the model may have written anything; a text is a text then.
fn tool_call(call: &ToolCall) -> Call {
    let arguments = call.parse().unwrap_or_else(|_| Value::String(call.arguments.clone()));
    Call {
        call_id: call.id.clone(),
        fn_name: call.name.clone(),
        fn_arguments: arguments,
        thought_signatures: None,
    }
}

/// How the answer is sampled, and all of it that the SDK must be told to keep.
pub(crate) fn options(
    request: &ChatRequest,
    cx: &CallContext,
) -> Result<ChatOptions, ProviderError> {
    let sampling = &request.sampling;
    let max_tokens =
        sampling.max_output_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
    let seed = sampling.seed.map(u64::try_from).transpose();
    Ok(ChatOptions {
        temperature: sampling.temperature,
        max_tokens,
        top_p: sampling.top_p,
        stop_sequences: sampling.stop.clone(),
        seed: seed.map_err(|_| unsupported("a negative seed"))?,
        response_format: request.response_format.as_ref().map(format).transpose()?,
        tool_choice: request.tool_choice.as_ref().map(tool_choice).transpose()?,
        extra_body: extra(request),
        capture_usage: Some(true),
        capture_tool_calls: Some(true),
        capture_raw_body: Some(cx.keep_raw),
        ..ChatOptions::default()
    })
}

fn format(format: &ResponseFormat) -> Result<ChatResponseFormat, ProviderError> {
    match format {
        ResponseFormat::JsonObject => Ok(ChatResponseFormat::JsonMode),
        ResponseFormat::JsonSchema { name, schema, .. } => {
            Ok(JsonSpec::new(name, schema.clone()).into())
        }
        _ => Err(unsupported("this form of an answer")),
    }
}

fn tool_choice(choice: &ToolChoice) -> Result<Choice, ProviderError> {
    match choice {
        ToolChoice::Auto => Ok(Choice::Auto),
        ToolChoice::None => Ok(Choice::None),
        ToolChoice::Required => Ok(Choice::Required),
        ToolChoice::Tool(name) => Ok(Choice::tool(name)),
        _ => Err(unsupported("this choice of a tool")),
    }
}

/// What the SDK has no field for, under the names most wires know, and the caller's own fields.
fn extra(request: &ChatRequest) -> Option<Value> {
    let sampling = &request.sampling;
    let known = [
        ("top_k", json!(sampling.top_k)),
        ("frequency_penalty", json!(sampling.frequency_penalty)),
        ("presence_penalty", json!(sampling.presence_penalty)),
        ("parallel_tool_calls", json!(request.parallel_tool_calls)),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_null());
    let mut fields: Map<_, _> = known.map(|(name, value)| (name.to_owned(), value)).collect();
    fields.extend(request.extra.clone());
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn unsupported(what: &'static str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, what)
}
