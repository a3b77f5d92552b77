//! The messages API over real sockets, against a server that says exactly what each test wants.

use std::time::{Duration, SystemTime};

use evenkeel::chunk::Accumulator;
use evenkeel::provider::{CallContext, Provider as _};
use evenkeel::providers::Anthropic;
use evenkeel::providers::anthropic::AnthropicBuilder;
use evenkeel::{
    ChatRequest, ChatResponse, Chunk, ErrorKind, FinishReason, ProviderError, ToolCall, Usage, time,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

use server::Server;

const KEY: &str = "sk-ant-test-00112233445566778899";

#[tokio::test]
async fn a_whole_answer_arrives_with_what_its_headers_said() {
    let server = Server::answering(ok_json(
        &[("request-id", "req_1"), ("anthropic-ratelimit-requests-remaining", "41")],
        &json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1",
            "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2},
        }),
    ));
    let provider = built(&server, |builder| {
        builder.beta("files-api-2025-04-14").beta("other-1").header("x-extra", "yes")
    });
    let mut cx = context();
    cx.idempotency_key = Some("key-1".into());
    cx.keep_raw = true;
    let response = provider.complete(&question(), &cx).await.expect("an answer");
    assert_eq!(response.text(), "Hello.");
    assert_eq!(response.finish, FinishReason::Stop);
    assert_eq!(response.usage, Usage::counted(7, 2).with_cached_input(4));
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
    let requests = response.rate_limits.and_then(|limits| limits.requests);
    assert_eq!(requests.and_then(|window| window.remaining), Some(41));
    assert_eq!(response.raw.expect("the raw answer")["id"], "msg_1");

    let request = server.request();
    assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
    for (name, value) in [
        ("x-api-key", KEY),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "files-api-2025-04-14,other-1"),
        ("x-extra", "yes"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("idempotency-key", "key-1"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let turn = json!({"role": "user", "content": [{"type": "text", "text": "Hi"}]});
    assert_eq!(
        request.json(),
        json!({"model": "claude-x", "max_tokens": 4096, "messages": [turn]})
    );
}

#[tokio::test]
async fn a_stream_arrives_in_pieces() {
    let server =
        Server::answering(ok_events(&[message_start(), text("Hel"), text("lo"), end("end_turn")]));
    let provider = built(&server, |builder| builder);
    let stream = provider.stream(&question(), &context()).await.expect("a stream");
    let chunks: Vec<Chunk> = stream.map(|item| item.expect("a chunk")).collect().await;
    assert!(chunks.last().is_some_and(Chunk::is_done), "{chunks:?}");
    let texts: Vec<&str> = chunks.iter().filter_map(Chunk::as_text).collect();
    assert_eq!(texts, ["Hel", "lo"]);
    let Some(Chunk::Start(start)) = chunks.first() else { panic!("no start: {chunks:?}") };
    assert_eq!(start.id.as_deref(), Some("msg_1"));
    assert_eq!(start.request_id.as_deref(), Some("req_1"));

    let request = server.request();
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    assert_eq!(request.json()["stream"], true);
}

#[tokio::test]
async fn a_tool_call_streams() {
    let block = json!({"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}});
    let start = event(json!({"type": "content_block_start", "index": 1, "content_block": block}));
    let piece = |json: &str| delta(1, json!({"type": "input_json_delta", "partial_json": json}));
    let events =
        [message_start(), start, piece("{\"q\":"), piece("\"x\"}"), stop(1), end("tool_use")];
    let (response, error) = streamed(&Server::answering(ok_events(&events))).await;
    assert!(error.is_none(), "{error:?}");
    let calls: Vec<_> = response.tool_calls().cloned().collect();
    assert_eq!(calls, [ToolCall::new("toolu_1", "find", r#"{"q":"x"}"#)]);
    assert_eq!(response.finish, FinishReason::ToolCalls);
}

#[tokio::test]
async fn a_rate_limit_says_what_is_left_and_when_it_ends() {
    let headers = [
        ("retry-after", "12"),
        ("request-id", "req_2"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-input-tokens-limit", "40000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        // Long past, so that the test does not depend on the day.
        ("anthropic-ratelimit-input-tokens-reset", "2020-01-01T00:00:00Z"),
    ];
    let body = failure("rate_limit_error", "Number of request tokens has exceeded your limit");
    for error in failed(&response("429 Too Many Requests", &headers, &body)).await {
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!((error.status(), error.code()), (Some(429), Some("rate_limit_error")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(12)));
        assert_eq!(error.request_id(), Some("req_2"));
        let limits = *error.rate_limits().expect("rate limits");
        assert_eq!(limits.requests.and_then(|window| window.limit), Some(50));
        let input = limits.input_tokens.expect("a window of input tokens");
        assert_eq!((input.limit, input.remaining), (Some(40_000), Some(0)));
        assert_eq!(input.reset, Some(Duration::ZERO));
    }
}

#[tokio::test]
async fn the_reset_of_a_limit_is_a_date() {
    let at = time::wall_clock() + Duration::from_secs(90);
    let headers = [
        ("anthropic-ratelimit-tokens-remaining", "0"),
        ("anthropic-ratelimit-tokens-reset", &rfc3339(at)),
    ];
    let body = failure("rate_limit_error", "m");
    for error in failed(&response("429 Too Many Requests", &headers, &body)).await {
        let hint = error.retry_hint().expect("a hint");
        // Whole seconds on the wire, and the clock goes on.
        assert!((60..=90).contains(&hint.as_secs()), "{hint:?}");
    }
}

#[tokio::test]
async fn an_overloaded_server_is_overloaded() {
    let body = failure("overloaded_error", "Overloaded");
    for error in failed(&response("529 Site Overloaded", &[], &body)).await {
        assert_eq!((error.kind(), error.status()), (ErrorKind::Overloaded, Some(529)));
    }
}

#[tokio::test]
async fn statuses_come_to_their_kinds() {
    for (status, kind, message, expected) in [
        (
            "400 Bad Request",
            "invalid_request_error",
            "max_tokens: required",
            ErrorKind::InvalidRequest,
        ),
        (
            "400 Bad Request",
            "invalid_request_error",
            "prompt is too long: 9 tokens > 8 maximum",
            ErrorKind::ContextLength,
        ),
        (
            "400 Bad Request",
            "invalid_request_error",
            "Your credit balance is too low",
            ErrorKind::QuotaExhausted,
        ),
        ("401 Unauthorized", "authentication_error", "invalid x-api-key", ErrorKind::Auth),
        ("403 Forbidden", "permission_error", "no", ErrorKind::Auth),
        ("404 Not Found", "not_found_error", "model: claude-x", ErrorKind::ModelNotFound),
        ("413 Payload Too Large", "request_too_large", "too large", ErrorKind::InvalidRequest),
        ("500 Internal Server Error", "api_error", "oops", ErrorKind::Server),
    ] {
        let [whole, streamed] = failed(&response(status, &[], &failure(kind, message))).await;
        assert_eq!((whole.kind(), streamed.kind()), (expected, expected), "{status} {message}");
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_comes_before_or_after_content() {
    let overloaded =
        || event(json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}));
    let before = ok_events(&[message_start(), overloaded(), end("end_turn")]);
    let (response, error) = streamed(&Server::answering(before)).await;
    assert_eq!(error.expect("an error").kind(), ErrorKind::Overloaded);
    assert_eq!(response.content, []);

    let after = ok_events(&[message_start(), text("so far"), overloaded(), end("end_turn")]);
    let (response, error) = streamed(&Server::answering(after)).await;
    let error = error.expect("an error");
    assert_eq!((error.kind(), error.request_id()), (ErrorKind::Overloaded, Some("req_1")));
    assert_eq!(response.text(), "so far");
}

#[tokio::test]
async fn a_cut_stream_is_interrupted() {
    let whole = ok_events(&[message_start(), text("so far")]);
    for cut in [whole.len(), whole.len() - 3] {
        let (response, error) = streamed(&Server::answering(whole[..cut].to_vec())).await;
        assert_eq!(error.expect("an error").kind(), ErrorKind::Interrupted);
        assert!("so far".starts_with(&response.text()));
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let server = Server::holding(ok_events(&[message_start(), text("first")]));
    let provider = built(&server, |builder| builder);
    let mut stream = provider.stream(&question(), &context()).await.expect("a stream");
    while let Some(item) = stream.next().await {
        if item.expect("a chunk").as_text() == Some("first") {
            break;
        }
    }
    drop(stream);
    assert!(server.saw_the_client_leave());
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_streamed_all_the_same() {
    let answer = json!({"content": [{"type": "text", "text": "whole"}], "stop_reason": "end_turn"});
    let (response, error) =
        streamed(&Server::answering(ok_json(&[("request-id", "r")], &answer))).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!((response.text().as_str(), response.request_id.as_deref()), ("whole", Some("r")));
}

#[tokio::test]
async fn the_key_is_in_no_debug_and_no_error() {
    let quoting = format!("bad key {KEY}");
    let in_band =
        event(json!({"type": "error", "error": {"type": "api_error", "message": quoting}}));
    let answers = [
        response(
            "401 Unauthorized",
            &[("request-id", KEY)],
            &failure("authentication_error", &quoting),
        ),
        response("500 Oops", &[], &json!(quoting)),
        ok_json(&[], &failure("api_error", &quoting)),
        ok_json(&[], &json!({"content": quoting})),
        ok_events(&[message_start(), in_band]),
        ok_events(&[event(json!({"type": "message_start", "message": quoting}))]),
        response("302 Found", &[("location", "http://127.0.0.1:9/elsewhere")], &json!({})),
    ];
    for answer in answers {
        for error in failed(&answer).await {
            let shown = format!("{error} {error:?} {}", error.message());
            assert!(!shown.contains(KEY), "{shown}");
        }
    }
    let server = Server::answering(Vec::new());
    let shown = format!("{:?}", built(&server, |builder| builder));
    assert!(!shown.contains(KEY), "{shown}");
}

fn built(server: &Server, with: impl FnOnce(AnthropicBuilder) -> AnthropicBuilder) -> Anthropic {
    let builder = Anthropic::builder().base_url(server.url()).api_key(KEY).model("claude-x");
    with(builder).build().expect("a provider")
}

fn question() -> ChatRequest {
    "Hi".into()
}

fn context() -> CallContext {
    CallContext::new(time::now() + Duration::from_secs(30))
}

/// What came of a stream, and what ended it before its time.
async fn streamed(server: &Server) -> (ChatResponse, Option<ProviderError>) {
    let provider = built(server, |builder| builder);
    let mut accumulator = Accumulator::default();
    let mut failure = None;
    match provider.stream(&question(), &context()).await {
        Err(error) => failure = Some(error),
        Ok(mut stream) => {
            while let Some(item) = stream.next().await {
                assert!(failure.is_none(), "nothing follows an error");
                match item {
                    Ok(chunk) => accumulator.push(&chunk).expect("within bounds"),
                    Err(error) => failure = Some(error),
                }
            }
        }
    }
    (accumulator.into_response(), failure)
}

/// What a whole and a streamed answer make of `answer`.
async fn failed(answer: &[u8]) -> [ProviderError; 2] {
    let server = Server::answering(answer.to_vec());
    let whole = built(&server, |builder| builder).complete(&question(), &context()).await;
    let (_, streamed) = streamed(&Server::answering(answer.to_vec())).await;
    [whole.expect_err("a failure"), streamed.expect("a failure")]
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
    let name = data["type"].as_str().expect("events have a type");
    format!("event: {name}\ndata: {data}\n\n")
}

fn failure(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn ok_json(headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    response("200 OK", headers, body)
}

fn response(status: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// A stream that lasts as long as the connection.
fn ok_events(events: &[String]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\nconnection: close\r\n\r\n";
    (head.to_owned() + &events.concat()).into_bytes()
}

/// Whole seconds, which is what the server sends.
fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
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

mod server {
    //! stand-in
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;
    use std::time::Duration;

    use serde_json::Value;

    pub(crate) struct Server {
        address: SocketAddr,
        requests: mpsc::Receiver<Request>,
        left: mpsc::Receiver<()>,
    }

    pub(crate) struct Request {
        pub(crate) line: String,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    }

    impl Request {
        pub(crate) fn header(&self, name: &str) -> Option<&str> {
            self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
        }
        pub(crate) fn json(&self) -> Value {
            serde_json::from_slice(&self.body).expect("JSON")
        }
    }

    impl Server {
        pub(crate) fn answering(answer: Vec<u8>) -> Self {
            Self::start(answer, false)
        }
        pub(crate) fn holding(answer: Vec<u8>) -> Self {
            Self::start(answer, true)
        }
        pub(crate) fn url(&self) -> String {
            format!("http://{}", self.address)
        }
        pub(crate) fn request(&self) -> Request {
            self.requests.recv_timeout(Duration::from_secs(10)).expect("a request")
        }
        pub(crate) fn saw_the_client_leave(&self) -> bool {
            self.left.recv_timeout(Duration::from_secs(10)).is_ok()
        }
        fn start(answer: Vec<u8>, hold: bool) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let (tell, requests) = mpsc::channel();
            let (tell_left, left) = mpsc::channel();
            std::thread::spawn(move || {
                let Ok((mut socket, _)) = listener.accept() else { return };
                let mut bytes = Vec::new();
                let mut piece = [0; 4096];
                let (head, body_start, length) = loop {
                    let Ok(count) = socket.read(&mut piece) else { return };
                    if count == 0 {
                        return;
                    }
                    bytes.extend_from_slice(&piece[..count]);
                    if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
                        let length = head
                            .lines()
                            .find_map(|line| {
                                line.to_ascii_lowercase()
                                    .strip_prefix("content-length: ")
                                    .map(|it| it.parse::<usize>().unwrap_or(0))
                            })
                            .unwrap_or(0);
                        if bytes.len() >= at + 4 + length {
                            break (head, at + 4, length);
                        }
                    }
                };
                let mut lines = head.lines();
                let line = lines.next().unwrap_or_default().to_owned();
                let headers = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let body = bytes[body_start..body_start + length].to_vec();
                let _ = tell.send(Request { line, headers, body });
                let _ = socket.write_all(&answer);
                if hold && matches!(socket.read(&mut piece), Ok(0) | Err(_)) {
                    let _ = tell_left.send(());
                }
            });
            Self { address, requests, left }
        }
    }
}
