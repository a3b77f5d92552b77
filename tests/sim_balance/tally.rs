//! What is counted.

use std::fmt;
use std::time::Duration;

/// A caller waits so long and no longer.
pub(crate) const GOOD: Duration = Duration::from_secs(15);

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) answered: bool,
    pub(crate) took: Duration,
}

/// The calls of some runs together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: usize,
    /// How long the answered ones took, in order.
    took: Vec<Duration>,
}

impl Tally {
    pub(crate) fn extend(&mut self, run: Vec<Ended>) {
        self.calls += run.len();
        self.took.extend(run.into_iter().filter(|call| call.answered).map(|call| call.took));
        self.took.sort_unstable();
    }

    /// Calls that were answered in good time.
    pub(crate) fn good_pct(&self) -> f64 {
        self.share(self.took.partition_point(|took| *took <= GOOD))
    }

    /// Calls that were not: answered late, or never.
    pub(crate) fn missed_pct(&self) -> f64 {
        100.0 - self.good_pct()
    }

    pub(crate) fn failed_pct(&self) -> f64 {
        self.share(self.calls - self.took.len())
    }

    /// Seconds.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Seconds.
    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    fn quantile(&self, share: f64) -> f64 {
        let rank = (self.took.len() as f64 * share).ceil() as usize;
        self.took[rank.saturating_sub(1)].as_secs_f64()
    }

    fn share(&self, part: usize) -> f64 {
        part as f64 / self.calls as f64 * 100.0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, failed) = (self.good_pct(), self.failed_pct());
        let (p50, p99) = (self.p50(), self.p99());
        write!(f, "good_pct={good:.2} p50_s={p50:.1} p99_s={p99:.1} failed_pct={failed:.2}")
    }
}
