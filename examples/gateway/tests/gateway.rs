//! The gateway without a socket: each request goes straight into its router.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Chunk, ErrorKind, FinishReason, ProviderError, ToolCall, Usage, time};
use evenkeel_gateway::gateway::Gateway;
use evenkeel_gateway::settings;
use evenkeel_gateway::telemetry::Telemetry;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "key-of-acme";

const FILE: &str = r#"
    [gateway]
    max_body_bytes = 4096
    drain = "5s"
    show_tenants = true
    tenants = [{ name = "acme", api_key_env = "ACME", priority = "interactive" }]

    [[balancer.endpoints]]
    provider = "up"
    models = ["m"]
"#;

/// A gateway of `file`, whose provider `up` is `upstream`.
fn gateway_of(file: &str, upstream: &ScriptedProvider) -> Arc<Gateway> {
    let (settings, config) = settings::parse(file).unwrap();
    let client = config.assemble().provider("up", upstream.clone()).build().unwrap();
    let telemetry = Telemetry::detached(&settings).unwrap();
    let env = |name: &str| (name == "ACME").then(|| KEY.to_owned());
    Gateway::new(settings, client, telemetry, env).unwrap()
}

fn gateway(upstream: &ScriptedProvider) -> Arc<Gateway> {
    gateway_of(FILE, upstream)
}

fn up() -> ScriptedProvider {
    ScriptedProvider::new("up")
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The JSON of each event, and the raw text of the last one.
    fn events(&self) -> (Vec<Value>, &str) {
        let mut events: Vec<_> = self.text.split_terminator("\n\n").collect();
        let last = events.pop().unwrap();
        let json = events.into_iter().map(|event| event.strip_prefix("data: ").unwrap());
        (json.map(|json| serde_json::from_str(json).unwrap()).collect(), last)
    }
}

async fn send(gateway: &Arc<Gateway>, request: Request<Body>) -> Answered {
    let response = gateway.router().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    Answered { status: head.status, headers: head.headers, text }
}

fn chat(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/v1/chat/completions");
    request.header("authorization", format!("Bearer {KEY}")).body(body.into()).unwrap()
}

fn question() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "q"}]})
}

fn streamed() -> Value {
    let mut body = question();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

async fn ask(gateway: &Arc<Gateway>, body: &Value) -> Answered {
    send(gateway, chat(body.to_string())).await
}

async fn get(gateway: &Arc<Gateway>, path: &str) -> Answered {
    let request = Request::get(path).header("authorization", format!("Bearer {KEY}"));
    send(gateway, request.body(Body::empty()).unwrap()).await
}

fn tool_calls() -> [Chunk; 5] {
    let call = |index, id: &str, name: &str, arguments: &str| Chunk::ToolCall {
        index,
        delta: ToolCall::new(id, name, arguments),
    };
    [
        Chunk::text(0, "looking"),
        call(1, "c1", "find", "{\"q\""),
        call(2, "c2", "read", "{}"),
        call(1, "", "", ":1}"),
        Chunk::done(FinishReason::ToolCalls),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_the_shape_that_clients_know() {
    let up = up().then(Answer::chunks([
        Chunk::text(0, "yes"),
        Chunk::Usage(Usage::counted(9, 4).with_cached_input(3)),
        Chunk::done(FinishReason::Length),
    ]));
    let answered = ask(&gateway(&up), &question()).await;
    assert_eq!(answered.status, StatusCode::OK);
    let json = answered.json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["model"], "m");
    assert_eq!(json["choices"][0]["message"]["content"], "yes");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["total_tokens"], 13);
    assert_eq!(json["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    let seen = &up.recorded()[0].request;
    assert_eq!(seen.messages[0].text(), "q");
    assert!(seen.extra.is_empty(), "{:?}", seen.extra);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_usage_and_done() {
    let up = up().then(Answer::chunks([
        Chunk::text(0, "on"),
        Chunk::text(0, "e"),
        Chunk::Usage(Usage::counted(9, 4)),
        Chunk::done(FinishReason::Stop),
    ]));
    let answered = ask(&gateway(&up), &streamed()).await;
    assert_eq!(answered.header("content-type"), Some("text/event-stream"));
    let (events, last) = answered.events();
    assert_eq!(last, "data: [DONE]");
    let deltas: Vec<_> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": "on"}));
    assert_eq!(deltas[1], &json!({"content": "e"}));
    assert_eq!(events[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (&events[3]["choices"], &events[3]["usage"]["total_tokens"]),
        (&json!([]), &json!(13))
    );
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
}

#[tokio::test(start_paused = true)]
async fn usage_is_streamed_to_those_who_ask_for_it() {
    let up = up().then(Answer::text("one"));
    let mut body = streamed();
    body["stream_options"] = Value::Null;
    let answered = ask(&gateway(&up), &body).await;
    assert!(!answered.text.contains("usage"), "{}", answered.text);
}

#[tokio::test(start_paused = true)]
async fn tool_calls_come_whole_and_in_pieces() {
    let up = up().then(Answer::chunks(tool_calls())).then(Answer::chunks(tool_calls()));
    let gateway = gateway(&up);
    let tool =
        json!({"type": "function", "function": {"name": "find", "parameters": {}, "strict": true}});
    let with_tools = |mut body: Value| {
        body["tools"] = json!([tool]);
        body["tool_choice"] = json!({"type": "function", "function": {"name": "find"}});
        body
    };
    let whole = ask(&gateway, &with_tools(question())).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"q\":1}");
    assert_eq!(message["tool_calls"][1]["id"], "c2");
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");

    let answered = ask(&gateway, &with_tools(streamed())).await;
    let (events, _) = answered.events();
    let calls: Vec<_> =
        events.iter().map(|event| &event["choices"][0]["delta"]["tool_calls"][0]).collect();
    assert_eq!((&calls[1]["index"], &calls[1]["id"]), (&json!(0), &json!("c1")));
    assert_eq!((&calls[2]["index"], &calls[2]["function"]["name"]), (&json!(1), &json!("read")));
    assert_eq!(calls[3], &json!({"index": 0, "function": {"arguments": ":1}"}}));
    assert_eq!(up.recorded()[1].request.tools[0].strict, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_says_so_and_is_not_done() {
    let cut = ProviderError::new(ErrorKind::Server, "it broke");
    let up = up().then(Answer::text("one two three").fail_after(3, cut));
    let answered = ask(&gateway(&up), &streamed()).await;
    assert_eq!(answered.status, StatusCode::OK);
    let (_, last) = answered.events();
    assert!(last.contains("\"error\"") && last.contains("interrupted"), "{last}");
    assert!(!answered.text.contains("[DONE]"));
}

#[tokio::test(start_paused = true)]
async fn failures_have_the_status_that_clients_act_on() {
    use ErrorKind as K;
    for (kind, status, code) in [
        (K::RateLimited, 429, "rate_limit_exceeded"),
        (K::InvalidRequest, 400, "invalid_value"),
        (K::ContextLength, 400, "context_length_exceeded"),
        (K::ContentFilter, 400, "content_filter"),
        (K::ModelNotFound, 404, "model_not_found"),
        (K::Overloaded, 503, "overloaded"),
        (K::Server, 502, "server"),
        (K::Auth, 502, "auth"),
        (K::QuotaExhausted, 502, "quota_exhausted"),
        (K::Timeout, 504, "timeout"),
    ] {
        for body in [question(), streamed()] {
            let up =
                up().forever(Answer::fail(ProviderError::new(kind, String::from("their words"))));
            let file = format!("{FILE}\n[retry]\nmax_attempts = 1");
            let answered = ask(&gateway_of(&file, &up), &body).await;
            let error = &answered.json()["error"];
            assert_eq!(
                (answered.status.as_u16(), &error["code"]),
                (status, &json!(code)),
                "{kind}"
            );
            let callers_own =
                matches!(kind, K::InvalidRequest | K::ContextLength | K::ContentFilter);
            assert_eq!(error["message"] == "their words", callers_own, "{kind}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_says_when_to_come_back() {
    let up = up().forever(Answer::rate_limited(Duration::from_millis(6_500)));
    let answered = ask(&gateway(&up), &question()).await;
    assert_eq!(answered.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = answered.header("retry-after").unwrap().parse().unwrap();
    assert!((7..=8).contains(&seconds), "{seconds}");

    let quota = format!(
        "{FILE}\n[quota.per_tenant]\nrates = [{{ dimension = 'requests', amount = 1, window = '1m' }}]"
    );
    let gateway = gateway_of(&quota, &self::up().forever(Answer::text("yes")));
    assert_eq!(ask(&gateway, &question()).await.status, StatusCode::OK);
    let denied = ask(&gateway, &question()).await;
    assert_eq!(denied.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(matches!(denied.header("retry-after"), Some("60" | "61")));
    assert_eq!(denied.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test(start_paused = true)]
async fn only_known_callers_are_served() {
    let gateway = gateway(&up().forever(Answer::text("yes")));
    for authorization in [None, Some("Bearer wrong"), Some("Bearer "), Some("key-of-acme")] {
        for path in ["/v1/chat/completions", "/v1/models"] {
            let mut request =
                if path.ends_with("models") { Request::get(path) } else { Request::post(path) };
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answered =
                send(&gateway, request.body(Body::from(question().to_string())).unwrap()).await;
            assert_eq!(answered.status, StatusCode::UNAUTHORIZED, "{authorization:?}");
            assert_eq!(answered.json()["error"]["code"], "invalid_api_key");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_names_the_tenant_where_a_proxy_sets_it() {
    let file = "gateway.tenant_header = 'x-tenant'\n\
                balancer.endpoints = [{ provider = 'up' }]\n\
                quota.tenants.small.rates = [{ dimension = 'requests', amount = 1, window = '1m' }]";
    let gateway = gateway_of(file, &up().forever(Answer::text("yes")));
    let ask = |tenant: &'static str| {
        let request = Request::post("/v1/chat/completions").header("x-tenant", tenant);
        send(&gateway, request.body(Body::from(question().to_string())).unwrap())
    };
    assert_eq!(ask("small").await.status, StatusCode::OK);
    assert_eq!(ask("small").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask("large").await.status, StatusCode::OK);
    assert_eq!(ask("").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_names_its_field() {
    let gateway = gateway(&up());
    let with = |field: &str, value: Value| {
        let mut body = question();
        body[field] = value;
        body
    };
    for (body, param) in [
        (with("messages", json!([])), json!("messages")),
        (with("messages", json!("q")), json!("messages")),
        (with("messages", json!([{"role": "robot"}])), json!("messages[0].role")),
        (with("messages", json!([{"role": "user", "content": 3}])), json!("messages[0].content")),
        (
            with("messages", json!([{"role": "user", "content": [{"type": "image_url"}]}])),
            json!("messages[0].content[0].image_url.url"),
        ),
        (
            with("messages", json!([{"role": "tool", "content": "x"}])),
            json!("messages[0].tool_call_id"),
        ),
        (with("temperature", json!("hot")), json!("temperature")),
        (with("max_tokens", json!(-1)), json!("max_tokens")),
        (with("n", json!(2)), json!("n")),
        (with("logprobs", json!(true)), json!("logprobs")),
        (with("tools", json!([{"type": "custom"}])), json!("tools[0].function")),
        (with("tool_choice", json!("maybe")), json!("tool_choice")),
        (with("stop", json!([1])), json!("stop")),
        (with("response_format", json!({"type": "xml"})), json!("response_format.type")),
        (json!([]), Value::Null),
    ] {
        let answered = ask(&gateway, &body).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answered.json()["error"]["param"], param, "{body}");
    }
    assert_eq!(send(&gateway, chat("not json")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_passed_on() {
    let up = up().then(Answer::text("yes"));
    let mut body = question();
    body["reasoning_effort"] = json!("low");
    body["n"] = json!(1);
    body["stream"] = json!(false);
    body["stop"] = json!("END");
    body["max_tokens"] = json!(7);
    assert_eq!(ask(&gateway(&up), &body).await.status, StatusCode::OK);
    let request = &up.recorded()[0].request;
    assert_eq!(Value::Object(request.extra.clone()), json!({"reasoning_effort": "low"}));
    assert_eq!(request.sampling.stop, ["END"]);
    assert_eq!(request.sampling.max_output_tokens, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_in_size_and_time() {
    let gateway = gateway(&up());
    let large = chat(vec![b' '; 4_097]);
    assert_eq!(send(&gateway, large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let slow = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let answered = send(&gateway, chat(Body::from_stream(slow))).await;
    assert_eq!(answered.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_cancels_its_call_upstream() {
    let up = up().then(Answer::hang()).then(Answer::text("one two three").pace(SECOND));
    let gateway = gateway(&up);
    let whole = gateway.router().oneshot(chat(question().to_string()));
    assert!(tokio::time::timeout(SECOND, whole).await.is_err());
    assert_eq!((up.counts().started, up.counts().open), (1, 0));

    let response = gateway.router().oneshot(chat(streamed().to_string())).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    assert_eq!(up.counts().open, 1);
    let status = get(&gateway, "/status.json").await.json();
    assert_eq!(status["tenants"], json!({"in_use": 1, "by_name": [["acme", 1]]}));
    drop(body);
    assert_eq!(up.counts().open, 0);
    let status = get(&gateway, "/status.json").await.json();
    assert_eq!(status["tenants"]["in_use"], 0);
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_endpoints_and_the_drain() {
    let up = up().then(Answer::error(ErrorKind::Auth)).forever(Answer::hang());
    let gateway = gateway(&up);
    assert_eq!(get(&gateway, "/readyz").await.status, StatusCode::OK);
    let refused = ask(&gateway, &question()).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY);
    assert_eq!(get(&gateway, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&gateway, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_status_names_states_and_hides_tenants_unless_told() {
    let up = up().then(Answer::text("yes")).then(Answer::rate_limited(30 * SECOND));
    let file =
        format!("{}\n[queue]\nmax_wait = '1s'\n[cache]", FILE.replace("show_tenants = true", ""));
    let gateway = gateway_of(&file, &up);
    ask(&gateway, &question()).await;
    let mut other = question();
    other["messages"][0]["content"] = json!("another");
    ask(&gateway, &other).await;
    ask(&gateway, &question()).await;

    let status = get(&gateway, "/status.json").await.json();
    let endpoint = &status["endpoints"][0];
    assert_eq!((&endpoint["id"], &endpoint["state"]), (&json!("up"), &json!("cooling")));
    assert_eq!(endpoint["why"], "rate_limited");
    assert!(endpoint["for_seconds"].as_f64().unwrap() > 25.0);
    assert_eq!(
        (&status["cache"]["exact_hits"], &status["cache"]["entries"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["latency"]["answers"], 2);
    assert_eq!(status["queue"]["waiting"], 0);
    assert_eq!(status["tenants"]["by_name"], Value::Null);
    let page = get(&gateway, "/").await;
    assert!(page.text.contains("status.json"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
}

#[tokio::test(start_paused = true)]
async fn models_are_those_that_endpoints_name() {
    let gateway = gateway(&up());
    let listed = get(&gateway, "/v1/models").await.json();
    assert_eq!(listed["object"], "list");
    assert_eq!(listed["data"][0]["id"], "m");
    let mut unknown = question();
    unknown["model"] = json!("nobody's");
    let answered = ask(&gateway, &unknown).await;
    assert_eq!(answered.status, StatusCode::NOT_FOUND);
    assert_eq!(answered.json()["error"]["code"], "model_not_found");
    assert_eq!(get(&gateway, "/v2").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&gateway, "/v1/chat/completions").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_drain_lets_running_answers_end_and_says_no_to_new_ones() {
    let up = up().forever(Answer::text("one two").pace(Duration::from_millis(50)));
    let gateway = gateway(&up);
    let running = gateway.router().oneshot(chat(streamed().to_string())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = Arc::clone(&gateway).serve(listener, async move {
        let _ = stopped.await;
    });
    let calls = async {
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        let refused = ask(&gateway, &question()).await;
        let ready = get(&gateway, "/readyz").await.status;
        let text = to_bytes(running.into_body(), 1 << 20).await.unwrap();
        (refused, ready, String::from_utf8(text.to_vec()).unwrap())
    };
    let (cut_off, (refused, ready, text)) = futures::future::join(serving, calls).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json()["error"]["code"], "shutting_down");
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(cut_off.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_outlasts_the_drain_is_cut_off_and_counted() {
    let up = up().forever(Answer::text("one two").pace(20 * SECOND));
    let gateway = gateway(&up);
    let running = gateway.router().oneshot(chat(streamed().to_string())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let start = time::now();
    let reading = to_bytes(running.into_body(), 1 << 20);
    let serving = Arc::clone(&gateway).serve(listener, std::future::ready(()));
    let (cut_off, text) = futures::future::join(serving, reading).await;
    assert_eq!(cut_off.unwrap(), 1);
    assert!(time::now() - start <= 6 * SECOND);
    assert!(String::from_utf8_lossy(&text.unwrap()).contains("shutting_down"));
}
