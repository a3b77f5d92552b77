//! The OpenAI wire against a server driven by hand: what a server may do, and what comes of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has to stop")]

#[path = "wire/server.rs"]
mod server;

use std::error::Error as _;
use std::time::Duration;

use evenkeel::providers::{HttpBounds, OpenAi};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Chunk, ChunkStream, Embedder as _, ErrorKind,
    FinishReason, Provider as _, ProviderError, Usage, time,
};
use futures::StreamExt as _;
use serde_json::json;
use server::{Server, chunk, events, gzip, gzip_bomb, json as json_response, response};
use tokio::join;

const KEY: &str = "sk-test-0123456789abcdef";

fn provider(server: &Server) -> OpenAi {
    OpenAi::compatible("wire", server.url("/v1"), KEY).unwrap()
}

fn bounded(server: &Server, bounds: HttpBounds) -> OpenAi {
    OpenAi::builder().base_url(server.url("/v1")).api_key(KEY).bounds(bounds).build().unwrap()
}

fn cx() -> CallContext {
    CallContext::new(time::after(time::now(), Duration::from_secs(60)))
}

fn request() -> ChatRequest {
    ChatRequest::new("m").user("hello")
}

fn answer() -> serde_json::Value {
    json!({"id": "c1", "model": "m-1",
        "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
}

fn text_event(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}]})
    )
}

const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What `complete` makes of a server that answers `response`.
async fn complete(response: impl AsRef<[u8]>) -> Result<ChatResponse, ProviderError> {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    soon(async { join!(server.answer(response), provider.complete(&request, &cx)).1 }).await
}

type Items = Vec<Result<Chunk, ProviderError>>;

/// What `stream` makes of a server that answers `response` and closes the connection.
async fn stream(response: impl AsRef<[u8]>) -> Result<Items, ProviderError> {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let read = async { Ok(provider.stream(&request, &cx).await?.collect().await) };
    soon(async { join!(async { drop(server.answer(response).await) }, read).1 }).await
}

/// A test that hangs has to fail.
async fn soon<T>(conversation: impl Future<Output = T>) -> T {
    let at = time::after(time::now(), Duration::from_secs(10));
    time::until(at, conversation).await.expect("the conversation ends")
}

/// How the items of a stream end.
fn end(items: Result<Items, ProviderError>) -> ErrorKind {
    items.unwrap().pop().unwrap().unwrap_err().kind()
}

#[tokio::test]
async fn a_request_carries_key_and_body_and_its_answer_comes_back() {
    let server = Server::start().await;
    let (provider, request, mut cx) = (provider(&server), request(), cx());
    cx.idempotency_key = Some("idem-1".into());
    cx.keep_raw = true;
    let headers = [
        "x-request-id: req_1",
        "x-ratelimit-remaining-requests: 59",
        "x-ratelimit-reset-requests: 1s",
    ];
    let reply = json_response(200, &headers, &answer());
    let (exchange, response) = join!(server.answer(reply), provider.complete(&request, &cx));

    assert_eq!(exchange.request_line(), "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(exchange.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(exchange.header("content-type"), Some("application/json"));
    assert_eq!(exchange.header("idempotency-key"), Some("idem-1"));
    assert_eq!(
        exchange.json(),
        json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
    );
    let response = response.unwrap();
    assert_eq!((response.text().as_str(), &response.finish), ("hi", &FinishReason::Stop));
    assert_eq!(response.usage, Usage::counted(9, 4));
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
    let window = response.rate_limits.unwrap().requests.unwrap();
    assert_eq!((window.remaining, window.reset), (Some(59), Some(Duration::from_secs(1))));
    assert_eq!(response.raw, Some(answer()));
}

#[tokio::test]
async fn a_server_without_keys_gets_none() {
    let server = Server::start().await;
    let local = OpenAi::builder().base_url(server.url("/v1")).build().unwrap();
    let (request, cx) = (request(), cx());
    let reply = json_response(200, &[], &answer());
    let (exchange, response) = join!(server.answer(reply), local.complete(&request, &cx));
    assert!(response.is_ok());
    assert_eq!(exchange.header("authorization"), None);
}

#[tokio::test]
async fn azure_gets_its_path_its_version_and_its_key() {
    let server = Server::start().await;
    let azure = OpenAi::azure(server.url(""), "d1", "2024-10-21", KEY).unwrap();
    let (request, cx) = (request(), cx());
    let reply = json_response(200, &[], &answer());
    let (exchange, response) = join!(server.answer(reply), azure.complete(&request, &cx));
    assert!(response.is_ok());
    let line = exchange.request_line();
    let path = "/openai/deployments/d1/chat/completions?api-version=2024-10-21";
    assert!(line.contains(path), "{line}");
    assert_eq!(exchange.header("api-key"), Some(KEY));
    assert_eq!(exchange.header("authorization"), None);
}

#[tokio::test]
async fn a_stream_is_read_to_its_end() {
    let body = [": hello\n\n", &text_event("Hel"), &text_event("lo"), FINISH, USAGE, DONE].concat();
    let items = stream(events(&["x-request-id: req_1"], &body)).await.unwrap();
    let chunks: Vec<Chunk> = items.into_iter().map(Result::unwrap).collect();
    assert_eq!(chunks[0], Chunk::Heartbeat);
    let Chunk::Start(start) = &chunks[1] else { panic!("{chunks:?}") };
    assert_eq!((start.id.as_deref(), start.request_id.as_deref()), (Some("c1"), Some("req_1")));
    assert_eq!(
        chunks[2..],
        [
            Chunk::text(0, "Hel"),
            Chunk::text(0, "lo"),
            Chunk::Usage(Usage::counted(9, 4)),
            Chunk::done(FinishReason::Stop),
        ]
    );
}

#[tokio::test]
async fn chunks_come_while_the_server_is_still_writing() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let open = async { provider.stream(&request, &cx).await.unwrap() };
    let first = events(&[], &text_event("first"));
    let (mut exchange, mut stream) = join!(server.answer(first), open);
    assert!(matches!(stream.next().await, Some(Ok(Chunk::Start(_)))));
    assert_eq!(stream.next().await.unwrap().unwrap(), Chunk::text(0, "first"));
    exchange.write(chunk(&text_event("second"))).await;
    assert_eq!(stream.next().await.unwrap().unwrap(), Chunk::text(0, "second"));
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let body = gzip(answer().to_string().as_bytes());
    let headers = ["content-type: application/json", "content-encoding: gzip"];
    assert_eq!(complete(response(200, &headers, body)).await.unwrap().text(), "hi");
}

#[tokio::test]
async fn a_body_that_does_not_decompress_is_malformed() {
    let headers = ["content-type: application/json", "content-encoding: gzip"];
    let error = complete(response(200, &headers, b"no gzip, but long enough")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_compressed_bomb_is_stopped_at_the_bound() {
    let server = Server::start().await;
    let provider = bounded(&server, HttpBounds::new().body(1 << 20));
    let (request, cx) = (request(), cx());
    // 25 MiB in 160 KiB.
    let headers = ["content-type: application/json", "content-encoding: gzip"];
    let reply = response(200, &headers, gzip_bomb(100_000));
    assert!(reply.len() < 200 << 10);
    let (_, outcome) = join!(server.answer(reply), provider.complete(&request, &cx));
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.message().contains("1048576"), "{}", error.message());
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_not_read_on() {
    let server = Server::start().await;
    let provider = bounded(&server, HttpBounds::new().body(1000));
    let (request, cx) = (request(), cx());
    let endless = async {
        let mut exchange = server.accept().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        exchange.write(head).await;
        exchange.flood(b' ').await;
    };
    let (_, outcome) = join!(endless, provider.complete(&request, &cx));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_stream_beyond_its_bound_is_not_read_on() {
    let server = Server::start().await;
    let provider = bounded(&server, HttpBounds::new().line(1000));
    let (request, cx) = (request(), cx());
    let endless = async {
        let mut exchange = server.accept().await;
        exchange.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ").await;
        exchange.flood(b'x').await;
    };
    let read = async { provider.stream(&request, &cx).await.map(ChunkStream::collect::<Items>) };
    let read = async { read.await.unwrap().await };
    let (_, items) = join!(endless, read);
    assert_eq!(end(Ok(items)), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_refused_and_the_key_stays() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::start().await;
        let location = format!("location: {}", elsewhere.url("/v1/chat/completions"));
        let error = complete(response(status, &[&location], "")).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Malformed, Some(status)));
        assert!(elsewhere.was_left_alone().await, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_method_and_body() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let conversation = async {
        let mut exchange = server.answer(response(308, &["location: /v2/chat"], "")).await;
        exchange.read_request().await;
        exchange.write(json_response(200, &[], &answer())).await;
        exchange
    };
    let (exchange, outcome) = join!(conversation, provider.complete(&request, &cx));
    assert_eq!(outcome.unwrap().text(), "hi");
    assert_eq!(exchange.request_line(), "POST /v2/chat HTTP/1.1");
    assert_eq!(exchange.json()["messages"][0]["content"], "hello");
}

#[tokio::test]
async fn a_stream_that_is_cut_is_interrupted() {
    // The connection closes inside the chunked body, at a line end and in the middle of a line.
    for tail in [String::new(), text_event("b"), "data: {\"cho".to_owned()] {
        let items = stream(events(&[], &(text_event("a") + &tail))).await;
        assert_eq!(end(items), ErrorKind::Interrupted, "{tail}");
    }
    // The body ends in good order, and the answer does not.
    let whole = [events(&[], &text_event("a")), chunk("")].concat();
    assert_eq!(end(stream(whole).await), ErrorKind::Interrupted);
}

#[tokio::test]
async fn a_stream_that_breaks_before_content_lost_nothing() {
    assert_eq!(end(stream(events(&[], ": hello\n\n")).await), ErrorKind::Transport);
}

#[tokio::test]
async fn an_answer_that_finished_needs_no_done_marker() {
    let body = [events(&[], &(text_event("a") + FINISH + USAGE)), chunk("")].concat();
    let items = stream(body).await.unwrap();
    assert_eq!(items.last().unwrap().as_ref().unwrap(), &Chunk::done(FinishReason::Stop));
}

#[tokio::test]
async fn an_error_inside_a_stream_has_its_kind_and_the_request_id() {
    let broke = "data: {\"error\":{\"message\":\"busy\",\"type\":\"overloaded_error\"}}\n\n";
    let body = text_event("a") + broke + DONE;
    let mut items = stream(events(&["x-request-id: req_7"], &body)).await.unwrap();
    let error = items.pop().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.request_id()), (ErrorKind::Overloaded, Some("req_7")));
    assert_eq!(items.last().unwrap().as_ref().unwrap(), &Chunk::text(0, "a"));
}

#[tokio::test]
async fn a_json_answer_to_a_stream_request_is_taken_or_is_its_error() {
    let items = stream(json_response(200, &["x-request-id: req_1"], &answer())).await.unwrap();
    let chunks: Vec<Chunk> = items.into_iter().map(Result::unwrap).collect();
    let Chunk::Start(start) = &chunks[0] else { panic!("{chunks:?}") };
    assert_eq!(start.request_id.as_deref(), Some("req_1"));
    assert_eq!(chunks[1], Chunk::text(0, "hi"));
    assert!(chunks.last().unwrap().is_done());

    let error = json!({"error": {"code": 429, "message": "slow down"}});
    let error = stream(json_response(200, &[], &error)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);

    let page = response(200, &["content-type: text/html"], "<html>");
    assert_eq!(stream(page).await.unwrap_err().kind(), ErrorKind::Malformed);
}

#[tokio::test]
async fn a_rate_limit_says_when() {
    let headers = [
        "retry-after: 2",
        "retry-after-ms: 1500",
        "x-request-id: req_9",
        "x-ratelimit-remaining-tokens: 0",
        "x-ratelimit-reset-tokens: 6m0s",
    ];
    let body = json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}});
    for error in [
        complete(json_response(429, &headers, &body)).await.unwrap_err(),
        stream(json_response(429, &headers, &body)).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.status()), (ErrorKind::RateLimited, Some(429)));
        assert_eq!(error.code(), Some("rate_limit_exceeded"));
        assert_eq!(error.message(), "slow down");
        assert_eq!(error.request_id(), Some("req_9"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        let reset = error.rate_limits().unwrap().exhausted_reset();
        assert_eq!(reset, Some(Duration::from_secs(360)));
    }
}

#[tokio::test]
async fn failures_have_their_kinds() {
    let broke = json!({"error": {"message": "m", "code": "insufficient_quota"}});
    for (reply, kind) in [
        (json_response(429, &[], &broke), ErrorKind::QuotaExhausted),
        (response(502, &["content-type: text/html"], "<html>bad gateway"), ErrorKind::Server),
        (response(503, &[], ""), ErrorKind::Overloaded),
        (response(401, &[], ""), ErrorKind::Auth),
        (response(204, &[], ""), ErrorKind::Malformed),
        (json_response(200, &[], &json!({"error": "it broke"})), ErrorKind::Server),
        (
            response(200, &["content-type: application/json"], "{\"choices\": [garbage"),
            ErrorKind::Malformed,
        ),
        (response(200, &["content-type: application/json"], b"\xff\xfe\x00"), ErrorKind::Malformed),
        (b"HTTP/1.1 nonsense\r\n\r\n".to_vec(), ErrorKind::Transport),
    ] {
        let shown = String::from_utf8_lossy(&reply).into_owned();
        assert_eq!(complete(reply).await.unwrap_err().kind(), kind, "{shown}");
    }
}

#[tokio::test]
async fn a_connection_that_closes_without_an_answer_is_a_transport_failure() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let hang_up = async { drop(server.accept().await) };
    let (_, outcome) = join!(hang_up, provider.complete(&request, &cx));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Transport);

    drop(server);
    let refused = provider.complete(&request, &cx).await.unwrap_err();
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Transport, "could not connect"));
}

#[tokio::test]
async fn an_error_page_that_never_ends_is_waited_for_five_seconds() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let stalling = async {
        let half = "HTTP/1.1 500 X\r\ncontent-length: 9999\r\n\r\nhalf a page";
        let exchange = server.answer(half).await;
        // From here on time passes only while everyone waits.
        tokio::time::pause();
        exchange
    };
    let started = time::now();
    let (_, outcome) = join!(stalling, provider.complete(&request, &cx));
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "half a page"));
    let waited = time::now() - started;
    assert!((5..7).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn a_long_error_page_is_cut() {
    let server = Server::start().await;
    let provider = bounded(&server, HttpBounds::new().error_body(100));
    let (request, cx) = (request(), cx());
    let endless = async {
        let mut exchange = server.answer("HTTP/1.1 500 X\r\n\r\n").await;
        exchange.flood(b'x').await;
    };
    let (_, outcome) = join!(endless, provider.complete(&request, &cx));
    assert_eq!(outcome.unwrap_err().message(), "x".repeat(100));
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let open = async { provider.stream(&request, &cx).await.unwrap() };
    let (mut exchange, mut stream) = join!(server.answer(events(&[], &text_event("a"))), open);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    exchange.closed().await;
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let mut call = provider.complete(&request, &cx);
    let mut exchange = tokio::select! {
        exchange = server.accept() => exchange,
        _ = &mut call => panic!("answered by nobody"),
    };
    drop(call);
    exchange.closed().await;
}

#[tokio::test]
async fn a_finished_stream_leaves_its_connection_to_the_next_call() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let conversation = async {
        let mut exchange = server.answer(events(&[], &(text_event("a") + FINISH + DONE))).await;
        // The client has the last event before the body ends.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        exchange.write(chunk("")).await;
        exchange.read_request().await;
        exchange.write(json_response(200, &[], &answer())).await;
    };
    let calls = async {
        let mut stream = provider.stream(&request, &cx).await.unwrap();
        while !stream.next().await.unwrap().unwrap().is_done() {}
        drop(stream);
        provider.complete(&request, &cx).await.unwrap()
    };
    assert_eq!(soon(async { join!(conversation, calls).1 }).await.text(), "hi");
}

#[tokio::test]
async fn a_body_that_goes_on_after_the_end_holds_nothing_up() {
    let server = Server::start().await;
    let (provider, request, cx) = (provider(&server), request(), cx());
    let open = async { provider.stream(&request, &cx).await.unwrap() };
    let (mut exchange, stream) =
        join!(server.answer(events(&[], &(text_event("a") + FINISH + DONE))), open);
    let items: Items = soon(stream.collect()).await;
    assert!(items.last().unwrap().as_ref().unwrap().is_done());
    exchange.closed().await;
}

fn everything_shown(error: &ProviderError) -> String {
    let mut shown = format!(
        "{error} {error:?} {} {:?} {:?}",
        error.message(),
        error.code(),
        error.request_id()
    );
    let mut source = error.source();
    while let Some(cause) = source {
        shown += &format!(" {cause} {cause:?}");
        source = cause.source();
    }
    shown
}

#[tokio::test]
async fn the_key_is_in_nothing_that_can_be_shown() {
    let echo = json!({"error": {"message": format!("bad key {KEY}"), "code": KEY, "type": KEY}});
    let headers = [format!("x-request-id: {KEY}")];
    let headers = [headers[0].as_str()];
    let in_stream = format!("data: {echo}\n\n");
    let long = format!("{}{KEY}", "-".repeat(2040));
    let mut errors = vec![
        complete(json_response(401, &headers, &echo)).await.unwrap_err(),
        complete(json_response(200, &headers, &echo)).await.unwrap_err(),
        complete(response(500, &headers, format!("<html>{KEY}</html>"))).await.unwrap_err(),
        complete(response(500, &[], long)).await.unwrap_err(),
        complete(response(302, &[&format!("location: http://x/{KEY}")], "")).await.unwrap_err(),
        stream(json_response(401, &headers, &echo)).await.unwrap_err(),
        stream(json_response(200, &headers, &echo)).await.unwrap_err(),
    ];
    errors.extend(stream(events(&headers, &in_stream)).await.unwrap().pop().unwrap().err());
    assert_eq!(errors.len(), 8);
    for error in &errors {
        let shown = everything_shown(error);
        assert!(!shown.contains(&KEY[..12]), "{shown}");
    }

    let server = Server::start().await;
    let provider = provider(&server);
    let builder = OpenAi::builder().api_key(KEY).header("x-token", KEY);
    let shown = format!("{provider:?} {:?} {builder:?}", provider.embedder("e"));
    assert!(!shown.contains("0123456789"), "{shown}");
}

#[tokio::test]
async fn an_idempotency_key_that_fits_no_header_is_the_requests_fault() {
    let server = Server::start().await;
    let (provider, request, mut cx) = (provider(&server), request(), cx());
    cx.idempotency_key = Some("a\r\nx-evil: 1".into());
    let error = provider.complete(&request, &cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(server.was_left_alone().await);
}

#[tokio::test]
async fn texts_are_embedded_in_their_order() {
    let server = Server::start().await;
    let embedder = provider(&server).embedder("e").dimensions(2);
    assert_eq!(embedder.id(), "wire/e@2");
    let body =
        json!({"data": [{"index": 1, "embedding": [0, 3]}, {"index": 0, "embedding": [2, 0]}]});
    let reply = json_response(200, &[], &body);
    let (exchange, vectors) = join!(server.answer(reply), embedder.embed(&["a", "b"]));
    assert_eq!(exchange.request_line(), "POST /v1/embeddings HTTP/1.1");
    assert_eq!(exchange.json(), json!({"model": "e", "input": ["a", "b"], "dimensions": 2}));
    assert_eq!(vectors.unwrap()[1].as_slice(), [0.0, 1.0]);

    assert_eq!(embedder.embed(&[]).await.unwrap(), []);
    assert!(server.was_left_alone().await, "nothing to embed is nothing to ask");
}

#[tokio::test]
async fn a_probe_tells_the_dead_from_the_living() {
    let probe = async |reply: Vec<u8>| {
        let server = Server::start().await;
        let provider = provider(&server);
        let (exchange, outcome) = join!(server.answer(reply), provider.probe());
        assert_eq!(exchange.request_line(), "GET /v1/models HTTP/1.1");
        outcome.map_err(|error| error.kind())
    };
    assert_eq!(probe(json_response(200, &[], &json!({"data": []}))).await, Ok(()));
    assert_eq!(probe(response(404, &[], "")).await, Ok(()));
    assert_eq!(probe(response(401, &[], "")).await, Err(ErrorKind::Auth));
    assert_eq!(probe(response(503, &[], "")).await, Err(ErrorKind::Overloaded));
}
