//! What a client's calls came to since it was built.

use std::time::Duration;

use crate::client::caller::Ending;
use crate::histogram::Histogram;
use crate::sync::{AtomicU64, Ordering};

/// The running counts of a client. Relaxed throughout: they are read for people, nothing is ordered
/// by them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) failed: Count,
    pub(super) cancelled: Count,
    pub(super) retries: Count,
    pub(super) hedges: Count,
    pub(super) fallbacks: Count,
    pub(super) quota_granted: Count,
    pub(super) quota_denied: Count,
    pub(super) queue_refused: Count,
    pub(super) queue_waits: Histogram,
    pub(super) ttft: Histogram,
    /// Its count is that of the calls that were answered.
    pub(super) total: Histogram,
}

impl Tally {
    /// Counts a call that has ended.
    pub(super) fn ended(&self, end: &Ending<'_>) {
        match end.outcome {
            "success" => self.total.record(end.total),
            "cancelled" => self.cancelled.one(),
            _ => self.failed.one(),
        }
        if let Some(ttft) = end.ttft {
            self.ttft.record(ttft);
        }
    }

    /// Counts a wait in the queue.
    pub(super) fn queued(&self, waited: Duration) {
        self.queue_waits.record(waited);
    }
}

/// A count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
