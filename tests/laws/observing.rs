//! What observers are told, and what the client says of itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::client::RetryPolicy;
use evenkeel::quota::{Dimension, Limit};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    Call, ChatRequest, Chunk, Endpoint, ErrorKind, Event, FinishReason, Limits, LlmClient,
    Observer, Price, QuotaLimiter, RequestQueue, SemanticCache, Usage, time,
};
use futures::StreamExt as _;
use futures::future::{join, join_all};
use parking_lot::Mutex;

use crate::doubles::{Notebook, always, builder_over, seconds};

/// What it was told of one call.
#[derive(Debug, Clone, Default)]
struct Told {
    started: u32,
    ended: u32,
    /// Attempts that run, and those that ended.
    running: Vec<u32>,
    attempts: u32,
    /// Tokens and money that its attempts are charged for.
    tokens: u64,
    cost: u64,
    /// The same as the call's end tells.
    total: (u64, u64),
    quota: Option<(u64, u64)>,
    first_chunks: Vec<Option<Duration>>,
    ttfts: Vec<Option<Duration>>,
    gaps: Vec<Duration>,
    longest_gap: Option<Duration>,
    ttft: Option<Duration>,
    queued: Duration,
    overhead: Option<Duration>,
    source: &'static str,
}

#[derive(Clone, Default)]
struct Register(Arc<Mutex<BTreeMap<u64, Told>>>);

impl Register {
    fn calls(&self) -> Vec<Told> {
        self.0.lock().values().cloned().collect()
    }
}

impl Observer for Register {
    fn on_event(&self, event: &Event<'_>) {
        let mut calls = self.0.lock();
        match *event {
            Event::CallStarted { call, .. } => calls.entry(call).or_default().started += 1,
            Event::AttemptStarted { call, number, .. } => {
                let told = calls.get_mut(&call).unwrap();
                assert_eq!(told.ended, 0, "an attempt of a call that has ended");
                told.running.push(number);
            }
            Event::ChunkReceived { call, gap, .. } => calls.get_mut(&call).unwrap().gaps.push(gap),
            Event::AttemptEnded {
                call,
                number,
                usage,
                cost,
                first_chunk,
                ttft,
                longest_gap,
                ..
            } => {
                let told = calls.get_mut(&call).unwrap();
                let at = told.running.iter().position(|running| *running == number).unwrap();
                told.running.remove(at);
                told.attempts += 1;
                told.tokens += usage.total_tokens();
                told.cost += cost.unwrap_or_default().nano_dollars();
                told.first_chunks.push(first_chunk);
                told.ttfts.push(ttft);
                told.longest_gap = told.longest_gap.max(longest_gap);
            }
            Event::QuotaSettled { call, reserved, charged, .. } => {
                calls.get_mut(&call).unwrap().quota = Some((reserved, charged));
            }
            Event::CallEnded {
                call,
                attempts,
                usage,
                cost,
                ttft,
                queued,
                overhead,
                source,
                ..
            } => {
                let told = calls.get_mut(&call).unwrap();
                assert!(told.running.is_empty(), "an attempt outlives its call");
                told.ended += 1;
                assert_eq!(told.attempts, attempts);
                told.total = (usage.total_tokens(), cost.unwrap_or_default().nano_dollars());
                (told.ttft, told.queued, told.overhead) = (ttft, queued, overhead);
                told.source = source;
            }
            _ => {}
        }
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

/// Two words, then a silence of five seconds, then a third, one second after the other otherwise.
fn halting() -> Answer {
    let waits = [(1, Chunk::Heartbeat), (2, Chunk::text(0, "a")), (1, Chunk::text(0, "b"))];
    let rest = [(5, Chunk::text(0, "c")), (0, Chunk::Usage(Usage::counted(100, 3)))];
    let end = [(0, Chunk::done(FinishReason::Stop))];
    let chunks = waits.into_iter().chain(rest).chain(end);
    Answer::timed_chunks(chunks.map(|(wait, chunk)| (seconds(wait), chunk)))
}

fn priced(provider: &ScriptedProvider) -> Endpoint {
    Endpoint::new(provider.clone()).price(Price::new(2, 10))
}

#[tokio::test(start_paused = true)]
async fn the_time_to_the_first_token_has_three_forms_and_a_silence_shows() {
    let failing = always("failing", Answer::error(ErrorKind::Server).delay(seconds(4)));
    let halting = always("halting", halting());
    let register = Register::default();
    let client = builder_over([&failing, &halting]).observer(register.clone()).build().unwrap();
    let done = client.complete("q").await.unwrap();

    let told = &register.calls()[0];
    assert_eq!(told.ttft, Some(seconds(4 + 1 + 2)), "as the caller feels it");
    assert_eq!(told.first_chunks, [None, Some(seconds(1))], "of any kind");
    assert_eq!(told.ttfts, [None, Some(seconds(3))], "of content");
    assert_eq!(told.gaps, [seconds(1), seconds(5)]);
    assert_eq!(told.longest_gap, Some(seconds(5)));
    assert_eq!(told.overhead, Some(Duration::ZERO));
    assert_eq!(done.report.upstream, seconds(4 + 9));
    assert_eq!(done.report.overhead(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_call_begins_and_ends_once_and_is_charged_for_its_attempts_wherever_it_is_dropped() {
    let failing = always("failing", Answer::error(ErrorKind::Timeout).delay(seconds(1)));
    let halting = always("halting", halting());
    let register = Register::default();
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(1 << 40));
    let client = LlmClient::builder()
        .seed(1)
        .retry(RetryPolicy::new().budget(1.0, 100.0))
        .endpoint(priced(&failing))
        .endpoint(priced(&halting))
        .quota(quota.build().unwrap())
        .observer(register.clone())
        .build()
        .unwrap();
    drop_at_every_poll(
        || async {
            let mut stream = client.stream("how does ownership work?").await.unwrap();
            while let Some(chunk) = stream.next().await {
                chunk.unwrap();
            }
        },
        |_| {},
    )
    .await;
    let calls = register.calls();
    assert!(calls.iter().any(|told| told.total.0 > 0 && told.source == "none"), "some were cut");
    for told in calls {
        assert_eq!((told.started, told.ended), (1, 1), "{told:?}");
        assert_eq!(told.quota.unwrap().1, told.tokens, "{told:?}");
        assert_eq!(told.total.1, told.cost, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_is_no_overhead() {
    let narrow = always("narrow", Answer::text("one two").delay(seconds(3)));
    let register = Register::default();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(narrow).limits(EndpointLimits::new().concurrency(1)))
        .queue(RequestQueue::builder().build().unwrap())
        .observer(register.clone())
        .build()
        .unwrap();
    let (first, second) = join(client.complete("q"), client.complete("q")).await;
    assert_eq!(first.unwrap().report.queued, Duration::ZERO);
    assert_eq!(second.unwrap().report.queued, seconds(3));
    let calls = register.calls();
    assert_eq!(calls[1].queued, seconds(3));
    assert!(calls.iter().all(|told| told.overhead == Some(Duration::ZERO)), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_says_where_the_answer_came_from_and_only_who_fetched_it_pays() {
    let provider = always("only", Answer::text("each has one").delay(seconds(1)));
    let register = Register::default();
    let client = LlmClient::builder()
        .endpoint(priced(&provider))
        .cache(SemanticCache::builder().build().unwrap())
        .observer(register.clone())
        .build()
        .unwrap();
    let ask = || client.complete(ChatRequest::new("m").user("q"));
    join_all([ask(), ask()]).await;
    ask().await.unwrap();
    let calls = register.calls();
    let sources: Vec<_> = calls.iter().map(|told| told.source).collect();
    assert_eq!(sources, ["endpoint", "coalesced", "exact"]);
    assert!(calls[0].total.1 > 0);
    assert!(calls[1..].iter().all(|told| told.total == (0, 0) && told.overhead.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_closed_tells_of_the_calls_it_refuses() {
    let notebook = Notebook::default();
    let provider = always("only", Answer::text("hi"));
    let client = builder_over([&provider]).observer(notebook.clone()).build().unwrap();
    client.drain(time::now()).await;
    client.complete("q").await.unwrap_err();
    assert_eq!(notebook.count("CallStarted"), 1);
    let lines = notebook.lines();
    let ended: Vec<_> = lines.iter().filter(|line| line.starts_with("CallEnded")).collect();
    assert!(matches!(&ended[..], [end] if end.contains("outcome: \"closed\"")), "{ended:?}");
}

#[test]
fn an_observer_is_told_what_endpoints_serve_when_it_comes_and_when_they_change() {
    let endpoint = |id: &str| Endpoint::new(ScriptedProvider::new(id));
    let notebook = Notebook::default();
    let client = LlmClient::builder()
        .endpoint(endpoint("a").model("m").model("n"))
        .endpoint(endpoint("b"))
        .observer(notebook.clone())
        .build()
        .unwrap();
    client.balancer().add(endpoint("c").model("o")).unwrap();
    client.balancer().replace(endpoint("b").model("p")).unwrap();
    let lines = notebook.lines();
    let configured: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("EndpointConfigured ")).collect();
    assert_eq!(
        configured,
        [
            r#"{ endpoint: "a", provider: "a", model: Some("m") }"#,
            r#"{ endpoint: "a", provider: "a", model: Some("n") }"#,
            r#"{ endpoint: "b", provider: "b", model: None }"#,
            r#"{ endpoint: "c", provider: "c", model: Some("o") }"#,
            r#"{ endpoint: "b", provider: "b", model: Some("p") }"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn statistics_add_up_and_name_no_tenant() {
    let failing = always("failing", Answer::error(ErrorKind::InvalidRequest));
    let good = always("good", halting());
    let client = LlmClient::builder()
        .endpoint(priced(&failing).model("bad"))
        .endpoint(priced(&good).model("smart"))
        .queue(RequestQueue::builder().build().unwrap())
        .quota(
            QuotaLimiter::builder()
                .per_tenant(Limits::new().limit(Limit::new(Dimension::Requests, 4, seconds(3_600))))
                .build()
                .unwrap(),
        )
        .cache(SemanticCache::builder().build().unwrap())
        .build()
        .unwrap();
    let ask = |model: &str, text: &str| -> Call {
        ChatRequest::new(model).user(text).tenant("secret-tenant")
    };
    client.complete(ask("smart", "q")).await.unwrap();
    client.complete(ask("smart", "q")).await.unwrap();
    client.complete(ask("bad", "q")).await.unwrap_err();
    drop(client.stream(ask("smart", "r")).await.unwrap());
    for at in 0..3 {
        let _ = client.complete(ask("smart", &format!("again {at}"))).await;
    }

    let stats = client.stats();
    let calls = &stats.calls;
    assert_eq!((calls.succeeded, calls.failed, calls.cancelled), (4, 2, 1));
    assert_eq!(calls.total.count(), 4);
    let [failing, good] = &stats.endpoints[..] else { panic!("{stats:?}") };
    assert_eq!((failing.totals.succeeded, failing.totals.failed), (0, 1));
    assert_eq!((good.totals.succeeded, good.totals.cancelled), (3, 1));
    let ttft = good.totals.ttft.quantile(0.5).unwrap();
    assert!(ttft >= seconds(3) && ttft <= seconds(3) * 9 / 8, "{ttft:?}");
    assert!(good.totals.input_tokens >= 300 && good.totals.cost.nano_dollars() >= 3 * 230);
    let quota = stats.quota.as_ref().unwrap();
    assert_eq!((quota.granted, quota.denied), (5, 1));
    assert_eq!(stats.cache.unwrap().exact_hits, 1);
    let text = serde_json::to_string(&stats).unwrap();
    assert!(text.contains("\"p95\"") && !text.contains("secret-tenant"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_ready_while_every_model_has_an_endpoint_and_says_why_not() {
    let limited = always("limited", Answer::rate_limited(seconds(30)));
    let sick = always("sick", Answer::error(ErrorKind::Server));
    let client = LlmClient::builder()
        .seed(1)
        .retry(RetryPolicy::never())
        .endpoint(Endpoint::new(limited).model("smart"))
        .endpoint(Endpoint::new(sick).model("spare"))
        .build()
        .unwrap();
    assert!(client.health().ready);
    client.complete(ChatRequest::new("smart").user("q")).await.unwrap_err();
    for _ in 0..5 {
        client.complete(ChatRequest::new("spare").user("q")).await.unwrap_err();
    }
    let health = client.health();
    let [smart, spare] = &health.models[..] else { panic!("{health:?}") };
    assert!(!health.ready && !smart.ready);
    let out = &smart.out[0];
    assert_eq!((out.endpoint.as_str(), out.state.state), ("limited", "cooling"));
    assert_eq!(out.state.why, Some("rate_limited"));
    assert!(out.state.ends_in.unwrap() >= seconds(29));
    assert!(spare.ready, "the last endpoint is used whatever its health");
    assert_eq!(spare.out[0].state.state, "unhealthy");

    time::sleep_until(time::now() + seconds(32)).await;
    assert!(client.health().ready);
    client.drain(time::now()).await;
    let text = serde_json::to_string(&client.health()).unwrap();
    assert!(text.starts_with(r#"{"ready":false,"draining":true"#), "{text}");
}
