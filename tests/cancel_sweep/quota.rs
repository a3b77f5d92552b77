//! Reservations, here and in a store.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, StoredScope, Verdict};
use evenkeel::quota::{
    Amounts, Denied, Dimension, Level, Limit, Limits, QuotaLimiter, Reservation, SharedQuota, Whose,
};
use evenkeel::remote::StoreError;
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::time::now;
use evenkeel::{TenantId, async_trait};
use futures::future::join;

use crate::faulty::{Fault, Faulty};
use crate::{SECOND, pass};

/// So long that nothing flows in while a test runs.
const AGES: Duration = Duration::from_secs(3_650 * 86_400);

fn acme() -> TenantId {
    TenantId::new("acme")
}

/// Gives back what it took, wherever it is dropped: a reservation that is merely dropped stays charged.
struct Unused(Option<Reservation>);

impl Drop for Unused {
    fn drop(&mut self) {
        self.0.take().unwrap().cancel();
    }
}

/// One takes everything for a second, the other one waits for it.
async fn two_after_another(quota: &QuotaLimiter) -> Result<(), Denied> {
    let (acme, all) = (acme(), Amounts::tokens(100, 0));
    let one = async || {
        let reservation = quota.reserve(&Whose::tenant(&acme), &all, now() + 60 * SECOND).await?;
        let _unused = Unused(Some(reservation));
        pass(SECOND).await;
        Ok(())
    };
    let (first, second) = join(one(), one()).await;
    first.and(second)
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_waits_takes_nothing_wherever_it_is_dropped() {
    let tokens = Limit::new(Dimension::Tokens, 100, 10 * SECOND).wait();
    let limits = Limits::new().limit(tokens).concurrency(2);
    let quota = QuotaLimiter::builder().per_tenant(limits).build().unwrap();
    let waits = drop_at_every_poll(
        || two_after_another(&quota),
        |polls| {
            let usage = quota.usage(&acme());
            let held = usage.map(|usage| (usage.available[0].1, usage.running));
            assert!(held.is_none_or(|held| held == (100, 0)), "{held:?} after {polls} polls");
        },
    );
    waits.await.unwrap();
}

fn shared(store: impl QuotaStore) -> SharedQuota {
    SharedQuota::new(store).secret([7; 32])
}

fn limits() -> Limits {
    Limits::new().limit(Limit::new(Dimension::Tokens, 100, AGES)).concurrency(1)
}

fn instance(store: impl QuotaStore) -> QuotaLimiter {
    QuotaLimiter::builder().per_tenant(limits()).shared(shared(store)).build().unwrap()
}

/// Whether another instance is given everything there is.
async fn has_all(store: &MemoryQuotaStore) -> bool {
    let (acme, other) = (acme(), instance(store.clone()));
    let all = Amounts::tokens(100, 0);
    let reserved = other.reserve(&Whose::tenant(&acme), &all, now() + SECOND).await;
    let given = reserved.map(|reservation| reservation.settle(&Amounts::NONE)).is_ok();
    assert!(other.flush(now() + 60 * SECOND).await);
    given
}

/// The store is slow, and loses answers: it may have done what it was asked.
#[tokio::test(start_paused = true)]
async fn a_reservation_in_a_store_takes_nothing_wherever_it_is_dropped() {
    for fault in [Fault::Slow(Duration::from_millis(5)), Fault::LosesSomeReplies] {
        let store = MemoryQuotaStore::new();
        let faulty = Faulty::new(&store);
        faulty.set(fault);
        for polls in 0.. {
            let quota = instance(faulty.clone());
            let reserve = async {
                let (acme, all) = (acme(), Amounts::tokens(100, 0));
                quota
                    .reserve(&Whose::tenant(&acme), &all, now() + SECOND)
                    .await
                    .map(Reservation::cancel)
            };
            let reserved = drop_after_polls(reserve, polls).await;
            pass(30 * SECOND).await;
            assert!(quota.flush(now() + 60 * SECOND).await, "{fault:?} after {polls} polls");
            assert!(has_all(&store).await, "{fault:?} after {polls} polls");
            if reserved.is_some() {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_given_up_loses_nothing() {
    let store = MemoryQuotaStore::new();
    let faulty = Faulty::new(&store);
    faulty.set(Fault::Slow(Duration::from_millis(5)));
    for polls in 0.. {
        let (acme, all, quota) = (acme(), Amounts::tokens(100, 0), instance(faulty.clone()));
        let reserved = quota.reserve(&Whose::tenant(&acme), &all, now() + SECOND).await;
        reserved.unwrap().settle(&Amounts::NONE);
        let flushed = drop_after_polls(quota.flush(now() + 60 * SECOND), polls).await;
        assert!(quota.flush(now() + 60 * SECOND).await, "after {polls} polls");
        assert!(has_all(&store).await, "after {polls} polls");
        if flushed == Some(true) {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn getting_ready_may_be_given_up() {
    let store = MemoryQuotaStore::new();
    let faulty = Faulty::new(&store);
    faulty.set(Fault::Slow(Duration::from_millis(5)));
    let instance = shared(faulty);
    let ready = drop_at_every_poll(|| instance.ready(), |_| {}).await;
    assert_eq!(ready.unwrap(), 1, "an instance that began again and again is one");
}

/// Implements no more than it must.
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

/// It answers at its first poll: dropped before, it has done nothing.
#[tokio::test(start_paused = true)]
async fn a_store_of_quotas_is_whole_wherever_it_is_dropped() {
    let memory = MemoryQuotaStore::new();
    let stores: [Arc<dyn QuotaStore>; 2] =
        [Arc::new(memory.clone()), Arc::new(Uncounting(memory.clone()))];
    let scopes = vec![StoredScope::new("acme", Level::Tenant, limits())];
    for (id, store) in (1..).zip(stores) {
        let demand = Arc::new(Demand::new(id, Amounts::tokens(100, 0), scopes.clone()));
        let reserved = drop_at_every_poll(|| store.reserve(&demand), |_| {}).await.unwrap();
        let Verdict::Granted(grant) = reserved else { panic!("{reserved:?}") };
        let settle = || store.settle(&grant, &Amounts::NONE);
        drop_at_every_poll(settle, |_| {}).await.unwrap();
        drop_at_every_poll(|| store.beat(1, SECOND), |_| {}).await.unwrap();
        let again = Arc::new(Demand::new(id + 10, Amounts::tokens(100, 0), scopes.clone()));
        let Verdict::Granted(grant) = store.reserve(&again).await.unwrap() else {
            panic!("it was settled and is not back")
        };
        store.settle(&grant, &Amounts::NONE).await.unwrap();
    }
}
