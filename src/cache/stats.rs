//! What a cache did, and what it saved.

use serde::Serialize;

use crate::cache::lookup::{Hit, Tier};
use crate::cache::store::{Gone, Removed};
use crate::sync::{AtomicU64, Ordering};
use crate::usage::Cost;

/// What a cache did since it was built, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that were served because the very same was asked before.
    pub exact_hits: u64,
    /// Calls that were served because something similar was asked before.
    pub similar_hits: u64,
    /// Calls that were served what another instance had fetched for the very same.
    pub shared_hits: u64,
    /// Calls that were served what another instance had fetched for something similar.
    pub shared_similar_hits: u64,
    /// Calls that found nothing.
    pub misses: u64,
    /// Calls that the cache left alone.
    pub bypassed: u64,
    /// Similar questions that were not served because their words conflict.
    pub conflicts: u64,
    /// Would-be hits that were fetched to learn from.
    pub audits: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Answers that were not kept.
    pub not_stored: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Entries that were too old.
    pub expired: u64,
    /// Entries that were invalidated or reported wrong.
    pub invalidated: u64,
    /// Times the embedder failed, came too late, panicked or gave vectors that do not fit.
    pub embed_failures: u64,
    /// Hits that were reported wrong.
    pub reported_wrong: u64,
    /// Changes that were made in the shared stores.
    pub shared_writes: u64,
    /// Changes that the shared stores failed to make.
    pub shared_writes_failed: u64,
    /// Changes to the shared stores that were given up because too many were waiting.
    pub shared_writes_dropped: u64,
    /// What the hits would have cost, as far as prices are known.
    pub saved: Cost,
    /// Entries held.
    pub entries: usize,
    /// Bytes they count for, vectors included.
    pub bytes: usize,
    /// Partitions that similar questions are looked for in.
    pub partitions: usize,
    /// Entries that similar questions find.
    pub vectors: usize,
}

/// The running counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) exact_hits: AtomicU64,
    pub(crate) similar_hits: AtomicU64,
    pub(crate) shared_hits: AtomicU64,
    pub(crate) shared_similar_hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) bypassed: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) audits: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) not_stored: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) invalidated: AtomicU64,
    pub(crate) embed_failures: AtomicU64,
    pub(crate) reported_wrong: AtomicU64,
    pub(crate) saved: AtomicU64,
}

/// Relaxed throughout: counts are read for people, nothing is ordered by them.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// A search came to this.
    pub(crate) fn searched(&self, found: Option<&Hit>) {
        let Some(hit) = found else { return count(&self.misses) };
        count(match (hit.tier, hit.is_exact()) {
            (Tier::Local, true) => &self.exact_hits,
            (Tier::Local, false) => &self.similar_hits,
            (Tier::Shared, true) => &self.shared_hits,
            (Tier::Shared, false) => &self.shared_similar_hits,
        });
        self.saved(hit.answer.cost);
    }

    pub(crate) fn saved(&self, cost: Option<Cost>) {
        if let Some(cost) = cost {
            self.saved.fetch_add(cost.nano_dollars(), Ordering::Relaxed);
        }
    }

    pub(crate) fn removed(&self, removed: Removed) {
        match removed.why {
            Gone::Evicted => count(&self.evicted),
            Gone::Expired => count(&self.expired),
            Gone::Invalidated => count(&self.invalidated),
            Gone::Replaced => {}
        }
    }

    pub(crate) fn read(&self) -> CacheStats {
        let of = read;
        CacheStats {
            exact_hits: of(&self.exact_hits),
            similar_hits: of(&self.similar_hits),
            shared_hits: of(&self.shared_hits),
            shared_similar_hits: of(&self.shared_similar_hits),
            misses: of(&self.misses),
            bypassed: of(&self.bypassed),
            conflicts: of(&self.conflicts),
            audits: of(&self.audits),
            stored: of(&self.stored),
            not_stored: of(&self.not_stored),
            evicted: of(&self.evicted),
            expired: of(&self.expired),
            invalidated: of(&self.invalidated),
            embed_failures: of(&self.embed_failures),
            reported_wrong: of(&self.reported_wrong),
            saved: Cost::from_nano_dollars(of(&self.saved)),
            ..CacheStats::default()
        }
    }
}
