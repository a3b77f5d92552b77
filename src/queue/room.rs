//! How many calls run, and whether another may.

use std::time::Duration;

use crate::queue::adaptive::AdaptiveLimit;
use crate::sync::{AtomicUsize, Ordering};
use crate::time::Instant;

/// The calls that passed and have not ended, and what limits them.
pub(crate) struct Room {
    running: AtomicUsize,
    limit: Option<AdaptiveLimit>,
}

impl Room {
    pub(crate) fn new(limit: Option<AdaptiveLimit>) -> Self {
        Self { running: AtomicUsize::new(0), limit }
    }

    /// Keeps room for a call, if there is any. Either [`keep`](Self::keep) it or
    /// [`give_back`](Self::give_back): two who ask at once must not both get the last.
    pub(crate) fn reserve(&self) -> bool {
        let Some(limit) = &self.limit else { return true };
        let another = |running: usize| (running < limit.current()).then(|| running + 1);
        // Relaxed: the count stands alone.
        self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, another).is_ok()
    }

    /// A call has the room that was reserved. Without a limit it is counted only now.
    pub(crate) fn keep(&self) {
        if self.limit.is_none() {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// No call needed it after all; whether it was taken from others meanwhile.
    pub(crate) fn give_back(&self) -> bool {
        if self.limit.is_some() {
            self.leave();
        }
        self.limit.is_some()
    }

    /// A call has ended; whether none is left.
    pub(crate) fn leave(&self) -> bool {
        // AcqRel pairs with the Acquire in `running`.
        self.running.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn running(&self) -> usize {
        // Acquire pairs with the AcqRel in `leave`.
        self.running.load(Ordering::Acquire)
    }

    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit.as_ref().map(AdaptiveLimit::current)
    }

    /// An answer began so long after its call was made; whether there is more room for it.
    pub(crate) fn observe(&self, ttft: Duration, now: Instant) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.observe(ttft, self.running(), now))
    }
}
