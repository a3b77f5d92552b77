use super::*;
use crate::request::{Reasoning, Sampling};

fn dialect() -> Dialect {
    Dialect {
        model: Some("default".into()),
        max_tokens_field: MaxTokensField::MaxTokens,
        stream_usage: true,
        reasoning: None,
    }
}

fn encoded(request: &ChatRequest, dialect: &Dialect, stream: bool) -> Result<Value, ErrorKind> {
    let cx = CallContext::new(crate::time::now());
    let body = chat(request, &cx, dialect, stream).map_err(|error| error.kind())?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn whole(request: &ChatRequest) -> Value {
    encoded(request, &dialect(), false).unwrap()
}

fn messages(request: &ChatRequest) -> Value {
    whole(request)["messages"].take()
}

#[test]
fn a_plain_request_holds_nothing_that_was_not_asked_for() {
    assert_eq!(
        whole(&ChatRequest::new("m").system("s").user("u").assistant("a")),
        json!({"model": "m", "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "a"},
        ]})
    );
}

#[test]
fn the_model_is_the_endpoints_then_the_requests_then_the_default() {
    let asked = |request: &ChatRequest, cx: &CallContext| {
        let body = chat(request, cx, &dialect(), false).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["model"].take()
    };
    let cx = CallContext::new(crate::time::now());
    assert_eq!(asked(&"q".into(), &cx), "default");
    assert_eq!(asked(&ChatRequest::new("m"), &cx), "m");
    assert_eq!(asked(&ChatRequest::new("m"), &cx.with_model("theirs")), "theirs");
}

#[test]
fn a_stream_asks_for_its_usage_unless_told_not_to() {
    let request = ChatRequest::new("m").user("u");
    let body = encoded(&request, &dialect(), true).unwrap();
    assert_eq!(body["stream"], true);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));

    let quiet = Dialect { stream_usage: false, ..dialect() };
    assert_eq!(encoded(&request, &quiet, true).unwrap().get("stream_options"), None);
}

#[test]
fn every_sampling_parameter_has_its_field() {
    let mut sampling = Sampling::new();
    sampling.max_output_tokens = Some(9);
    sampling.temperature = Some(0.5);
    sampling.top_p = Some(0.9);
    sampling.top_k = Some(40);
    sampling.stop = vec!["END".into()];
    sampling.seed = Some(-1);
    sampling.frequency_penalty = Some(0.25);
    sampling.presence_penalty = Some(-0.25);
    let request = ChatRequest::new("m").sampling(sampling);
    assert_eq!(
        whole(&request),
        json!({"model": "m", "messages": [], "max_tokens": 9, "temperature": 0.5, "top_p": 0.9,
            "top_k": 40, "stop": ["END"], "seed": -1, "frequency_penalty": 0.25,
            "presence_penalty": -0.25})
    );
    let newer = Dialect { max_tokens_field: MaxTokensField::MaxCompletionTokens, ..dialect() };
    let body = encoded(&request, &newer, false).unwrap();
    assert_eq!((&body["max_completion_tokens"], body.get("max_tokens")), (&json!(9), None));
}

#[test]
fn media_go_as_addresses_data_or_ids() {
    let file = |source| Part::File { source, name: Some("a.pdf".into()) };
    let data = MediaSource::Base64 { media_type: "application/pdf".into(), data: "QUJD".into() };
    let detailed =
        Part::Image { source: MediaSource::Url("https://i/1".into()), detail: Some("low".into()) };
    let message = Message::user("see")
        .part(detailed)
        .part(Part::image_base64("image/png", "QQ=="))
        .part(file(data))
        .part(file(MediaSource::Id("f1".into())))
        .part(Part::Opaque { provider: "openai".into(), value: json!({"type": "input_audio"}) })
        .part(Part::Opaque { provider: "anthropic".into(), value: json!({}) });
    assert_eq!(
        messages(&ChatRequest::new("m").message(message))[0]["content"],
        json!([
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "https://i/1", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
            {"type": "file", "file":
                {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_id": "f1", "filename": "a.pdf"}},
            {"type": "input_audio"},
        ])
    );
}

#[test]
fn tool_calls_and_their_results_become_messages_of_their_own() {
    let turn = Message::assistant("looking")
        .part(Part::ToolCall(ToolCall::new("c1", "find", r#"{"q":1}"#)))
        .part(Part::ToolCall(ToolCall::new("c2", "now", "")));
    let both = Part::ToolResult {
        call_id: "c2".into(),
        content: vec![Part::text("a"), Part::text("b")],
        is_error: false,
    };
    let results = Message::tool_result("c1", "found").part(both);
    assert_eq!(
        messages(&ChatRequest::new("m").message(turn).message(results)),
        json!([
            {"role": "assistant", "content": "looking", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"q\":1}"}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "tool", "tool_call_id": "c2", "content": "ab"},
        ])
    );
}

#[test]
fn what_the_wire_does_not_carry_is_refused_before_it_is_sent() {
    let refused = |message| encoded(&ChatRequest::new("m").message(message), &dialect(), false);
    let image = Part::Image { source: MediaSource::Id("i".into()), detail: None };
    let file = Part::File { source: MediaSource::Url("u".into()), name: None };
    let result = |content| Part::ToolResult { call_id: "c".into(), content, is_error: false };
    assert_eq!(refused(Message::user("x").part(image)), Err(ErrorKind::Unsupported));
    assert_eq!(refused(Message::user("x").part(file)), Err(ErrorKind::Unsupported));
    let picture = Message::new(Role::Tool, [result(vec![Part::image_url("u")])]);
    assert_eq!(refused(picture), Err(ErrorKind::Unsupported));
    let stray = Message::new(Role::Tool, [Part::text("no call")]);
    assert_eq!(refused(stray), Err(ErrorKind::InvalidRequest));
}

#[test]
fn tools_and_choices_take_the_wires_form() {
    let mut strict = Tool::new("find", json!({"type": "object"})).with_description("finds");
    strict.strict = Some(true);
    let request = ChatRequest::new("m").tool(strict).tool(Tool::new("now", json!({})));
    assert_eq!(
        whole(&request)["tools"],
        json!([
            {"type": "function", "function": {"name": "find", "description": "finds",
                "parameters": {"type": "object"}, "strict": true}},
            {"type": "function", "function": {"name": "now", "parameters": {}}},
        ])
    );
    let choice = |choice| whole(&ChatRequest::new("m").tool_choice(choice))["tool_choice"].take();
    assert_eq!(choice(ToolChoice::Auto), "auto");
    assert_eq!(choice(ToolChoice::None), "none");
    assert_eq!(choice(ToolChoice::Required), "required");
    assert_eq!(
        choice(ToolChoice::Tool("find".into())),
        json!({"type": "function", "function": {"name": "find"}})
    );
    let mut serial = ChatRequest::new("m");
    serial.parallel_tool_calls = Some(false);
    assert_eq!(whole(&serial)["parallel_tool_calls"], false);
}

#[test]
fn answers_can_be_held_to_a_form() {
    let format =
        |format| whole(&ChatRequest::new("m").response_format(format))["response_format"].take();
    assert_eq!(format(ResponseFormat::JsonObject), json!({"type": "json_object"}));
    let schema =
        ResponseFormat::JsonSchema { name: "a".into(), schema: json!({"x": 1}), strict: true };
    assert_eq!(
        format(schema),
        json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"x": 1}, "strict": true}})
    );
}

#[test]
fn reasoning_goes_back_only_when_asked_for() {
    let turn =
        Message::new(Role::Assistant, [Part::Reasoning(Reasoning::new("hm")), Part::text("yes")]);
    let request = ChatRequest::new("m").message(turn);
    assert_eq!(messages(&request), json!([{"role": "assistant", "content": "yes"}]));

    for (field, name) in [
        (ReasoningField::ReasoningContent, "reasoning_content"),
        (ReasoningField::Reasoning, "reasoning"),
    ] {
        let dialect = Dialect { reasoning: Some(field), ..dialect() };
        assert_eq!(encoded(&request, &dialect, false).unwrap()["messages"][0][name], "hm");
    }
}

#[test]
fn extra_fields_come_last_and_replace_ours() {
    let request = ChatRequest::new("m").user("u").extra("model", "other").extra("user", json!(7));
    let cx = CallContext::new(crate::time::now());
    let body = String::from_utf8(chat(&request, &cx, &dialect(), false).unwrap()).unwrap();
    assert_eq!(body.matches("\"model\"").count(), 1, "{body}");
    assert!(body.ends_with(r#""model":"other","user":7}"#), "{body}");
}
