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
