//! The stores that the instances of a fleet share, and what is wrong with them for a while: they are
//! late, before or after they did what they were asked, they fail, they lose answers, they hang.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::async_trait;
use evenkeel::balance::facts::{AccountFact, FactStore, MemoryFactStore};
use evenkeel::cache::shared::{CacheStore, MemoryCacheStore, SharedAnswer, SharedKey};
use evenkeel::quota::Amounts;
use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, Verdict};
use evenkeel::remote::StoreError;
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, after, now, sleep_until};

/// The references behind a bad connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Stores {
    /// As a store is that nothing is wrong with.
    pub(crate) quotas: MemoryQuotaStore,
    answers: MemoryCacheStore,
    facts: Arc<MemoryFactStore>,
    trouble: Arc<Trouble>,
}

struct Trouble {
    rng: Rng,
    /// How often something goes wrong.
    share: f64,
    /// Nothing is answered from the first to the second, and all is well after the third.
    outage: (Instant, Instant),
    over: Instant,
    faults: AtomicU64,
}

/// What becomes of one operation.
enum Fate {
    Well,
    LateToAct(Duration),
    LateToAnswer(Duration),
    Fails,
    LosesTheAnswer,
    Hangs,
}

impl Stores {
    pub(crate) fn new(rng: &Rng) -> Self {
        let from = after(now(), rng.jitter(Duration::from_secs(15)));
        let trouble = Trouble {
            rng: Rng::from_seed(rng.next_u64()),
            share: 0.3 * rng.unit(),
            outage: (from, after(from, rng.jitter(Duration::from_secs(15)))),
            over: after(now(), Duration::from_secs(30)),
            faults: AtomicU64::new(0),
        };
        Self {
            quotas: MemoryQuotaStore::new(),
            answers: MemoryCacheStore::default(),
            facts: Arc::new(MemoryFactStore::new()),
            trouble: Arc::new(trouble),
        }
    }

    /// When all is well again.
    pub(crate) fn well_from(&self) -> Instant {
        self.trouble.over
    }

    pub(crate) fn faults(&self) -> u64 {
        self.trouble.faults.load(Ordering::Relaxed)
    }

    async fn meets<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.trouble.fate() {
            Fate::Well => operation.await,
            Fate::LateToAct(by) => {
                sleep_until(after(now(), by)).await;
                operation.await
            }
            Fate::LateToAnswer(by) => {
                let answer = operation.await;
                sleep_until(after(now(), by)).await;
                answer
            }
            Fate::Fails => Err(broken()),
            Fate::LosesTheAnswer => operation.await.and(Err(broken())),
            Fate::Hangs => pending().await,
        }
    }
}

impl Trouble {
    fn fate(&self) -> Fate {
        let (at, (from, to)) = (now(), self.outage);
        let bad = at < self.over && ((from..to).contains(&at) || self.rng.unit() < self.share);
        if !bad {
            return Fate::Well;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        // Some of these are within the deadline of an operation.
        let by = self.rng.jitter(Duration::from_millis(60));
        match self.rng.below(5) {
            0 => Fate::LateToAct(by),
            1 => Fate::LateToAnswer(by),
            2 => Fate::Fails,
            3 => Fate::LosesTheAnswer,
            _ => Fate::Hangs,
        }
    }
}

fn broken() -> StoreError {
    StoreError::Unreachable("the connection broke".into())
}

type Answered<T> = Result<T, StoreError>;

#[async_trait]
impl QuotaStore for Stores {
    async fn reserve(&self, demand: &Arc<Demand>) -> Answered<Verdict> {
        self.meets(self.quotas.reserve(demand)).await
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Answered<()> {
        self.meets(self.quotas.settle(grant, actual)).await
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Answered<u32> {
        self.meets(self.quotas.beat(instance, ttl)).await
    }
}

#[async_trait]
impl CacheStore for Stores {
    async fn get(&self, key: &SharedKey) -> Answered<Option<SharedAnswer>> {
        self.meets(self.answers.get(key)).await
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Answered<()> {
        self.meets(self.answers.put(key, answer)).await
    }

    async fn remove(&self, key: &SharedKey) -> Answered<()> {
        self.meets(self.answers.remove(key)).await
    }

    async fn epochs(&self, labels: &[u128]) -> Answered<Vec<u64>> {
        self.meets(self.answers.epochs(labels)).await
    }

    async fn advance(&self, label: u128) -> Answered<u64> {
        self.meets(self.answers.advance(label)).await
    }

    async fn try_lead(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        self.meets(self.answers.try_lead(key, token, lease)).await
    }

    async fn renew(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        self.meets(self.answers.renew(key, token, lease)).await
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Answered<()> {
        self.meets(self.answers.release(key, token)).await
    }
}

#[async_trait]
impl FactStore for Stores {
    async fn publish(&self, fact: &AccountFact) -> Answered<()> {
        self.meets(self.facts.publish(fact)).await
    }

    async fn lift(&self, account: u128) -> Answered<()> {
        self.meets(self.facts.lift(account)).await
    }

    async fn all(&self) -> Answered<Vec<AccountFact>> {
        self.meets(self.facts.all()).await
    }
}
