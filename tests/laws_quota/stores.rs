//! The reference store keeps its own laws, and the suite finds one that does not.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::async_trait;
use evenkeel::quota::Amounts;
use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, Verdict};
use evenkeel::remote::StoreError;
use evenkeel::testing::conformance;

#[tokio::test(start_paused = true)]
async fn the_reference_store_keeps_the_laws() {
    conformance::quota::store(|| async { MemoryQuotaStore::new() }).await;
}

#[tokio::test(start_paused = true)]
async fn one_store_may_serve_the_whole_suite() {
    let store = MemoryQuotaStore::new();
    conformance::quota::store(|| async { store.clone() }).await;
}

/// The reference with one habit.
struct Broken {
    store: MemoryQuotaStore,
    habit: Habit,
}

#[derive(Clone, Copy)]
enum Habit {
    ForgetsIds,
    SettlesNothing,
    ForgetsScopes,
    ForgetsNoInstance,
}

#[async_trait]
impl QuotaStore for Broken {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        let mut demand = Demand::clone(demand);
        match self.habit {
            Habit::ForgetsIds => demand.id = rand(),
            Habit::ForgetsScopes => demand.scopes.truncate(1),
            Habit::SettlesNothing | Habit::ForgetsNoInstance => {}
        }
        self.store.reserve(&Arc::new(demand)).await
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        match self.habit {
            Habit::SettlesNothing => Ok(()),
            _ => self.store.settle(grant, actual).await,
        }
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Result<u32, StoreError> {
        match self.habit {
            Habit::ForgetsNoInstance => self.store.beat(instance, ttl * 1_000).await,
            _ => self.store.beat(instance, ttl).await,
        }
    }
}

fn rand() -> u128 {
    evenkeel::rng::Rng::from_entropy().next_u64().into()
}

async fn suite(habit: Habit) {
    conformance::quota::store(|| async { Broken { store: MemoryQuotaStore::new(), habit } }).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "asking twice is asking once"]
async fn a_store_that_forgets_ids_breaks_a_law() {
    suite(Habit::ForgetsIds).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "settling twice is settling once"]
async fn a_store_that_settles_nothing_breaks_a_law() {
    suite(Habit::SettlesNothing).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "all scopes or none"]
async fn a_store_that_asks_one_scope_alone_breaks_a_law() {
    suite(Habit::ForgetsScopes).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "an instance is counted while it says that it lives"]
async fn a_store_that_counts_the_dead_breaks_a_law() {
    suite(Habit::ForgetsNoInstance).await;
}

/// The reference, which does not count.
struct Uncounting(MemoryQuotaStore);

#[async_trait]
impl QuotaStore for Uncounting {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        self.0.reserve(demand).await
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        self.0.settle(grant, actual).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_need_not_count_instances() {
    conformance::quota::store(|| async { Uncounting(MemoryQuotaStore::new()) }).await;
}
