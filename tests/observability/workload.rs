//! Calls that go every way there is.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::cache::{LexicalEmbedder, SemanticCache};
use evenkeel::client::{Fallback, HedgePolicy, LlmClientBuilder, RetryPolicy};
use evenkeel::observe::metrics::Metrics;
use evenkeel::rate_limits::{LimitWindow, RateLimits};
use evenkeel::remote::{Guarded, StoreError};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    CacheControl, Call, ChatRequest, ChatResponse, Chunk, Endpoint, ErrorKind, Limits, LlmClient,
    Price, Priority, QuotaLimiter, RequestQueue, Usage,
};
use futures::StreamExt as _;
use futures::future::{join, join_all};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn run() {
    answered().await;
    failed_over().await;
    hedged().await;
    fallen_back().await;
    queued().await;
    held_to_quotas().await;
    cached().await;
    taken_out_of_service().await;
    without_a_store().await;
    named_by_tenant().await;
    of_too_many_models().await;
}

fn answer() -> ChatResponse {
    let window = LimitWindow::new().with_limit(500).with_remaining(499).with_reset(SECOND);
    let usage =
        Usage::counted(100, 20).with_cached_input(40).with_cache_write(10).with_reasoning(5);
    let mut answer = ChatResponse::text_only("each value has one owner").with_usage(usage);
    answer.rate_limits = Some(RateLimits::new().with_requests(window).with_tokens(window));
    answer
}

/// In words that come one by one.
fn words() -> Answer {
    let usage = Chunk::Usage(Usage::counted(100, 3));
    let words = ["each", " value", " has", " one", " owner"].map(|word| Chunk::text(0, word));
    let done = Chunk::done(evenkeel::FinishReason::Stop);
    Answer::timed_chunks(words.into_iter().chain([usage, done]).map(|chunk| (SECOND / 10, chunk)))
}

fn always(id: &str, answer: Answer) -> Endpoint {
    let provider = ScriptedProvider::new(id).forever(answer);
    Endpoint::new(provider).model("smart").model("spare").price(Price::new(2_500, 10_000))
}

fn failing(id: &str, kind: ErrorKind) -> Endpoint {
    always(id, Answer::error(kind))
}

/// A client with metrics of its own.
fn over<const N: usize>(endpoints: [Endpoint; N]) -> LlmClientBuilder {
    let builder = LlmClient::builder().seed(1).observer(Metrics::new());
    endpoints.into_iter().fold(builder, LlmClientBuilder::endpoint)
}

fn ask() -> Call {
    ChatRequest::new("smart").user("how does ownership work?").tenant("secret-tenant")
}

async fn read(client: &LlmClient, call: Call) {
    let mut stream = client.stream(call).await.unwrap();
    while let Some(chunk) = stream.next().await {
        chunk.unwrap();
    }
}

async fn answered() {
    let client =
        over([always("eu", words()), always("us", Answer::response(answer()))]).build().unwrap();
    for _ in 0..2 {
        client.complete(ask()).await.unwrap();
        read(&client, ask()).await;
    }
    drop(client.stream(ask()).await.unwrap());
    let unnamed = ChatRequest::new("made-up-model").user("q");
    client.complete(unnamed).await.unwrap_err();
}

async fn failed_over() {
    let endpoints = [failing("sick", ErrorKind::Server), always("eu", words())];
    let client = over(endpoints).build().unwrap();
    client.complete(ask()).await.unwrap();

    let frugal = RetryPolicy::new().budget(0.0, 0.0);
    let endpoints = [failing("sick", ErrorKind::Server), failing("ill", ErrorKind::Overloaded)];
    let client = over(endpoints).retry(frugal).build().unwrap();
    client.complete(ask()).await.unwrap_err();
}

async fn hedged() {
    let endpoints =
        [always("slow", Answer::response(answer()).delay(SECOND * 30)), always("eu", words())];
    let client = over(endpoints).hedge(HedgePolicy::after(SECOND)).build().unwrap();
    client.complete(ask()).await.unwrap();
}

async fn fallen_back() {
    let small = ScriptedProvider::new("small").forever(Answer::error(ErrorKind::ContextLength));
    let large = ScriptedProvider::new("large").forever(words());
    let client = over([Endpoint::new(small).model("smart"), Endpoint::new(large).model("spare")])
        .fallback(Fallback::new("smart").to("spare"))
        .build()
        .unwrap();
    client.complete(ask()).await.unwrap();
}

async fn queued() {
    let narrow = always("narrow", words()).limits(EndpointLimits::new().concurrency(1));
    let metrics = Metrics::new();
    let client = LlmClient::builder()
        .seed(1)
        .observer(metrics.clone())
        .endpoint(narrow)
        .queue(RequestQueue::builder().max_depth(2).build().unwrap())
        .build()
        .unwrap();
    let classes = [Priority::Interactive, Priority::Normal, Priority::Batch];
    let calls =
        classes.into_iter().chain(classes).map(|class| client.complete(ask().priority(class)));
    let sampled = async { metrics.sample(&client.stats()) };
    let (ended, ()) = join(join_all(calls), sampled).await;
    assert!(ended.iter().any(Result::is_err), "some were turned away");
}

async fn held_to_quotas() {
    let limits = Limits::new().requests_per_minute(1);
    let metrics = Metrics::new();
    let client = LlmClient::builder()
        .observer(metrics.clone())
        .endpoint(always("eu", words()))
        .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
        .build()
        .unwrap();
    client.complete(ask()).await.unwrap();
    client.complete(ask()).await.unwrap_err();
    metrics.sample(&client.stats());
}

async fn cached() {
    let cache = SemanticCache::builder().embedder(LexicalEmbedder::new()).threshold(0.6).build();
    let metrics = Metrics::new();
    let client = LlmClient::builder()
        .observer(metrics.clone())
        .endpoint(always("eu", Answer::response(answer()).delay(SECOND)))
        .cache(cache.unwrap())
        .build()
        .unwrap();
    let ask = |text: &str| ChatRequest::new("smart").user(text).tenant("secret-tenant");
    let long = "Please explain to me how ownership works in Rust";
    let (a, b) = join(client.complete(ask(long)), client.complete(ask(long))).await;
    assert!(a.is_ok() && b.is_ok());
    client.complete(ask(long)).await.unwrap();
    client.complete(ask("Please explain how ownership works in Rust")).await.unwrap();
    client.complete(ask(long).cache(CacheControl::Bypass)).await.unwrap();
    metrics.sample(&client.stats());
}

async fn taken_out_of_service() {
    let endpoints = [
        failing("poor", ErrorKind::QuotaExhausted),
        always("busy", Answer::rate_limited(SECOND * 5)),
        failing("sick", ErrorKind::Server),
        always("eu", words()),
    ];
    let client = over(endpoints).build().unwrap();
    for _ in 0..60 {
        let _ = client.complete(ask()).await;
    }
    let endpoints = [failing("poor", ErrorKind::Auth)];
    let client = over(endpoints).build().unwrap();
    client.complete(ask()).await.unwrap_err();
    client.complete(ask()).await.unwrap_err();
}

async fn without_a_store() {
    let store = Arc::new(Guarded::new("quota", SECOND));
    let client = over([always("eu", words())]).watch_store(Arc::clone(&store)).build().unwrap();
    for _ in 0..5 {
        let lost = async { Err::<(), _>(StoreError::Unreachable("reset".into())) };
        store.ask(lost).await.unwrap_err();
    }
    assert_eq!(client.health().stores[0].state, "open");
}

async fn named_by_tenant() {
    let builder = LlmClient::builder().observer(Metrics::with_tenants(50));
    let client = builder.endpoint(always("eu", words())).build().unwrap();
    for call in 0..20 {
        client.complete(ask().tenant("acme")).await.unwrap();
        client.complete(ask().tenant(format!("secret-tenant-{call}"))).await.unwrap();
    }
}

async fn of_too_many_models() {
    let endpoint = Endpoint::new(ScriptedProvider::new("eu").forever(words()));
    let endpoint = (0..80).fold(endpoint, |it, model| it.model(format!("model-{model}")));
    over([endpoint]).build().unwrap();
}
