//! Whether a failed attempt is followed by another one. Pure but for one atomic word.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::llm_client::Inner;
use crate::error::BuildError;
use crate::rng::Rng;
use crate::sync::{AtomicU64, Ordering};
use crate::time::Instant;

/// How often and how fast a client tries again.
///
/// Retries draw on one budget for the whole client, so that an outage is not answered with a
/// multiple of the traffic that met it: every success pays in a part of a retry, and a small rate
/// per second keeps quiet clients able to retry at all. Moving on after a rate limit or a refused
/// key costs nothing, since the refusal cost the backend nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The most attempts of one call, the first and a hedge included. A call that falls back to
    /// another model may make as many with that one. Default 3.
    pub max_attempts: u32,
    /// The longest pause before the first retry on an endpoint that was tried before; it doubles
    /// with every further one, and the actual pause is a random part of it. Default 250 ms.
    #[serde(with = "crate::duration")]
    pub base_delay: Duration,
    /// The bound of that doubling, and the longest a call waits for an endpoint to come back.
    /// Default 8 s.
    #[serde(with = "crate::duration")]
    pub max_delay: Duration,
    /// Retries that a success pays for, 0 to 1. Default 0.1.
    pub budget_ratio: f64,
    /// Retries per second that need no success. Default 1.
    pub budget_per_second: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(8),
            budget_ratio: 0.1,
            budget_per_second: 1.0,
        }
    }
}

impl RetryPolicy {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No retries at all.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// With the most attempts of one call.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// With the bounds of the pause before an endpoint is tried again.
    #[must_use]
    pub const fn delays(mut self, base: Duration, max: Duration) -> Self {
        self.base_delay = base;
        self.max_delay = max;
        self
    }

    /// With the client's retry budget: retries per success, and per second.
    #[must_use]
    pub const fn budget(mut self, ratio: f64, per_second: f64) -> Self {
        self.budget_ratio = ratio;
        self.budget_per_second = per_second;
        self
    }

    pub(super) fn validate(&self) -> Result<(), BuildError> {
        let Self { max_attempts, budget_ratio, budget_per_second, .. } = *self;
        if max_attempts == 0 {
            return Err(BuildError::new("retry.max_attempts", "must be at least 1"));
        }
        if !(0.0..=1.0).contains(&budget_ratio) {
            return Err(BuildError::new("retry.budget_ratio", "must be between 0 and 1"));
        }
        if budget_per_second != 0.0 && !(1e-6..=1e6).contains(&budget_per_second) {
            return Err(BuildError::new(
                "retry.budget_per_second",
                "must be 0, or between 0.000001 and 1,000,000",
            ));
        }
        Ok(())
    }

    /// The pause before retry number `retry` (from 1) on an endpoint that was tried before.
    pub(super) fn pause(&self, retry: u32, rng: &Rng) -> Duration {
        let doubled = self.base_delay.saturating_mul(1 << retry.saturating_sub(1).min(16));
        rng.jitter(doubled.min(self.max_delay))
    }
}

/// One retry, in the units of the budget.
const RETRY: u64 = 1_000_000;

/// How many retries the budget can hold: after a quiet time, a burst of failures may be retried
/// so often before it depends on successes.
const CAPACITY: u64 = 10 * RETRY;

/// The client's retry budget.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// Millionths of a retry, paid in by successes. Relaxed throughout: the word stands alone.
    earned: AtomicU64,
    /// Nanoseconds since `epoch` up to which the allowance per second is used up.
    spent_until: AtomicU64,
    epoch: Instant,
    per_success: u64,
    /// Nanoseconds of allowance that one retry uses up; `None` where there is no allowance.
    interval: Option<u64>,
}

impl RetryBudget {
    pub(super) fn new(policy: &RetryPolicy, epoch: Instant) -> Self {
        let rate = policy.budget_per_second;
        Self {
            earned: AtomicU64::new(0),
            spent_until: AtomicU64::new(0),
            epoch,
            per_success: (policy.budget_ratio * RETRY as f64) as u64,
            interval: (rate > 0.0).then(|| (1e9 / rate) as u64),
        }
    }

    /// Pays in for a success.
    pub(super) fn deposit(&self) {
        // A full purse is the common case, and need not be written.
        if self.earned.load(Ordering::Relaxed) < CAPACITY {
            let add = |earned: u64| Some((earned + self.per_success).min(CAPACITY));
            let _ = self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Takes out one retry; whether there was one.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let take = |earned: u64| earned.checked_sub(RETRY);
        self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            || self.withdraw_allowance(now)
    }

    /// Pays in a retry that was taken out and not made.
    fn put_back(&self) {
        let add = |earned: u64| Some((earned + RETRY).min(CAPACITY));
        let _ = self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// A bucket of ten retries that refills at the allowed rate, kept as the instant at which it
    /// will be full again.
    fn withdraw_allowance(&self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        let burst = interval.saturating_mul(CAPACITY / RETRY);
        let take = |until: u64| {
            let until = until.max(now).saturating_add(interval);
            (until - now <= burst).then_some(until)
        };
        self.spent_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A retry that was taken out of a client's budget. It goes back unless it is made.
#[must_use]
pub(super) struct Withdrawal {
    /// `None` once the retry is made.
    client: Option<Arc<Inner>>,
}

impl Withdrawal {
    /// Takes out one retry, if there is one.
    pub(super) fn from(client: &Arc<Inner>, now: Instant) -> Option<Self> {
        client.budget.withdraw(now).then(|| Self { client: Some(Arc::clone(client)) })
    }

    /// The retry is made.
    pub(super) fn spend(mut self) {
        self.client = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.budget.put_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    fn budget(ratio: f64, per_second: f64) -> (RetryBudget, Instant) {
        let start = now();
        (RetryBudget::new(&RetryPolicy::new().budget(ratio, per_second), start), start)
    }

    #[test]
    fn ten_successes_pay_for_one_retry() {
        let (budget, start) = budget(0.1, 0.0);
        assert!(!budget.withdraw(start));
        (0..10).for_each(|_| budget.deposit());
        assert!(budget.withdraw(start));
        assert!(!budget.withdraw(start));
    }

    #[test]
    fn the_budget_is_bounded() {
        let (budget, start) = budget(1.0, 0.0);
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|_| budget.withdraw(start)).count(), 10);
    }

    #[test]
    fn without_successes_retries_follow_the_rate() {
        let (budget, start) = budget(0.0, 2.0);
        assert_eq!((0..100).filter(|_| budget.withdraw(start)).count(), 10);
        assert!(!budget.withdraw(start + Duration::from_millis(499)));
        assert!(budget.withdraw(start + Duration::from_millis(500)));
        assert!(!budget.withdraw(start + Duration::from_millis(999)));
    }

    #[test]
    fn delays_are_configured_as_people_write_them() {
        let read = |text: &str| serde_json::from_str::<RetryPolicy>(text);
        let policy = read(r#"{"base_delay":"1.5s","max_delay":"1m"}"#).unwrap();
        let expected =
            RetryPolicy::new().delays(Duration::from_millis(1_500), Duration::from_secs(60));
        assert_eq!(policy, expected);
        assert_eq!(read(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
        assert!(read(r#"{"max_atempts":5}"#).is_err());
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let policy = RetryPolicy::new().delays(Duration::from_secs(1), Duration::from_secs(5));
        let rng = Rng::from_seed(5);
        let longest = |retry| (0..2_000).map(|_| policy.pause(retry, &rng)).max().unwrap();
        for (retry, bound) in [(1, 1), (2, 2), (3, 4), (4, 5), (u32::MAX, 5)] {
            let bound = Duration::from_secs(bound);
            assert!(longest(retry) <= bound && longest(retry) > bound.mul_f64(0.95));
        }
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use crate::time::now;
    use loom::thread;

    fn budget(ratio: f64, per_second: f64, start: Instant) -> RetryBudget {
        RetryBudget::new(&RetryPolicy::new().budget(ratio, per_second), start)
    }

    /// How many of two threads got a retry.
    fn withdrawn(budget: &Arc<RetryBudget>, at: Instant) -> usize {
        let other = {
            let budget = Arc::clone(budget);
            thread::spawn(move || budget.withdraw(at))
        };
        let own = budget.withdraw(at);
        usize::from(own) + usize::from(other.join().unwrap())
    }

    #[test]
    fn loom_a_single_retry_is_withdrawn_once() {
        let start = now();
        loom::model(move || {
            let budget = Arc::new(budget(1.0, 0.0, start));
            budget.deposit();
            assert_eq!(withdrawn(&budget, start), 1);
        });
    }

    #[test]
    fn loom_the_last_of_the_allowance_is_withdrawn_once() {
        let start = now();
        loom::model(move || {
            let budget = Arc::new(budget(0.0, 1.0, start));
            assert!((0..9).all(|_| budget.withdraw(start)));
            assert_eq!(withdrawn(&budget, start), 1);
        });
    }

    #[test]
    fn loom_no_deposit_is_lost_to_a_withdrawal() {
        let start = now();
        loom::model(move || {
            let budget = Arc::new(budget(1.0, 0.0, start));
            budget.deposit();
            let other = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.deposit())
            };
            assert!(budget.withdraw(start));
            other.join().unwrap();
            assert!(budget.withdraw(start) && !budget.withdraw(start));
        });
    }
}
