//! The laws of a [`QuotaStore`], as a suite to run against one's own.

use std::time::Duration;

use crate::quota::{MeterCharge, QuotaStore, Receipt, StoreRefusal};
use crate::rate::Rate;
use crate::time::{after, now, sleep_until};

/// Runs every law against `store`. Meters from `first` on are used, a few dozen of them; they should
/// be unused. Takes about two minutes of the clock, which may be paused.
///
/// `slack` is how far the store's clock may be off ours, and how long it may take to answer: zero for
/// a store in memory on a paused clock.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
/// # .block_on(async {
/// use std::time::Duration;
/// use evenkeel::quota::MemoryQuotaStore;
///
/// evenkeel::testing::quota_store(&MemoryQuotaStore::new(), 0, Duration::ZERO).await;
/// # });
/// ```
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn quota_store(store: &dyn QuotaStore, first: u128, slack: Duration) {
    let laws = Laws { store, slack };
    laws.a_refusal_says_exactly_when(first).await;
    laws.never_is_not_not_yet(first + 1).await;
    laws.all_are_taken_or_none(first + 2).await;
    laws.what_has_drained_is_not_given_back_again(first + 5).await;
    laws.earlier_refunds_move_later_reservations(first + 6).await;
    laws.a_settlement_counts_once(first + 7).await;
    laws.debts_are_paid_first(first + 8).await;
}

struct Laws<'a> {
    store: &'a dyn QuotaStore,
    slack: Duration,
}

/// Sixty a minute, sixty at once: one a second.
fn charge(meter: u128, amount: u64) -> MeterCharge {
    let rate = Rate::new(60, Duration::from_secs(60), 60).expect("an ordinary rate");
    MeterCharge::new(meter, rate, amount)
}

const SECOND: Duration = Duration::from_secs(1);

impl Laws<'_> {
    async fn take(&self, meter: u128, amount: u64) -> Receipt {
        let taken = self.store.reserve(&[charge(meter, amount)]).await;
        taken.unwrap_or_else(|refusal| panic!("{amount} should fit: {refusal}"))
    }

    /// How long until `amount` fits.
    async fn wait_for(&self, meter: u128, amount: u64) -> Duration {
        match self.store.reserve(&[charge(meter, amount)]).await {
            Err(StoreRefusal::NotYet { index: 0, retry_after }) => retry_after,
            other => panic!("{amount} should not fit yet: {other:?}"),
        }
    }

    async fn settle(&self, receipt: &Receipt, actual: u64) {
        let settled = self.store.settle(receipt, &[actual]).await;
        settled.unwrap_or_else(|refusal| panic!("a settlement failed: {refusal}"));
    }

    fn is_about(&self, law: &str, seen: Duration, expected: Duration) {
        // A drain that is kept a hair low shows as a nanosecond.
        let slack = self.slack + Duration::from_nanos(1);
        assert!(seen.abs_diff(expected) <= slack, "{law}: {seen:?} instead of {expected:?}");
    }

    async fn a_refusal_says_exactly_when(&self, meter: u128) {
        let _all = self.take(meter, 60).await;
        let wait = self.wait_for(meter, 10).await;
        self.is_about("a refusal says exactly when", wait, 10 * SECOND);
        sleep_until(after(now(), wait + self.slack)).await;
        let _fits = self.take(meter, 10).await;
    }

    async fn never_is_not_not_yet(&self, meter: u128) {
        match self.store.reserve(&[charge(meter, 61)]).await {
            Err(StoreRefusal::Never { index: 0, burst: 60 }) => {}
            other => panic!("never is not not yet: {other:?}"),
        }
        let _untouched = self.take(meter, 60).await;
    }

    async fn all_are_taken_or_none(&self, meter: u128) {
        let (a, b, c) = (meter, meter + 1, meter + 2);
        let _full = self.take(c, 60).await;
        let all = [charge(a, 20), charge(b, 20), charge(c, 20)];
        match self.store.reserve(&all).await {
            Err(StoreRefusal::NotYet { index: 2, retry_after }) => {
                self.is_about("the meter without room is named", retry_after, 20 * SECOND);
            }
            other => panic!("all are taken or none: {other:?}"),
        }
        let _first = self.take(a, 60).await;
        let _second = self.take(b, 60).await;
    }

    async fn what_has_drained_is_not_given_back_again(&self, meter: u128) {
        let first = self.take(meter, 60).await;
        sleep_until(after(now(), 45 * SECOND)).await;
        self.settle(&first, 0).await;
        // Full again, and not fuller.
        let _all = self.take(meter, 60).await;
        let wait = self.wait_for(meter, 1).await;
        self.is_about("what has drained is not given back again", wait, SECOND);
    }

    async fn earlier_refunds_move_later_reservations(&self, meter: u128) {
        let first = self.take(meter, 30).await;
        let second = self.take(meter, 30).await;
        self.settle(&first, 0).await;
        sleep_until(after(now(), 30 * SECOND)).await;
        // By now the second one has drained: it lay where the first had been.
        let _third = self.take(meter, 30).await;
        self.settle(&second, 0).await;
        let wait = self.wait_for(meter, 31).await;
        self.is_about("earlier refunds move later reservations", wait, SECOND);
    }

    async fn a_settlement_counts_once(&self, meter: u128) {
        let first = self.take(meter, 40).await;
        let _second = self.take(meter, 20).await;
        for _ in 0..3 {
            self.settle(&first, 30).await;
        }
        let wait = self.wait_for(meter, 11).await;
        self.is_about("a settlement counts once", wait, SECOND);
    }

    async fn debts_are_paid_first(&self, meter: u128) {
        let first = self.take(meter, 10).await;
        self.settle(&first, 90).await;
        let wait = self.wait_for(meter, 1).await;
        self.is_about("debts are paid first", wait, 31 * SECOND);
    }
}
