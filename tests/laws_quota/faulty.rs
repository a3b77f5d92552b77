//! A store that does not always do as it should, and remembers what it was asked.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::async_trait;
use evenkeel::quota::Amounts;
use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, Verdict};
use evenkeel::remote::StoreError;
use evenkeel::time::{after, now, sleep_until};
use parking_lot::Mutex;

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It never answers, and did nothing.
    Hangs,
    /// It fails at once, and did nothing.
    Fails,
    /// It answers, after so long.
    Slow(Duration),
    /// It did what it was asked, and its answer is lost.
    LosesReplies,
    /// It loses every second answer.
    LosesSomeReplies,
}

/// The reference store, as one instance meets it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Faulty {
    store: MemoryQuotaStore,
    state: Arc<Mutex<State>>,
}

struct State {
    fault: Fault,
    asked: Asked,
    demands: Vec<Arc<Demand>>,
}

/// How often it was asked what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) reserve: u64,
    pub(crate) settle: u64,
    pub(crate) beat: u64,
}

impl Faulty {
    pub(crate) fn new(store: &MemoryQuotaStore) -> Self {
        let state = State { fault: Fault::None, asked: Asked::default(), demands: Vec::new() };
        Self { store: store.clone(), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.state.lock().fault = fault;
    }

    pub(crate) fn asked(&self) -> Asked {
        self.state.lock().asked
    }

    /// What was demanded, in order.
    pub(crate) fn demands(&self) -> Vec<Arc<Demand>> {
        self.state.lock().demands.clone()
    }

    fn count(&self, count: impl FnOnce(&mut Asked)) -> Fault {
        let mut state = self.state.lock();
        count(&mut state.asked);
        let Asked { reserve, settle, beat } = state.asked;
        match state.fault {
            Fault::LosesSomeReplies if (reserve + settle + beat) % 2 == 0 => Fault::LosesReplies,
            Fault::LosesSomeReplies => Fault::None,
            fault => fault,
        }
    }

    async fn answer<T>(
        fault: Fault,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match fault {
            Fault::Hangs => pending().await,
            Fault::Fails => Err(broken()),
            Fault::Slow(by) => {
                let answer = operation.await;
                sleep_until(after(now(), by)).await;
                answer
            }
            Fault::LosesReplies => operation.await.and(Err(broken())),
            Fault::None | Fault::LosesSomeReplies => operation.await,
        }
    }
}

fn broken() -> StoreError {
    StoreError::Unreachable("the connection broke".into())
}

#[async_trait]
impl QuotaStore for Faulty {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        let fault = self.count(|asked| asked.reserve += 1);
        self.state.lock().demands.push(Arc::clone(demand));
        Self::answer(fault, self.store.reserve(demand)).await
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        let fault = self.count(|asked| asked.settle += 1);
        Self::answer(fault, self.store.settle(grant, actual)).await
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Result<u32, StoreError> {
        let fault = self.count(|asked| asked.beat += 1);
        Self::answer(fault, self.store.beat(instance, ttl)).await
    }
}
