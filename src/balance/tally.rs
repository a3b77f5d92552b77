//! What an endpoint's attempts came to since it was added.

use std::time::Duration;

use serde::Serialize;

use crate::histogram::{Distribution, Histogram};
use crate::outcome::End;
use crate::sync::{AtomicU64, Ordering};
use crate::usage::{Cost, Usage};

/// What an endpoint's attempts came to since it was added, as far as a client made them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EndpointTotals {
    /// Attempts that ended with a whole answer.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts whose caller left, or that lost to another one.
    pub cancelled: u64,
    /// From an attempt's start to its first content.
    pub ttft: Distribution,
    /// From an attempt's start to its end, of those that succeeded.
    pub total: Distribution,
    /// Input tokens that were charged, estimates included.
    pub input_tokens: u64,
    /// Output tokens that were charged, estimates included.
    pub output_tokens: u64,
    /// What they cost in nano-dollars, as far as prices are known.
    pub cost: Cost,
}

/// The running counts. Relaxed throughout: they are read for people, nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    failed: AtomicU64,
    cancelled: AtomicU64,
    ttft: Histogram,
    /// Its count is that of the attempts that succeeded.
    total: Histogram,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cost: AtomicU64,
}

impl Tally {
    /// Counts an attempt.
    pub(crate) fn ended(&self, end: End, ttft: Option<Duration>, elapsed: Duration) {
        match end {
            End::Success => self.total.record(elapsed),
            End::Failed(_) | End::Broken(_) => add(&self.failed, 1),
            End::Abandoned => add(&self.cancelled, 1),
        }
        if let Some(ttft) = ttft {
            self.ttft.record(ttft);
        }
    }

    /// Counts what an attempt is charged for.
    pub(crate) fn charged(&self, usage: &Usage, cost: Option<Cost>) {
        add(&self.input_tokens, usage.input_tokens.unwrap_or(0));
        add(&self.output_tokens, usage.output_tokens.unwrap_or(0));
        add(&self.cost, cost.unwrap_or_default().nano_dollars());
    }

    pub(crate) fn read(&self) -> EndpointTotals {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let total = self.total.read();
        EndpointTotals {
            succeeded: total.count(),
            failed: of(&self.failed),
            cancelled: of(&self.cancelled),
            ttft: self.ttft.read(),
            total,
            input_tokens: of(&self.input_tokens),
            output_tokens: of(&self.output_tokens),
            cost: Cost::from_nano_dollars(of(&self.cost)),
        }
    }
}

/// A write to a line that others read is spared where there is nothing to add.
fn add(counter: &AtomicU64, amount: u64) {
    if amount > 0 {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
