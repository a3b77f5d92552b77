//! A request as the body that the SDK sends.

use evenkeel::request::MediaSource;
use evenkeel::{
    CallContext, ChatRequest, ErrorKind, Message, Part, ProviderError, ResponseFormat, Role, Tool,
    ToolChoice,
};
use serde_json::{Map, Value, json};

/// The body. Fields in `extra` replace ours.
pub(crate) fn body(
    request: &ChatRequest,
    cx: &CallContext,
    stream: bool,
) -> Result<Value, ProviderError> {
    let mut messages = Vec::new();
    for message in &request.messages {
        push(&mut messages, message)?;
    }
    let sampling = &request.sampling;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", json!(cx.model(request)));
    put("messages", Value::Array(messages));
    put("max_completion_tokens", json!(sampling.max_output_tokens));
    put("temperature", json!(sampling.temperature));
    put("top_p", json!(sampling.top_p));
    put("top_k", json!(sampling.top_k));
    put("stop", json!((!sampling.stop.is_empty()).then_some(&sampling.stop)));
    put("seed", json!(sampling.seed));
    put("frequency_penalty", json!(sampling.frequency_penalty));
    put("presence_penalty", json!(sampling.presence_penalty));
    let tools: Vec<Value> = request.tools.iter().map(tool).collect();
    put("tools", json!((!tools.is_empty()).then_some(tools)));
    put("tool_choice", json!(request.tool_choice.as_ref().map(tool_choice)));
    put("parallel_tool_calls", json!(request.parallel_tool_calls));
    put("response_format", json!(request.response_format.as_ref().map(response_format)));
    put("stream", json!(stream));
    put("stream_options", json!(stream.then(|| json!({"include_usage": true}))));
    body.extend(request.extra.clone());
    Ok(Value::Object(body))
}

/// Adds a message; each tool's result is one of its own.
fn push(messages: &mut Vec<Value>, message: &Message) -> Result<(), ProviderError> {
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &message.content {
        match part {
            Part::ToolResult { call_id, content, .. } => {
                let text: String = content.iter().filter_map(Part::as_text).collect();
                messages.push(json!({"role": "tool", "tool_call_id": call_id, "content": text}));
            }
            Part::ToolCall(call) => calls.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            part => content.extend(wire_part(part)?),
        }
    }
    if content.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let mut wire = json!({"role": role(message.role)?, "content": content});
    // Servers all take a text; not all take a list.
    if let [only] = &content[..]
        && only["type"] == "text"
    {
        wire["content"] = only["text"].clone();
    }
    if !calls.is_empty() {
        wire["tool_calls"] = Value::Array(calls);
    }
    messages.push(wire);
    Ok(())
}

fn role(role: Role) -> Result<&'static str, ProviderError> {
    match role {
        Role::System => Ok("system"),
        Role::User => Ok("user"),
        Role::Assistant => Ok("assistant"),
        _ => Err(unsupported("a tool's message that holds more than results")),
    }
}

/// A part that the wire has a form for; reasoning and other servers' parts have none, and stay behind.
fn wire_part(part: &Part) -> Result<Option<Value>, ProviderError> {
    Ok(Some(match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { source, detail } => {
            let mut image = json!({"url": address(source)?});
            if let Some(detail) = detail {
                image["detail"] = json!(detail);
            }
            json!({"type": "image_url", "image_url": image})
        }
        Part::File { source: MediaSource::Id(id), .. } => {
            json!({"type": "file", "file": {"file_id": id}})
        }
        Part::File { source, name } => {
            json!({"type": "file", "file": {"file_data": address(source)?, "filename": name}})
        }
        _ => return Ok(None),
    }))
}

fn address(source: &MediaSource) -> Result<String, ProviderError> {
    match source {
        MediaSource::Url(url) => Ok(url.clone()),
        MediaSource::Base64 { media_type, data } => Ok(format!("data:{media_type};base64,{data}")),
        _ => Err(unsupported("an image that was uploaded before")),
    }
}

fn tool(tool: &Tool) -> Value {
    let Tool { name, description, parameters, strict, .. } = tool;
    let mut function = json!({"name": name, "parameters": parameters});
    if !description.is_empty() {
        function["description"] = json!(description);
    }
    if let Some(strict) = strict {
        function["strict"] = json!(strict);
    }
    json!({"type": "function", "function": function})
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
        _ => json!("auto"),
    }
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::JsonSchema { name, schema, strict } => json!({
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": strict},
        }),
        _ => json!({"type": "json_object"}),
    }
}

fn unsupported(what: &'static str) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, what)
}
