//! Where similar questions are looked for: one index for each partition.

use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::cache::key::PartitionKey;
use crate::cache::store::{EntryId, Identity};
use crate::embed::Embedding;
use crate::sync::Mutex;
use crate::vector::{ExactIndex, Match};

/// What an index keeps for a vector beside its coordinates.
const VECTOR_OVERHEAD: usize = 128;

/// What a vector counts for.
pub(crate) const fn vector_bytes(dimensions: usize) -> usize {
    dimensions * size_of::<f32>() + VECTOR_OVERHEAD
}

/// All partitions that hold something, at most so many.
#[derive(Debug)]
pub(crate) struct Partitions {
    map: DashMap<PartitionKey, Arc<Partition>, BuildHasherDefault<Identity>>,
    most: usize,
}

/// The questions that only differ in their last user text.
///
/// A question that was stored has no vector yet: it waits until somebody looks for a similar one.
/// Conversations that nobody repeats are therefore never embedded.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    index: OnceLock<ExactIndex>,
    /// With how often they waited in vain. Not more than there are entries.
    waiting: Mutex<BTreeMap<EntryId, u8>>,
}

impl Partitions {
    pub(crate) fn new(most: usize) -> Self {
        Self { map: DashMap::default(), most }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn vectors(&self) -> usize {
        self.map.iter().map(|partition| partition.vectors()).sum()
    }

    pub(crate) fn get(&self, key: PartitionKey) -> Option<Arc<Partition>> {
        self.map.get(&key).map(|partition| Arc::clone(&partition))
    }

    /// Works on a partition, a new one if need be; `None` where there are too many. Until it returns
    /// the partition cannot be dropped for being empty.
    pub(crate) fn with<T>(
        &self,
        key: PartitionKey,
        work: impl FnOnce(&Partition) -> T,
    ) -> Option<T> {
        if let Some(partition) = self.map.get(&key) {
            return Some(work(&partition));
        }
        // Racing newcomers may overshoot by one a thread.
        let full = self.map.len() >= self.most;
        let partition = match self.map.entry(key) {
            Entry::Occupied(partition) => partition.into_ref(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(place) => place.insert(Arc::default()),
        };
        Some(work(&partition))
    }

    /// Forgets an entry, and its partition when that was the last.
    pub(crate) fn remove(&self, key: PartitionKey, id: EntryId) {
        if let Some(partition) = self.map.get(&key) {
            partition.remove(id);
        }
        self.map.remove_if(&key, |_, partition| partition.is_empty());
    }
}

impl Partition {
    pub(crate) fn wait_for_vector(&self, id: EntryId) {
        self.waiting.lock().insert(id, 0);
    }

    /// Borrows some entries that wait for a vector.
    pub(crate) fn borrow_waiting(self: &Arc<Self>, most: usize) -> Waiting {
        let mut waiting = self.waiting.lock();
        let entries = std::iter::from_fn(|| waiting.pop_first()).take(most).collect();
        Waiting { partition: Arc::clone(self), entries }
    }

    /// Whether the entry has a vector now: it has none when the index is of other dimensions.
    pub(crate) fn insert(&self, id: EntryId, vector: &Embedding) -> bool {
        let index = match self.index.get() {
            Some(index) => index,
            None => {
                let Ok(index) = ExactIndex::new(vector.dimensions()) else { return false };
                self.index.get_or_init(|| index)
            }
        };
        index.insert(id.0, vector).is_ok()
    }

    pub(crate) fn remove(&self, id: EntryId) {
        if let Some(index) = self.index.get() {
            index.remove(id.0);
        }
        self.waiting.lock().remove(&id);
    }

    /// The nearest entries, nearest first; `None` when the vector is of other dimensions.
    pub(crate) fn nearest(
        &self,
        vector: &Embedding,
        most: usize,
        floor: f32,
    ) -> Option<Vec<Match>> {
        match self.index.get() {
            Some(index) if !index.is_empty() => index.top_above(vector, most, floor).ok(),
            _ => Some(Vec::new()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.vectors() == 0 && self.waiting.lock().is_empty()
    }

    fn vectors(&self) -> usize {
        self.index.get().map_or(0, ExactIndex::len)
    }
}

/// Entries that wait for a vector, borrowed to get one. Dropped, they wait on: a lookup may be
/// cancelled, an embedder may fail. After a few times they are given up, for one text that no embedder
/// takes must not keep the others waiting.
#[derive(Debug)]
pub(crate) struct Waiting {
    partition: Arc<Partition>,
    entries: Vec<(EntryId, u8)>,
}

/// How often an entry waits for a vector in vain.
const MOST_ATTEMPTS: u8 = 3;

impl Waiting {
    pub(crate) fn ids(&self) -> impl Iterator<Item = EntryId> {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// They have their vectors, or have left.
    pub(crate) fn served(mut self) {
        self.entries.clear();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let again = self.entries.drain(..).filter(|(_, attempts)| attempts + 1 < MOST_ATTEMPTS);
        let again = again.map(|(id, attempts)| (id, attempts + 1));
        self.partition.waiting.lock().extend(again);
    }
}
