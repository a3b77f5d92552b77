//! The adapter against a server driven by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "../../../../tests/wire/server.rs"]
mod server;

use std::time::Duration;

use async_openai::config::OpenAIConfig;
use evenkeel::chunk::Accumulator;
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Endpoint, ErrorKind, FinishReason, LlmClient, Message,
    Part, Provider as _, ProviderError, Tool, ToolCall, ToolChoice, Usage, time,
};
use evenkeel_async_openai::AsyncOpenAi;
use futures::StreamExt as _;
use futures::future::join;
use serde_json::{Value, json};
use server::{Server, chunk, events, json as json_response};

fn provider(server: &Server) -> AsyncOpenAi<OpenAIConfig> {
    let config = OpenAIConfig::new().with_api_base(server.url("/v1")).with_api_key("sk-test-key");
    AsyncOpenAi::new("sdk", config, reqwest::Client::new())
}

fn cx() -> CallContext {
    CallContext::new(time::after(time::now(), Duration::from_secs(30))).with_model("vendor-m")
}

fn question() -> ChatRequest {
    ChatRequest::new("m").user("hello")
}

fn answer() -> Value {
    json!({"id": "c1", "model": "vendor-m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}})
}

/// What became of a stream: what came, and what ended it before its time.
async fn collect(
    provider: &AsyncOpenAi<OpenAIConfig>,
) -> (ChatResponse, bool, Option<ProviderError>) {
    let (mut all, mut failed) = (Accumulator::default(), None);
    match provider.stream(&question(), &cx()).await {
        Err(error) => failed = Some(error),
        Ok(mut stream) => {
            while let Some(item) = stream.next().await {
                match item {
                    Ok(chunk) => all.push(&chunk).unwrap(),
                    Err(error) => failed = Some(error),
                }
            }
        }
    }
    let complete = all.is_complete();
    (all.into_response(), complete, failed)
}

fn event(json: &Value) -> String {
    format!("data: {json}\n\n")
}

fn delta(delta: &Value) -> String {
    event(
        &json!({"id": "c1", "model": "vendor-m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}),
    )
}

fn finish(reason: &str) -> String {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

#[tokio::test]
async fn a_whole_answer_arrives_with_its_counts() {
    let server = Server::start().await;
    let provider = provider(&server);
    let request = question()
        .tool(Tool::new("find", json!({"type": "object"})))
        .tool_choice(ToolChoice::Required)
        .max_output_tokens(7)
        .message(Message::assistant("").part(Part::ToolCall(ToolCall::new("t1", "find", "{}"))))
        .message(Message::tool_result("t1", "found"))
        .extra("reasoning_effort", "low");
    let cx = cx();
    let (done, exchange) =
        join(provider.complete(&request, &cx), server.answer(json_response(200, &[], &answer())))
            .await;
    let response = done.unwrap();
    assert_eq!((response.text().as_str(), &response.finish), ("hi", &FinishReason::Stop));
    assert_eq!(response.usage, Usage::counted(9, 4).with_cached_input(2));
    assert_eq!(response.id.as_deref(), Some("c1"));

    assert!(exchange.request_line().starts_with("POST /v1/chat/completions "));
    assert_eq!(exchange.header("authorization"), Some("Bearer sk-test-key"));
    let body = exchange.json();
    assert_eq!((&body["model"], &body["max_completion_tokens"]), (&json!("vendor-m"), &json!(7)));
    assert_eq!(
        (&body["reasoning_effort"], &body["tool_choice"]),
        (&json!("low"), &json!("required"))
    );
    assert_eq!(body["messages"][0], json!({"role": "user", "content": "hello"}));
    assert_eq!(body["messages"][1]["tool_calls"][0]["id"], "t1");
    assert_eq!(
        body["messages"][2],
        json!({"role": "tool", "tool_call_id": "t1", "content": "found"})
    );
}

#[tokio::test]
async fn a_stream_adds_up_to_the_answer() {
    let server = Server::start().await;
    let provider = provider(&server);
    let serve = async {
        let mut exchange = server.accept().await;
        exchange.write(events(&[], ":\n\n")).await;
        for event in [
            delta(&json!({"role": "assistant", "content": ""})),
            delta(&json!({"content": "h"})),
            delta(&json!({"content": "i"})),
            delta(
                &json!({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "find", "arguments": "{\"q\""}}]}),
            ),
            delta(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
            finish("tool_calls"),
            event(&json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})),
            "data: [DONE]\n\n".to_owned(),
        ] {
            exchange.write(chunk(&event)).await;
        }
        exchange.write(chunk("")).await;
        exchange.json()
    };
    let ((response, complete, failed), body) = join(collect(&provider), serve).await;
    assert!(complete && failed.is_none(), "{failed:?}");
    assert_eq!(response.text(), "hi");
    let calls: Vec<_> = response.tool_calls().cloned().collect();
    assert_eq!(calls, [ToolCall::new("t1", "find", "{\"q\":1}")]);
    assert_eq!((response.finish, response.usage), (FinishReason::ToolCalls, Usage::counted(9, 4)));
    assert_eq!(
        (&body["stream"], &body["stream_options"]["include_usage"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test]
async fn failures_are_classified_keep_their_hint_and_are_met_once() {
    use ErrorKind as K;
    let error =
        |code: &str| json!({"error": {"message": "their words", "type": "x", "code": code}});
    for (status, code, kind) in [
        (429, "rate_limit_exceeded", K::RateLimited),
        (429, "insufficient_quota", K::QuotaExhausted),
        (401, "invalid_api_key", K::Auth),
        (503, "overloaded", K::Overloaded),
        (500, "internal", K::Server),
        (404, "model_not_found", K::ModelNotFound),
        (400, "context_length_exceeded", K::ContextLength),
        (400, "invalid_value", K::InvalidRequest),
    ] {
        let server = Server::start().await;
        let response = json_response(status, &["retry-after: 7", "x-request-id: r1"], &error(code));
        let (request, cx) = (question(), cx());
        let whole =
            join(provider(&server).complete(&request, &cx), server.answer(&response)).await.0;
        let streamed = join(collect(&provider(&server)), server.answer(&response)).await.0.2;
        for error in [whole.unwrap_err(), streamed.unwrap()] {
            assert_eq!(error.kind(), kind, "{status} {code}");
            assert_eq!(error.status(), Some(status));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
            assert_eq!((error.code(), error.request_id()), (Some(code), Some("r1")));
            assert_eq!(error.message(), "their words");
        }
        assert!(server.was_left_alone().await, "{status} was retried");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_is_not_complete() {
    let server = Server::start().await;
    let provider = provider(&server);
    let serve = async {
        let mut exchange = server.accept().await;
        exchange.write(events(&[], ":\n\n")).await;
        exchange.write(chunk(&delta(&json!({"content": "h"})))).await;
        // The end of the body, without the end of the answer.
        exchange.write(chunk("")).await;
    };
    let ((response, complete, failed), ()) = join(collect(&provider), serve).await;
    assert_eq!((response.text().as_str(), complete), ("h", false));
    assert!(failed.is_none(), "{failed:?}");
}

#[tokio::test]
async fn an_error_inside_a_stream_is_classified() {
    let server = Server::start().await;
    let provider = provider(&server);
    let serve = async {
        let mut exchange = server.accept().await;
        exchange.write(events(&[], ":\n\n")).await;
        let broken = event(&json!({"error": {"message": "m", "type": "overloaded_error"}}));
        exchange.write(chunk(&broken)).await;
        exchange.write(chunk("")).await;
    };
    let ((_, complete, failed), ()) = join(collect(&provider), serve).await;
    assert_eq!(failed.map(|error| error.kind()), Some(ErrorKind::Overloaded));
    assert!(!complete);
}

#[tokio::test]
async fn nothing_that_is_no_answer_passes_for_one() {
    for body in [json!({}), json!({"choices": []}), json!({"choices": [{"message": 3}]})] {
        let server = Server::start().await;
        let (provider, request, cx) = (provider(&server), question(), cx());
        let answered = server.answer(json_response(200, &[], &body));
        let done = join(provider.complete(&request, &cx), answered).await.0;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Malformed, "{body}");
    }
    let (provider, request, cx) = (provider(&Server::start().await), question(), cx());
    let refused = provider.complete(&request, &cx).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Transport);
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), question(), cx());
    let serve = async {
        let mut exchange = server.accept().await;
        exchange.write(events(&[], ":\n\n")).await;
        exchange.write(chunk(&delta(&json!({"content": "h"})))).await;
        exchange.closed().await;
    };
    let read_one = async {
        let mut stream = provider.stream(&request, &cx).await.unwrap();
        while !stream.next().await.unwrap().unwrap().is_content() {}
    };
    join(read_one, serve).await;
}

#[tokio::test]
async fn a_client_fails_over_from_one_sdk_to_another() {
    let (busy, free) = (Server::start().await, Server::start().await);
    let endpoint = |server: &Server, id: &str| Endpoint::new(provider(server)).with_id(id);
    let client = LlmClient::builder()
        .endpoint(endpoint(&busy, "busy").weight(9))
        .endpoint(endpoint(&free, "free"))
        .build()
        .unwrap();
    let serve = async {
        busy.answer(json_response(429, &["retry-after: 60"], &json!({}))).await;
        free.answer(json_response(200, &[], &answer())).await
    };
    let call = ChatRequest::new("m").user("hello").options(Default::default()).keep_raw();
    let (done, _) = join(client.complete(call), serve).await;
    let done = done.unwrap();
    assert_eq!(done.report.served_by.endpoint().unwrap(), &"free");
    assert_eq!(done.response.raw.as_ref().unwrap()["id"], "c1");
}
