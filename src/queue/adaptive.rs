//! A limit on running calls that finds itself.
//!
//! The gradient of Netflix's concurrency limits, on TTFT: while answers begin about as fast as they
//! do in the long run, the limit grows by about its square root; when they begin later, it shrinks in
//! proportion. The whole duration would not do: it measures how long answers are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BuildError;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::time::Instant;

/// How the limit adapts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdaptivePolicy {
    /// Where it starts. Default 20.
    pub initial: usize,
    /// It never falls below. Default 1.
    pub min: usize,
    /// It never rises above. Default 1,000.
    pub max: usize,
    /// TTFT may be so many times its long-run average before the limit shrinks. Default 1.5.
    pub tolerance: f64,
}

impl Default for AdaptivePolicy {
    fn default() -> Self {
        Self { initial: 20, min: 1, max: 1_000, tolerance: 1.5 }
    }
}

impl AdaptivePolicy {
    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        let wrong = |field, reason| Err(BuildError::new(field, reason));
        if self.min == 0 || self.min > self.initial || self.initial > self.max {
            return wrong("queue.adaptive", "0 < min <= initial <= max must hold");
        }
        if !(self.tolerance >= 1.0 && self.tolerance.is_finite()) {
            return wrong("queue.adaptive.tolerance", "must be at least 1");
        }
        Ok(())
    }
}

/// The limit, with what it has seen.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    policy: AdaptivePolicy,
    current: AtomicUsize,
    gradient: Mutex<Gradient>,
}

#[derive(Debug)]
struct Gradient {
    limit: f64,
    long: Option<f64>,
    /// Samples of the current step.
    sum: f64,
    samples: u32,
    since: Option<Instant>,
}

/// The limit moves at most so often, on at least so many samples.
const STEP: Duration = Duration::from_secs(1);
const MIN_SAMPLES: u32 = 10;

impl AdaptiveLimit {
    pub(crate) fn new(policy: AdaptivePolicy) -> Self {
        let limit = policy.initial as f64;
        let gradient = Gradient { limit, long: None, sum: 0.0, samples: 0, since: None };
        let current = AtomicUsize::new(policy.initial);
        Self { policy, current, gradient: Mutex::new(gradient) }
    }

    pub(crate) fn current(&self) -> usize {
        // Relaxed: the word stands alone.
        self.current.load(Ordering::Relaxed)
    }

    /// Whether the limit has risen.
    pub(crate) fn observe(&self, ttft: Duration, running: usize, now: Instant) -> bool {
        let mut gradient = self.gradient.lock();
        if !gradient.observe(ttft.as_secs_f64(), running, now, &self.policy) {
            return false;
        }
        let (before, limit) = (self.current(), gradient.limit as usize);
        // Relaxed: the word stands alone, and is written under the lock.
        self.current.store(limit, Ordering::Relaxed);
        limit > before
    }
}

impl Gradient {
    /// Whether the limit moved.
    fn observe(
        &mut self,
        ttft: f64,
        running: usize,
        now: Instant,
        policy: &AdaptivePolicy,
    ) -> bool {
        let since = *self.since.get_or_insert(now);
        self.sum += ttft;
        self.samples += 1;
        if self.samples < MIN_SAMPLES || now.saturating_duration_since(since) < STEP {
            return false;
        }
        let short = self.sum / f64::from(self.samples);
        (self.sum, self.samples, self.since) = (0.0, 0, Some(now));
        let long = self.long.map_or(short, |long| long.mul_add(0.99, short * 0.01));
        self.long = Some(long);
        self.step(short, long, running, policy);
        true
    }

    fn step(&mut self, short: f64, long: f64, running: usize, policy: &AdaptivePolicy) {
        let gradient = (policy.tolerance * long / short.max(1e-9)).clamp(0.5, 1.0);
        let target = self.limit * gradient + self.limit.sqrt();
        // A limit that is not used has not been tried: it does not grow.
        if target < self.limit || running as f64 >= self.limit / 2.0 {
            let smooth = self.limit.mul_add(0.8, target * 0.2);
            self.limit = smooth.clamp(policy.min as f64, policy.max as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    fn feed(limit: &AdaptiveLimit, ttft: f64, seconds: u64, from: Instant) -> Instant {
        let mut at = from;
        for _ in 0..seconds * 20 {
            at += Duration::from_millis(50);
            limit.observe(Duration::from_secs_f64(ttft), limit.current(), at);
        }
        at
    }

    #[test]
    fn it_grows_while_answers_begin_in_time_and_shrinks_when_they_do_not() {
        let limit = AdaptiveLimit::new(AdaptivePolicy::default());
        let at = feed(&limit, 0.5, 30, now());
        let grown = limit.current();
        assert!(grown > 30, "{grown}");
        feed(&limit, 5.0, 20, at);
        assert!(limit.current() < grown / 2, "{} of {grown}", limit.current());
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let policy = AdaptivePolicy { initial: 5, min: 4, max: 6, tolerance: 1.5 };
        let limit = AdaptiveLimit::new(policy);
        let at = feed(&limit, 0.5, 60, now());
        assert_eq!(limit.current(), 6);
        feed(&limit, 50.0, 20, at);
        assert_eq!(limit.current(), 4);
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let limit = AdaptiveLimit::new(AdaptivePolicy::default());
        let mut at = now();
        for _ in 0..2_000 {
            at += Duration::from_millis(50);
            limit.observe(Duration::from_millis(500), 1, at);
        }
        assert_eq!(limit.current(), 20);
    }
}
