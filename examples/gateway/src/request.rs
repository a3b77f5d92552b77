//! A chat request in OpenAI's words, read.
//!
//! Fields that every server of this wire knows become the crate's own; what is left is passed on
//! untouched. What could not be kept, such as several answers at once, is refused by name.

use evenkeel::request::{MediaSource, Reasoning, Sampling};
use evenkeel::{ChatRequest, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// A request, and how it is to be answered.
#[derive(Debug, PartialEq)]
pub struct Asked {
    /// What is asked.
    pub request: ChatRequest,
    /// Whether the answer is to come in pieces.
    pub stream: bool,
    /// Whether a stream is to end with its token counts.
    pub include_usage: bool,
    /// Calls of one key prefer one endpoint, whose prompt cache is then warm.
    pub session: Option<String>,
}

/// Reads a body.
///
/// # Errors
/// 400 with the field at fault.
pub fn parse(body: &[u8]) -> Result<Asked, Failure> {
    let json = serde_json::from_slice(body);
    let json =
        json.map_err(|error| Failure::invalid("", format!("the body is not JSON: {error}")))?;
    let Value::Object(fields) = json else {
        return Err(Failure::invalid("", "the body is not a JSON object"));
    };
    Fields(fields).asked()
}

type Read<T> = Result<T, Failure>;

/// The fields of an object that have not been read yet.
struct Fields(Map<String, Value>);

impl Fields {
    /// Takes a field out; null is the same as nothing.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Read<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| wrong(name, expected))
    }

    fn text(&mut self, name: &str) -> Read<Option<String>> {
        self.typed(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    fn flag(&mut self, name: &str) -> Read<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn number(&mut self, name: &str) -> Read<Option<f64>> {
        self.typed(name, "a number", Value::as_f64)
    }

    fn count(&mut self, name: &str) -> Read<Option<u64>> {
        self.typed(name, "a whole number from 0 on", Value::as_u64)
    }

    fn asked(mut self) -> Read<Asked> {
        self.refuse_what_cannot_be_kept()?;
        let stream = self.flag("stream")?.unwrap_or(false);
        let options = self.take("stream_options").unwrap_or_default();
        let session = self.0.get("prompt_cache_key").and_then(Value::as_str).map(str::to_owned);
        Ok(Asked {
            stream,
            include_usage: options["include_usage"].as_bool().unwrap_or(false),
            session,
            request: self.request()?,
        })
    }

    fn refuse_what_cannot_be_kept(&mut self) -> Read<()> {
        let several = self.count("n")?.is_some_and(|n| n != 1);
        let probabilities = self.flag("logprobs")?.unwrap_or(false);
        let spoken = self.take("audio").is_some();
        let old = self.0.contains_key("functions") || self.0.contains_key("function_call");
        for (name, asked) in
            [("n", several), ("logprobs", probabilities), ("audio", spoken), ("functions", old)]
        {
            if asked {
                return Err(Failure::invalid(name, format!("{name} is not supported")));
            }
        }
        Ok(())
    }

    fn request(mut self) -> Read<ChatRequest> {
        let mut request = ChatRequest::with_default_model();
        request.model = self.text("model")?;
        request.messages = self.list("messages", message)?;
        if request.messages.is_empty() {
            return Err(Failure::invalid("messages", "at least one message is needed"));
        }
        request.tools = self.list("tools", tool)?;
        request.tool_choice =
            self.take("tool_choice").map(|choice| tool_choice(&choice)).transpose()?;
        request.parallel_tool_calls = self.flag("parallel_tool_calls")?;
        request.response_format = match self.take("response_format") {
            Some(format) => response_format(&format)?,
            None => None,
        };
        request.sampling = self.sampling()?;
        request.extra = self.0;
        Ok(request)
    }

    fn sampling(&mut self) -> Read<Sampling> {
        let old = self.count("max_tokens")?;
        let mut sampling = Sampling::new();
        sampling.max_output_tokens = self.count("max_completion_tokens")?.or(old);
        sampling.temperature = self.number("temperature")?;
        sampling.top_p = self.number("top_p")?;
        sampling.top_k = self.count("top_k")?;
        sampling.stop =
            self.typed("stop", "a string or a list of strings", strings)?.unwrap_or_default();
        sampling.seed = self.typed("seed", "a whole number", Value::as_i64)?;
        sampling.frequency_penalty = self.number("frequency_penalty")?;
        sampling.presence_penalty = self.number("presence_penalty")?;
        Ok(sampling)
    }

    /// A list of objects, each read by `read`, which is told its path.
    fn list<T>(&mut self, name: &str, read: fn(Self, &str) -> Read<T>) -> Read<Vec<T>> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else { return Err(wrong(name, "a list")) };
        let items = items.into_iter().enumerate().map(|(index, item)| {
            let path = format!("{name}[{index}]");
            match item {
                Value::Object(fields) => read(Self(fields), &path),
                _ => Err(wrong(&path, "an object")),
            }
        });
        items.collect()
    }
}

fn wrong(path: &str, expected: &str) -> Failure {
    Failure::invalid(path, format!("{path} must be {expected}"))
}

/// One string, or several.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(several) => {
            several.iter().map(|one| one.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

fn message(mut fields: Fields, path: &str) -> Read<Message> {
    let role = fields.text("role").map_err(|_| wrong(&format!("{path}.role"), "a string"))?;
    let role = match role.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => return tool_result(fields, path),
        _ => {
            return Err(wrong(
                &format!("{path}.role"),
                "system, developer, user, assistant or tool",
            ));
        }
    };
    let mut parts = Vec::new();
    if let Some(Value::String(thought)) = fields.take("reasoning_content") {
        parts.push(Part::Reasoning(Reasoning::new(thought)));
    }
    parts.extend(content(fields.take("content"), path)?);
    parts.extend(tool_calls(fields.take("tool_calls"), path)?);
    Ok(Message::new(role, parts))
}

fn tool_result(mut fields: Fields, path: &str) -> Read<Message> {
    let id = fields.take("tool_call_id");
    let id = id.as_ref().and_then(Value::as_str);
    let call_id = id.ok_or_else(|| wrong(&format!("{path}.tool_call_id"), "a string"))?.to_owned();
    let content = content(fields.take("content"), path)?;
    let result = Part::ToolResult { call_id, content, is_error: false };
    Ok(Message::new(Role::Tool, [result]))
}

fn content(value: Option<Value>, path: &str) -> Read<Vec<Part>> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate();
            parts.map(|(index, value)| part(value, &format!("{path}.content[{index}]"))).collect()
        }
        Some(_) => Err(wrong(&format!("{path}.content"), "a string or a list of parts")),
    }
}

fn part(value: &Value, path: &str) -> Read<Part> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let needed = |pointer: &str| {
        text(pointer)
            .ok_or_else(|| wrong(&format!("{path}{}", pointer.replace('/', ".")), "a string"))
    };
    match value["type"].as_str() {
        Some("text") => Ok(Part::text(needed("/text")?)),
        Some("refusal") => Ok(Part::text(needed("/refusal")?)),
        Some("image_url") => Ok(Part::Image {
            source: media(needed("/image_url/url")?),
            detail: text("/image_url/detail"),
        }),
        Some("file") => {
            let source = match text("/file/file_id") {
                Some(id) => MediaSource::Id(id),
                None => media(needed("/file/file_data")?),
            };
            Ok(Part::File { source, name: text("/file/filename") })
        }
        _ => Err(wrong(&format!("{path}.type"), "text, refusal, image_url or file")),
    }
}

/// An address, or what a `data:` address embeds.
fn media(url: String) -> MediaSource {
    let embedded = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match embedded {
        Some((media_type, data)) => {
            MediaSource::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => MediaSource::Url(url),
    }
}

fn tool_calls(value: Option<Value>, path: &str) -> Read<Vec<Part>> {
    let calls = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(calls)) => calls,
        Some(_) => return Err(wrong(&format!("{path}.tool_calls"), "a list")),
    };
    let calls = calls.iter().enumerate().map(|(index, call)| {
        let text = |pointer| call.pointer(pointer).and_then(Value::as_str);
        match (text("/id"), text("/function/name"), text("/function/arguments")) {
            (Some(id), Some(name), Some(arguments)) => {
                Ok(Part::ToolCall(ToolCall::new(id, name, arguments)))
            }
            _ => Err(wrong(
                &format!("{path}.tool_calls[{index}]"),
                "a call of a function, with id, name and arguments",
            )),
        }
    });
    calls.collect()
}

fn tool(mut fields: Fields, path: &str) -> Read<Tool> {
    let Some(Value::Object(function)) = fields.take("function") else {
        return Err(wrong(&format!("{path}.function"), "an object; only functions are supported"));
    };
    let mut function = Fields(function);
    let Some(Value::String(name)) = function.take("name") else {
        return Err(wrong(&format!("{path}.function.name"), "a string"));
    };
    let none = || serde_json::json!({"type": "object", "properties": {}});
    let mut tool = Tool::new(name, function.take("parameters").unwrap_or_else(none));
    if let Some(Value::String(description)) = function.take("description") {
        tool = tool.with_description(description);
    }
    tool.strict = function.take("strict").and_then(|strict| strict.as_bool());
    Ok(tool)
}

fn tool_choice(value: &Value) -> Read<ToolChoice> {
    match (value.as_str(), value.pointer("/function/name").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (None, Some(name)) => Ok(ToolChoice::Tool(name.to_owned())),
        _ => Err(wrong("tool_choice", "auto, none, required or a function")),
    }
}

fn response_format(value: &Value) -> Read<Option<ResponseFormat>> {
    match value["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(ResponseFormat::JsonObject)),
        Some("json_schema") => {
            let schema = &value["json_schema"];
            let name = schema["name"].as_str();
            let name = name.ok_or_else(|| wrong("response_format.json_schema.name", "a string"))?;
            Ok(Some(ResponseFormat::JsonSchema {
                name: name.to_owned(),
                schema: schema["schema"].clone(),
                strict: schema["strict"].as_bool().unwrap_or(false),
            }))
        }
        _ => Err(wrong("response_format.type", "text, json_object or json_schema")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(json: &Value) -> Asked {
        parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_whole_conversation_is_read() {
        let asked = read(&json!({
            "model": "m",
            "stream": true,
            "prompt_cache_key": "s1",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "file", "file": {"file_id": "f1", "filename": "a.pdf"}},
                ]},
                {"role": "assistant", "content": null, "reasoning_content": "so", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "found"},
            ],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": true}},
        }));
        assert!(asked.stream && !asked.include_usage);
        assert_eq!(asked.session.as_deref(), Some("s1"));
        let image = Part::image_base64("image/png", "AAAA");
        let Part::Image { source, .. } = image else { unreachable!() };
        let expected = [
            Message::system("be brief"),
            Message::user("look").part(Part::Image { source, detail: Some("low".into()) }).part(
                Part::File { source: MediaSource::Id("f1".into()), name: Some("a.pdf".into()) },
            ),
            Message::new(
                Role::Assistant,
                [
                    Part::Reasoning(Reasoning::new("so")),
                    Part::ToolCall(ToolCall::new("c1", "find", "{}")),
                ],
            ),
            Message::tool_result("c1", "found"),
        ];
        assert_eq!(asked.request.messages, expected);
        assert!(matches!(
            asked.request.response_format,
            Some(ResponseFormat::JsonSchema { strict: true, .. })
        ));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn no_value_in_any_field_panics(field in 0_usize..FIELDS.len(), value in value()) {
            let mut json = json!({"messages": [{"role": "user", "content": "q"}]});
            json[FIELDS[field]] = value.clone();
            let _ = parse(json.to_string().as_bytes());
            let inner = json!({"messages": [{"role": "user", FIELDS[field]: value}], "tools": [{"function": value}]});
            let _ = parse(inner.to_string().as_bytes());
        }
    }

    const FIELDS: [&str; 14] = [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "n",
        "seed",
        "content",
        "tool_calls",
        "role",
        "reasoning_content",
    ];

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!([null, {}, "x", 1, []])),
            Just(json!({"type": "json_schema", "json_schema": 3, "function": {"name": 4}})),
            Just(json!([{"type": "text"}, {"type": "image_url", "image_url": "x"}])),
        ]
    }
}
