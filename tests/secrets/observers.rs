//! Events, spans, metrics, statistics.

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::facts::MemoryFactStore;
use evenkeel::cache::shared::MemoryCacheStore;
use evenkeel::client::{Fallback, FallbackOn, HedgePolicy, LlmClientBuilder, RetryPolicy, Shared};
use evenkeel::observe::metrics::Metrics;
use evenkeel::observe::tracing::Spans;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    Call, Endpoint, ErrorKind, Event, LlmClient, Observer, ProviderError, RequestQueue,
};
use evenkeel::{SemanticCache, cache::LexicalEmbedder};
use futures::StreamExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_default;
use tracing::{Metadata, Subscriber};

use crate::{CANARY, SECRET, assert_clean, nouns};

/// An observer that keeps what it is told, in words.
#[derive(Clone, Default)]
pub(crate) struct Notebook(Arc<Mutex<Vec<String>>>);

impl Notebook {
    fn kinds(&self) -> BTreeSet<String> {
        let lines = self.0.lock();
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }
}

impl Observer for Notebook {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().push(format!("{event:?}"));
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

/// Everything that any crate tells `tracing`, at any level, whoever tells it.
#[derive(Clone, Default)]
struct Overhears(Arc<Mutex<String>>);

impl Visit for Overhears {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock(), "{field}={value:?}").unwrap();
    }
}

impl Overhears {
    fn note(&self, what: &Metadata<'_>) {
        writeln!(self.0.lock(), "{} {}", what.target(), what.name()).unwrap();
    }
}

impl Subscriber for Overhears {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata());
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.note(event.metadata());
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl fmt::Debug for Overhears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overhears")
    }
}

/// One endpoint that fails in the words of the request, one that answers with it; everything else on.
fn client(observer: impl Observer) -> LlmClient {
    let eu = ScriptedProvider::new("eu")
        .then(Answer::fail(nouns::echo()))
        .then(Answer::response(nouns::answer()).pace(Duration::from_secs(40)))
        .then(Answer::response(nouns::answer()).fail_after(2, nouns::echo()))
        .then(Answer::panic())
        .then(Answer::fail(refusal(ErrorKind::Auth)))
        .forever(Answer::fail(refusal(ErrorKind::ContextLength)));
    let us = ScriptedProvider::new("us")
        .forever(Answer::text(format!("one {CANARY} two {CANARY} three")));
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().concurrency(2));
    let cache = SemanticCache::builder().secret(SECRET).embedder(LexicalEmbedder::new());
    let shared = Shared::new(SECRET).quota(MemoryQuotaStore::new());
    let shared = shared.cache(MemoryCacheStore::default()).facts(MemoryFactStore::new());
    builder([eu, us])
        .quota(quota.build().unwrap())
        .queue(RequestQueue::builder().weight(CANARY, 2).build().unwrap())
        .cache(cache.threshold(0.9).build().unwrap())
        .shared(shared)
        .fallback(Fallback::new("m").to("n").on(FallbackOn::ContextLength))
        .observer(observer)
        .build()
        .unwrap()
}

fn builder(providers: [ScriptedProvider; 2]) -> LlmClientBuilder {
    let retry = RetryPolicy::new().budget(1.0, 100.0);
    let builder =
        LlmClient::builder().seed(1).retry(retry).hedge(HedgePolicy::after(Duration::from_secs(5)));
    let ends = providers.map(|it| Endpoint::new(it).model("m").model("n"));
    ends.into_iter().fold(builder, LlmClientBuilder::endpoint)
}

fn refusal(kind: ErrorKind) -> ProviderError {
    ProviderError::new(kind, format!("you sent {CANARY}"))
}

/// Calls of every kind, by a tenant whose name is a canary.
async fn use_up(client: &LlmClient) {
    for turn in 0..12 {
        let asked = |words: &str| -> Call {
            let mut call = nouns::call();
            let mut request = evenkeel::ChatRequest::new("m").system(CANARY);
            request = request.user(format!("{words} number {} {CANARY}", turn / 2));
            call.request = Arc::new(request);
            call
        };
        let _ = client.complete(asked("How do I reset it")).await;
        let _ = client.complete(nouns::call()).await;
        let Ok(mut stream) = client.stream(asked("What is it")).await else { continue };
        if turn % 3 > 0 {
            while let Some(Ok(_)) = stream.next().await {}
        }
    }
    let several: Vec<_> = (0..8).map(|_| client.complete(nouns::call())).collect();
    futures::future::join_all(several).await;
    let _ = client.complete(Call::from(CANARY).tenant(CANARY)).await;
}

#[tokio::test(start_paused = true)]
async fn no_event_shows_a_secret() {
    let notebook = Notebook::default();
    let client = client(notebook.clone());
    use_up(&client).await;
    let kinds = notebook.kinds();
    for kind in ["AttemptEnded", "Cache", "CallEnded", "ChunkReceived", "QuotaDenied", "Retry"] {
        assert!(kinds.contains(kind), "{kind} was not seen: {kinds:?}");
    }
    assert_clean("an event", &notebook.0.lock().join("\n"));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_traced_shows_a_secret_whoever_traces_it() {
    let overheard = Overhears::default();
    let _guard = set_default(overheard.clone());
    let client = client(Spans::new());
    use_up(&client).await;
    let said = overheard.0.lock().clone();
    assert!(said.contains("gen_ai.request.model=\"m\""), "{said}");
    assert_clean("tracing", &said);
}

#[test]
fn no_metric_has_a_secret_for_a_label() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let metrics = Metrics::new();
            let client = client(metrics.clone());
            use_up(&client).await;
            metrics.sample(&client.stats());
        });
    });
    let rendered = recorder.handle().render();
    assert!(rendered.lines().count() > 100, "{rendered}");
    assert_clean("a metric", &rendered);
}

#[tokio::test(start_paused = true)]
async fn statistics_and_health_show_no_secret_as_json() {
    let client = client(Notebook::default());
    let running = client.stream(nouns::call()).await;
    use_up(&client).await;
    let stats = serde_json::to_string_pretty(&client.stats()).unwrap();
    let health = serde_json::to_string_pretty(&client.health()).unwrap();
    assert!(stats.contains("\"endpoints\"") && health.contains("\"models\""));
    assert_clean("the statistics", &stats);
    assert_clean("the health", &health);
    drop(running);
}
