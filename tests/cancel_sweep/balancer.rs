//! Probes, and what instances tell one another of their accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::balance::facts::{AccountFact, FactKind, FactStore, MemoryFactStore};
use evenkeel::balance::{Balancer, Condition};
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::time::now;
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, Provider,
    ProviderError, async_trait,
};

use crate::{SECOND, pass};

/// Refuses its key, and answers probes after two seconds.
#[derive(Clone, Default)]
struct Sick {
    probed: Arc<AtomicUsize>,
}

struct Probing<'a>(&'a AtomicUsize);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Provider for Sick {
    fn id(&self) -> &str {
        "sick"
    }

    async fn complete(
        &self,
        _request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        Err(ProviderError::new(ErrorKind::Auth, "no such key"))
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.probed.fetch_add(1, Ordering::Relaxed);
        let _probing = Probing(&self.probed);
        pass(SECOND).await;
        pass(SECOND).await;
        Ok(())
    }
}

/// Two endpoints that nobody is sent to any more.
async fn sick() -> (Sick, Balancer) {
    let sick = Sick::default();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(sick.clone()).with_id("a"))
        .endpoint(Endpoint::new(sick.clone()).with_id("b"))
        .build()
        .unwrap();
    let _refused = client.complete("q").await.unwrap_err();
    let balancer = client.balancer().clone();
    assert_eq!(disabled(&balancer), 2);
    (sick, balancer)
}

fn disabled(balancer: &Balancer) -> usize {
    let is = |condition: &Condition| *condition != Condition::Eligible;
    balancer.status(now()).iter().filter(|status| is(&status.condition)).count()
}

#[tokio::test(start_paused = true)]
async fn a_round_of_probes_leaves_nothing_wherever_it_is_dropped() {
    let (sick, balancer) = sick().await;
    for polls in 0.. {
        let before = disabled(&balancer);
        let probed = drop_after_polls(balancer.probe(60 * SECOND), polls).await;
        assert_eq!(sick.probed.load(Ordering::Relaxed), 0, "after {polls} polls");
        if let Some(probed) = probed {
            assert_eq!(probed.len(), before, "who was let in before is not asked again");
            break;
        }
    }
    assert_eq!(disabled(&balancer), 0);
}

#[tokio::test(start_paused = true)]
async fn probing_for_ever_leaves_nothing_wherever_it_is_dropped() {
    let (sick, balancer) = sick().await;
    for polls in 0..40 {
        let probing = balancer.keep_probing(Duration::from_millis(700), 60 * SECOND);
        assert!(drop_after_polls(probing, polls).await.is_none(), "it never ends");
        assert_eq!(sick.probed.load(Ordering::Relaxed), 0, "after {polls} polls");
    }
    assert_eq!(disabled(&balancer), 0);
}

/// It answers at its first poll: dropped before, it has done nothing.
#[tokio::test(start_paused = true)]
async fn a_store_of_facts_is_whole_wherever_it_is_dropped() {
    let store = Arc::new(MemoryFactStore::new());
    let fact = AccountFact::new(7, FactKind::Auth, 60 * SECOND);
    assert!(drop_after_polls(store.publish(&fact), 0).await.is_none());
    assert_eq!(store.all().await.unwrap().len(), 0, "nobody asked");
    drop_at_every_poll(|| store.publish(&fact), |_| {}).await.unwrap();
    let all = drop_at_every_poll(|| store.all(), |_| {}).await.unwrap();
    assert_eq!(all.len(), 1);
    drop_at_every_poll(|| store.lift(7), |_| {}).await.unwrap();
    assert_eq!(store.all().await.unwrap().len(), 0);
}
