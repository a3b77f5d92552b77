//! The messages API against a server driven by hand: what a server may do, and what comes of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has to stop")]

#[path = "wire/server.rs"]
mod server;

use std::time::{Duration, SystemTime};

use evenkeel::chunk::Accumulator;
use evenkeel::providers::Anthropic;
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Chunk, ErrorKind, FinishReason, Provider as _,
    ProviderError, ToolCall, Usage, time,
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use server::{Server, chunk, events, json as json_response, response};
use tokio::join;

const KEY: &str = "sk-ant-test-00112233445566778899";

#[tokio::test]
async fn a_whole_answer_arrives_with_what_its_headers_said() {
    let server = Server::start().await;
    let provider = Anthropic::builder()
        .base_url(server.url(""))
        .api_key(KEY)
        .model("claude-x")
        .beta("files-api-2025-04-14")
        .beta("other-1")
        .header("x-extra", "yes")
        .build()
        .unwrap();
    let (request, mut cx) = (question(), cx());
    cx.idempotency_key = Some("idem-1".into());
    cx.keep_raw = true;
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1",
        "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2},
    });
    let headers = ["request-id: req_1", "anthropic-ratelimit-requests-remaining: 41"];
    let reply = json_response(200, &headers, &answer);
    let (exchange, response) = join!(server.answer(reply), provider.complete(&request, &cx));

    assert_eq!(exchange.request_line(), "POST /v1/messages HTTP/1.1");
    for (name, value) in [
        ("x-api-key", KEY),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "files-api-2025-04-14,other-1"),
        ("x-extra", "yes"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("idempotency-key", "idem-1"),
    ] {
        assert_eq!(exchange.header(name), Some(value), "{name}");
    }
    let turn = json!({"role": "user", "content": [{"type": "text", "text": "Hi"}]});
    assert_eq!(
        exchange.json(),
        json!({"model": "claude-x", "max_tokens": 4096, "messages": [turn]})
    );
    let response = response.unwrap();
    assert_eq!((response.text().as_str(), &response.finish), ("Hello.", &FinishReason::Stop));
    assert_eq!(response.usage, Usage::counted(7, 2).with_cached_input(4));
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
    assert_eq!(response.rate_limits.unwrap().requests.unwrap().remaining, Some(41));
    assert_eq!(response.raw, Some(answer));
}

#[tokio::test]
async fn a_server_without_keys_gets_none() {
    let server = Server::start().await;
    let keyless = Anthropic::builder().base_url(server.url("")).model("claude-x").build().unwrap();
    let (request, cx) = (question(), cx());
    let reply = json_response(200, &[], &json!({"content": []}));
    let (exchange, response) = join!(server.answer(reply), keyless.complete(&request, &cx));
    assert!(response.is_ok());
    assert_eq!(exchange.header("x-api-key"), None);
}

#[tokio::test]
async fn a_probe_asks_for_the_models() {
    for (status, expected) in [(200, None), (401, Some(ErrorKind::Auth))] {
        let server = Server::start().await;
        let provider = provider(&server);
        let reply = json_response(status, &[], &json!({}));
        let (exchange, alive) = join!(server.answer(reply), provider.probe());
        assert_eq!(exchange.request_line(), "GET /v1/models HTTP/1.1");
        assert_eq!(exchange.header("x-api-key"), Some(KEY));
        assert_eq!(alive.err().map(|error| error.kind()), expected);
    }
}

#[tokio::test]
async fn a_stream_arrives_in_pieces() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), question(), cx());
    let reply = stream_of(&[message_start(), text("Hel"), text("lo"), end("end_turn")]);
    let read = async { provider.stream(&request, &cx).await.unwrap().collect::<Vec<_>>().await };
    let (exchange, items) = join!(server.answer(reply), read);

    assert_eq!(exchange.header("accept"), Some("text/event-stream"));
    assert_eq!(exchange.json()["stream"], true);
    let chunks: Vec<Chunk> = items.into_iter().map(Result::unwrap).collect();
    let Some(Chunk::Start(start)) = chunks.first() else { panic!("no start: {chunks:?}") };
    assert_eq!(start.id.as_deref(), Some("msg_1"));
    assert_eq!(start.request_id.as_deref(), Some("req_1"));
    let texts: Vec<&str> = chunks.iter().filter_map(Chunk::as_text).collect();
    assert_eq!(texts, ["Hel", "lo"]);
    assert_eq!(chunks.last(), Some(&Chunk::done(FinishReason::Stop)));
}

#[tokio::test]
async fn a_tool_call_streams() {
    let block = json!({"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}});
    let start = event(json!({"type": "content_block_start", "index": 1, "content_block": block}));
    let piece = |json: &str| delta(1, json!({"type": "input_json_delta", "partial_json": json}));
    let (response, error) = stream(stream_of(&[
        message_start(),
        start,
        piece("{\"q\":"),
        piece("\"x\"}"),
        stop(1),
        end("tool_use"),
    ]))
    .await;
    assert!(error.is_none(), "{error:?}");
    let calls: Vec<_> = response.tool_calls().cloned().collect();
    assert_eq!(calls, [ToolCall::new("toolu_1", "find", r#"{"q":"x"}"#)]);
    assert_eq!(response.finish, FinishReason::ToolCalls);
}

#[tokio::test]
async fn a_rate_limit_says_what_is_left_and_when_it_ends() {
    let headers = [
        "retry-after: 12",
        "request-id: req_2",
        "anthropic-ratelimit-requests-limit: 50",
        "anthropic-ratelimit-requests-remaining: 49",
        "anthropic-ratelimit-input-tokens-limit: 40000",
        "anthropic-ratelimit-input-tokens-remaining: 0",
    ];
    let body = failure("rate_limit_error", "Number of request tokens has exceeded your limit");
    for error in failures(&json_response(429, &headers, &body)).await {
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!((error.status(), error.code()), (Some(429), Some("rate_limit_error")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(12)));
        assert_eq!(error.request_id(), Some("req_2"));
        let limits = *error.rate_limits().unwrap();
        assert_eq!(limits.requests.unwrap().limit, Some(50));
        let input = limits.input_tokens.unwrap();
        assert_eq!((input.limit, input.remaining), (Some(40_000), Some(0)));
    }
}

#[tokio::test]
async fn the_reset_of_a_limit_is_a_date() {
    let reset = rfc3339(time::wall_clock() + Duration::from_secs(90));
    let reset = format!("anthropic-ratelimit-tokens-reset: {reset}");
    let headers = ["anthropic-ratelimit-tokens-remaining: 0", &reset];
    let body = failure("rate_limit_error", "m");
    for error in failures(&json_response(429, &headers, &body)).await {
        let hint = error.retry_hint().unwrap();
        // Whole seconds on the wire, and the clock goes on.
        assert!((60..=90).contains(&hint.as_secs()), "{hint:?}");
    }
}

#[tokio::test]
async fn statuses_come_to_their_kinds() {
    for (status, kind, message, expected) in [
        (400, "invalid_request_error", "max_tokens: required", ErrorKind::InvalidRequest),
        (400, "invalid_request_error", "prompt is too long: 9 > 8", ErrorKind::ContextLength),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to go on",
            ErrorKind::QuotaExhausted,
        ),
        (401, "authentication_error", "invalid x-api-key", ErrorKind::Auth),
        (403, "permission_error", "no", ErrorKind::Auth),
        (404, "not_found_error", "model: claude-x", ErrorKind::ModelNotFound),
        (413, "request_too_large", "too large", ErrorKind::InvalidRequest),
        (500, "api_error", "oops", ErrorKind::Server),
        (529, "overloaded_error", "Overloaded", ErrorKind::Overloaded),
    ] {
        for error in failures(&json_response(status, &[], &failure(kind, message))).await {
            assert_eq!((error.kind(), error.status()), (expected, Some(status)), "{message}");
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_comes_before_or_after_content() {
    let overloaded = || event(failure("overloaded_error", "Overloaded"));
    let before = stream_of(&[message_start(), overloaded(), end("end_turn")]);
    let (response, error) = stream(before).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Overloaded);
    assert_eq!(response.content, []);

    let after = stream_of(&[message_start(), text("so far"), overloaded(), end("end_turn")]);
    let (response, error) = stream(after).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.request_id()), (ErrorKind::Overloaded, Some("req_1")));
    assert_eq!(response.text(), "so far");
}

#[tokio::test]
async fn a_cut_stream_is_interrupted() {
    let open = events(&[], &(message_start() + &text("so far")));
    let ended = [open.clone(), chunk("")].concat();
    for cut in [open, ended] {
        let (response, error) = stream(cut).await;
        assert_eq!(error.unwrap().kind(), ErrorKind::Interrupted);
        assert_eq!(response.text(), "so far");
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), question(), cx());
    let serve = async {
        let mut exchange = server.answer(events(&[], &(message_start() + &text("first")))).await;
        exchange.closed().await;
    };
    let read = async {
        let mut stream = provider.stream(&request, &cx).await.unwrap();
        while stream.next().await.unwrap().unwrap().as_text() != Some("first") {}
    };
    join!(serve, read);
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_streamed_all_the_same() {
    let answer = json!({"content": [{"type": "text", "text": "whole"}], "stop_reason": "end_turn"});
    let (response, error) = stream(json_response(200, &["request-id: req_1"], &answer)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(response.text(), "whole");
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
}

#[tokio::test]
async fn the_key_is_in_no_debug_and_no_error() {
    let quoting = format!("bad key {KEY}");
    let quoting_id = format!("request-id: {KEY}");
    let answers = [
        json_response(401, &[&quoting_id], &failure("authentication_error", &quoting)),
        json_response(500, &[], &json!(quoting)),
        json_response(200, &[], &failure("api_error", &quoting)),
        json_response(200, &[], &json!({"content": quoting})),
        stream_of(&[message_start(), event(failure("api_error", &quoting))]),
        stream_of(&[event(json!({"type": "message_start", "message": quoting}))]),
        response(500, &["content-type: text/plain"], &quoting),
        response(302, &["location: http://127.0.0.1:9/elsewhere"], ""),
    ];
    for answer in answers {
        for error in failures(&answer).await {
            let shown = format!("{error} {error:?} {} {:?}", error.message(), error.request_id());
            assert!(!shown.contains(KEY), "{shown}");
        }
    }
    let shown = format!("{:?}", provider(&Server::start().await));
    assert!(!shown.contains(KEY), "{shown}");
}

fn provider(server: &Server) -> Anthropic {
    Anthropic::builder().base_url(server.url("")).api_key(KEY).model("claude-x").build().unwrap()
}

fn cx() -> CallContext {
    CallContext::new(time::after(time::now(), Duration::from_secs(60)))
}

fn question() -> ChatRequest {
    "Hi".into()
}

/// What `complete` makes of a server that answers `response`.
async fn complete(response: impl AsRef<[u8]>) -> Result<ChatResponse, ProviderError> {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), question(), cx());
    join!(server.answer(response), provider.complete(&request, &cx)).1
}

/// What comes of a stream that a server answers with `response`, and what ends it before its time.
async fn stream(response: impl AsRef<[u8]>) -> (ChatResponse, Option<ProviderError>) {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), question(), cx());
    let mut accumulator = Accumulator::default();
    let read = async {
        let mut stream = match provider.stream(&request, &cx).await {
            Ok(stream) => stream,
            Err(error) => return Some(error),
        };
        while let Some(item) = stream.next().await {
            match item {
                Ok(chunk) => accumulator.push(&chunk).unwrap(),
                Err(error) => {
                    assert!(stream.next().await.is_none(), "something follows an error");
                    return Some(error);
                }
            }
        }
        None
    };
    let ((), error) = join!(async { drop(server.answer(response).await) }, read);
    (accumulator.into_response(), error)
}

/// How a whole and a streamed answer fail over `response`.
async fn failures(response: &[u8]) -> [ProviderError; 2] {
    [complete(response).await.unwrap_err(), stream(response).await.1.unwrap()]
}

fn message_start() -> String {
    event(json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x-1",
        "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1},
    }}))
}

/// A block of its own.
fn text(text: &str) -> String {
    let block = json!({"type": "text", "text": ""});
    let start = event(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    start + &delta(0, json!({"type": "text_delta", "text": text})) + &stop(0)
}

fn delta(index: u64, delta: Value) -> String {
    event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: u64) -> String {
    event(json!({"type": "content_block_stop", "index": index}))
}

fn end(stop_reason: &str) -> String {
    let delta = json!({"stop_reason": stop_reason});
    event(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}))
        + &event(json!({"type": "message_stop"}))
}

fn event(data: Value) -> String {
    let name = data["type"].as_str().unwrap();
    format!("event: {name}\ndata: {data}\n\n")
}

fn failure(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// The event stream of `events`, whole.
fn stream_of(events: &[String]) -> Vec<u8> {
    let open = server::events(&["request-id: req_1"], &events.concat());
    [open, chunk("")].concat()
}

/// Whole seconds, which is what the server sends.
fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days to a date, after Howard Hinnant's `civil_from_days`.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
