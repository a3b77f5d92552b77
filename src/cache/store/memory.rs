//! The shards behind their locks.

use std::sync::Arc;

use super::shard::{Entry, EntryId, Found, Gone, MOST_PLACES, MOST_SHARDS, Removed, Shard};
use super::shares::Held;
use crate::cache::key::{ExactKey, PartitionKey};
use crate::cache::lexical::Words;
use crate::cache::shared::Stamped;
use crate::sync::Mutex;
use crate::time::Instant;

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    /// The part of both that one scope has at most when others want room.
    pub(crate) share: f64,
}

/// A shard is worth its lock from so many entries on, and must not make large answers homeless.
const FEWEST_ENTRIES_OF_A_SHARD: usize = 1024;
const FEWEST_BYTES_OF_A_SHARD: usize = 16 << 20;

/// Enough that a hundred threads seldom meet.
const ENOUGH_SHARDS: usize = 16;

/// All entries of a cache.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl MemoryStore {
    /// The largest number of entries that can be told apart.
    pub(crate) const MOST_ENTRIES: usize = MOST_PLACES;

    pub(crate) fn new(bounds: Bounds) -> Self {
        let shards = shard_count(bounds);
        let of = |part: f64| Held {
            entries: ((bounds.entries / shards) as f64 * part) as usize,
            bytes: ((bounds.bytes / shards) as f64 * part) as usize,
        };
        let most = Held { entries: bounds.entries / shards, bytes: bounds.bytes / shards };
        let shard = |number| Mutex::new(Shard::new(number as u8, most, of(bounds.share)));
        Self { shards: (0..shards).map(shard).collect() }
    }

    pub(crate) fn get(&self, key: ExactKey, now: Instant) -> Found {
        self.of_key(key).lock().get(key, now)
    }

    /// Looks at an entry under its shard's lock; `None` when it has left or expired.
    pub(crate) fn view<T>(
        &self,
        id: EntryId,
        now: Instant,
        look: impl FnOnce(&Entry) -> T,
    ) -> Option<T> {
        self.of_id(id)?.lock().entry(id, now).map(look)
    }

    /// Counts a use.
    pub(crate) fn touch(&self, id: EntryId) {
        if let Some(shard) = self.of_id(id) {
            shard.lock().touch(id);
        }
    }

    /// Notes that an entry was not taken back.
    pub(crate) fn restamp(&self, id: EntryId, stamped: Stamped) {
        if let Some(shard) = self.of_id(id) {
            shard.lock().restamp(id, stamped);
        }
    }

    /// Stores an entry. What had to leave is added to `removed`; `None` when it can never fit.
    pub(crate) fn insert(
        &self,
        mut entry: Entry,
        now: Instant,
        removed: &mut Vec<Removed>,
    ) -> Option<EntryId> {
        // Before the lock is taken: it reads the whole answer.
        entry.bytes = entry.weight();
        self.of_key(entry.key).lock().insert(entry, now, removed)
    }

    /// Counts a vector of `bytes` for an entry, and gives it its words. False when it has left.
    pub(crate) fn grow(
        &self,
        id: EntryId,
        bytes: usize,
        words: Option<Arc<Words>>,
        removed: &mut Vec<Removed>,
    ) -> bool {
        self.of_id(id).is_some_and(|shard| shard.lock().grow(id, bytes, words, removed))
    }

    /// Keeps an entry for the very same question only. The partition it leaves.
    pub(crate) fn seclude(&self, id: EntryId) -> Option<PartitionKey> {
        self.of_id(id)?.lock().seclude(id)
    }

    pub(crate) fn remove(&self, id: EntryId) -> Option<Removed> {
        self.of_id(id)?.lock().remove(id)
    }

    pub(crate) fn remove_expired(&self, now: Instant) -> Vec<Removed> {
        self.remove_where(Gone::Expired, |entry| entry.expires <= now)
    }

    pub(crate) fn remove_tagged(&self, tag: u128) -> Vec<Removed> {
        self.remove_where(Gone::Invalidated, |entry| entry.tags.contains(&tag))
    }

    pub(crate) fn remove_all(&self) -> Vec<Removed> {
        self.remove_where(Gone::Invalidated, |_| true)
    }

    fn remove_where(&self, why: Gone, doomed: impl Fn(&Entry) -> bool) -> Vec<Removed> {
        let mut removed = Vec::new();
        for shard in &self.shards {
            shard.lock().remove_where(why, &mut removed, &doomed);
        }
        removed
    }

    /// Copies of all entries, shard by shard.
    pub(crate) fn entries(&self) -> Vec<(EntryId, Entry)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().entries().map(|(id, entry)| (id, entry.clone())));
        }
        all
    }

    pub(crate) fn totals(&self) -> Totals {
        self.shards.iter().map(|shard| shard.lock().held()).fold(Totals::default(), |sum, held| {
            Totals { entries: sum.entries + held.entries, bytes: sum.bytes + held.bytes }
        })
    }

    /// By the high half of the key; the map inside goes by the low one.
    fn of_key(&self, key: ExactKey) -> &Mutex<Shard> {
        &self.shards[(key.0 >> 64) as usize % self.shards.len()]
    }

    fn of_id(&self, id: EntryId) -> Option<&Mutex<Shard>> {
        self.shards.get(id.shard())
    }
}

fn shard_count(bounds: Bounds) -> usize {
    let by_entries = bounds.entries / FEWEST_ENTRIES_OF_A_SHARD;
    let by_bytes = bounds.bytes / FEWEST_BYTES_OF_A_SHARD;
    by_entries.min(by_bytes).clamp(1, ENOUGH_SHARDS.min(MOST_SHARDS))
}
