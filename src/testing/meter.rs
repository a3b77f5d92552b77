//! What a double saw: how many attempts it was sent, and what became of them.

use std::sync::Arc;

use parking_lot::Mutex;

/// The attempts a double was sent, by what became of them.
///
/// The counts are taken together, so that at any moment
/// `started == open + served + rate_limited + failed + cancelled`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Attempts that reached the double: calls of `complete` and of `stream` that were polled.
    pub started: u64,
    /// Attempts that are running: a future of `complete` or `stream` that has not returned, or a
    /// stream that has neither ended nor been dropped. Zero once a client has let go of everything.
    pub open: u64,
    /// The most that were ever open at once.
    pub peak_open: u64,
    /// Attempts whose whole answer was handed over, its terminal event included.
    pub served: u64,
    /// Attempts that were refused with a 429.
    pub rate_limited: u64,
    /// Attempts that failed in any other way, cuts and panics included.
    pub failed: u64,
    /// Attempts whose future or stream was dropped before it came to its end.
    pub cancelled: u64,
}

/// The shared counters of a double. One lock, held for a few additions, keeps them consistent.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    counts: Arc<Mutex<CallCounts>>,
}

impl Meter {
    pub(super) fn counts(&self) -> CallCounts {
        *self.counts.lock()
    }

    /// Counts a started attempt. It is open until the returned guard is dropped.
    pub(super) fn start(&self) -> OpenCall {
        let mut counts = self.counts.lock();
        counts.started += 1;
        counts.open += 1;
        counts.peak_open = counts.peak_open.max(counts.open);
        drop(counts);
        OpenCall { meter: self.clone(), fate: Fate::Cancelled }
    }
}

/// An attempt that is open. Travels with the future or the stream that does the work.
#[derive(Debug)]
pub(super) struct OpenCall {
    meter: Meter,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Served,
    RateLimited,
    Failed,
    Cancelled,
}

impl OpenCall {
    /// Settles what became of the attempt; unsettled ones count as cancelled.
    pub(super) fn settle(&mut self, fate: Fate) {
        self.fate = fate;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut counts = self.meter.counts.lock();
        counts.open -= 1;
        match self.fate {
            Fate::Served => counts.served += 1,
            Fate::RateLimited => counts.rate_limited += 1,
            Fate::Failed => counts.failed += 1,
            Fate::Cancelled => counts.cancelled += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_started_call_is_in_exactly_one_count() {
        let meter = Meter::default();
        let (mut served, mut failed, left) = (meter.start(), meter.start(), meter.start());
        served.settle(Fate::Served);
        failed.settle(Fate::Failed);
        drop((served, failed));

        let CallCounts { started, open, peak_open, served, rate_limited, failed, cancelled } =
            meter.counts();
        assert_eq!((started, open, peak_open), (3, 1, 3));
        assert_eq!((served, rate_limited, failed, cancelled), (1, 0, 1, 0));

        drop(left);
        assert_eq!((meter.counts().open, meter.counts().cancelled), (0, 1));
    }
}
