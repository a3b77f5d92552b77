//! Providers alone, and what they are tested with.

use std::sync::Arc;

use evenkeel::balance::facts::MemoryFactStore;
use evenkeel::cache::shared::{MemoryCacheStore, MemoryVectorIndex};
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::testing::conformance::{self, ProviderSuite};
use evenkeel::testing::{
    Answer, ScriptedProvider, SimulatedProvider, drop_after_polls, drop_at_every_poll,
};
use evenkeel::time::now;
use evenkeel::{CallContext, ChatRequest, ChatResponse, Provider, ProviderError, provider_fn};
use futures::StreamExt as _;

use crate::house::WORDS;
use crate::{SECOND, pass};

fn cx() -> CallContext {
    CallContext::new(now() + 600 * SECOND)
}

/// Drops whatever it does anywhere; `open` says for how many it works.
async fn works_for_nobody(provider: Arc<dyn Provider>, open: &dyn Fn() -> u64) {
    let (request, cx) = (ChatRequest::new("m").user("q"), cx());
    let stop = |polls: usize| assert_eq!(open(), 0, "it works after {polls} polls");
    let whole = drop_at_every_poll(|| provider.complete(&request, &cx), stop).await.unwrap();
    assert!(!whole.text().is_empty());
    let read = || async { provider.stream(&request, &cx).await.unwrap().count().await };
    assert!(drop_at_every_poll(read, stop).await > 0);
    drop_at_every_poll(|| provider.probe(), stop).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_double_works_for_nobody_wherever_it_is_dropped() {
    let sweep = works_for_nobody;
    for streaming in [true, false] {
        let answer = Answer::text(WORDS).delay(SECOND).pace(SECOND);
        let scripted = ScriptedProvider::new("scripted").streaming(streaming).forever(answer);
        sweep(Arc::new(scripted.clone()), &|| scripted.counts().open).await;
        let simulated = SimulatedProvider::builder("simulated").capacity(1).streaming(streaming);
        let simulated = simulated.build().unwrap();
        sweep(Arc::new(Arc::new(simulated.clone())), &|| simulated.stats().calls.open).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_does_by_default_may_be_dropped_anywhere() {
    let sweep = works_for_nobody;
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let provider = provider_fn("fn", move |_, _| {
        let held = Arc::clone(&held);
        async move {
            pass(SECOND).await;
            drop(held);
            pass(SECOND).await;
            Ok::<_, ProviderError>(ChatResponse::text_only("x"))
        }
    });
    // One is the test's, one the provider's.
    sweep(Arc::new(provider), &|| Arc::strong_count(&alive) as u64 - 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_laws_may_be_dropped_anywhere() {
    let provider = ScriptedProvider::new("p").forever(Answer::text("yes").delay(SECOND / 10));
    let suite = ProviderSuite::new(|| async { provider.clone() });
    let stop = |polls| assert_eq!(provider.counts().open, 0, "after {polls} polls");
    drop_at_every_poll(|| suite.run(), stop).await;
    drop_at_every_poll(|| conformance::provider(|| async { provider.clone() }), stop).await;
}

#[tokio::test(start_paused = true)]
async fn the_laws_of_stores_may_be_dropped_anywhere() {
    drop_at_every_poll(
        || conformance::cache::store(|| async { MemoryCacheStore::default() }),
        |_| {},
    )
    .await;
    drop_at_every_poll(
        || conformance::index::store(3, || async { MemoryVectorIndex::default() }),
        |_| {},
    )
    .await;
    let facts = Arc::new(MemoryFactStore::new());
    drop_at_every_poll(|| conformance::facts::store(|| async { Arc::clone(&facts) }), |_| {}).await;
    // The one store, under all the keys of runs that were given up: the laws still hold.
    let quotas = MemoryQuotaStore::new();
    drop_at_every_poll(|| conformance::quota::store(|| async { quotas.clone() }), |_| {}).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_may_itself_be_dropped() {
    let alive = Arc::new(());
    let work = || {
        let alive = Arc::clone(&alive);
        async move {
            pass(SECOND).await;
            pass(SECOND).await;
            Arc::strong_count(&alive)
        }
    };
    let stop = |_| assert_eq!(Arc::strong_count(&alive), 1);
    let inner = || drop_after_polls(work(), 3);
    assert_eq!(drop_at_every_poll(inner, stop).await, Some(2));
    assert_eq!(drop_at_every_poll(|| drop_at_every_poll(work, stop), stop).await, 2);
}
