//! Where similar questions are looked for: one index for each partition.

use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::cache::key::PartitionKey;
use crate::cache::store::{EntryId, Identity};
use crate::embed::Embedding;
use crate::sync::{AtomicBool, Mutex, Ordering};
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
    index: ArcSwapOption<ExactIndex>,
    /// With how often they waited in vain. Not more than there are entries.
    waiting: Mutex<BTreeMap<EntryId, u8>>,
    strangers: Mutex<Strangers>,
    /// Whether there are any; read without the lock, by every search.
    met_strangers: AtomicBool,
}

/// Vectors of other dimensions than the index, one after another. A few are an embedder's mistake; when
/// they persist it has changed, and the index with it.
#[derive(Debug, Default)]
struct Strangers {
    dimensions: usize,
    questions: usize,
    /// Stored meanwhile, without a place in the index.
    entries: Vec<EntryId>,
}

/// So many questions in a row, and the index goes by their dimensions.
const PERSISTENT: usize = 8;

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
        let Some(index) = self.index_for(vector.dimensions()) else { return false };
        if index.insert(id.0, vector).is_err() {
            self.strangers.lock().remember(id, vector.dimensions());
            return false;
        }
        // Another may have taken the place of the index meanwhile.
        let stands = self.index.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, &index));
        if !stands {
            self.wait_for_vector(id);
        }
        stands
    }

    /// The index; a new one where there is none, or an empty one of other dimensions.
    fn index_for(&self, dimensions: usize) -> Option<Arc<ExactIndex>> {
        let usable =
            |index: &Arc<ExactIndex>| index.dimensions() == dimensions || !index.is_empty();
        if let Some(index) = self.index.load_full().filter(usable) {
            return Some(index);
        }
        // One at a time; whoever was first has made it.
        let _alone = self.strangers.lock();
        if let Some(index) = self.index.load_full().filter(usable) {
            return Some(index);
        }
        let index = Arc::new(ExactIndex::new(dimensions).ok()?);
        self.index.store(Some(Arc::clone(&index)));
        Some(index)
    }

    pub(crate) fn remove(&self, id: EntryId) {
        if let Some(index) = &*self.index.load() {
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
        let index = self.index.load_full().filter(|index| !index.is_empty());
        let Some(index) = index else { return Some(Vec::new()) };
        match index.top_above(vector, most, floor) {
            Ok(found) => {
                self.welcome();
                Some(found)
            }
            Err(_) => {
                self.meet(vector.dimensions());
                None
            }
        }
    }

    /// A question of the index's dimensions: those of others were a mistake.
    fn welcome(&self) {
        // Relaxed: a question more or less in a row decides nothing that has to be in order.
        if self.met_strangers.swap(false, Ordering::Relaxed) {
            *self.strangers.lock() = Strangers::default();
        }
    }

    /// A question of other dimensions.
    fn meet(&self, dimensions: usize) {
        let mut strangers = self.strangers.lock();
        self.met_strangers.store(true, Ordering::Relaxed);
        strangers.count(dimensions);
        if strangers.questions >= PERSISTENT {
            self.begin_again(std::mem::take(&mut *strangers));
        }
    }

    /// An empty index of other dimensions. All entries wait for new vectors.
    fn begin_again(&self, strangers: Strangers) {
        let Ok(index) = ExactIndex::new(strangers.dimensions) else { return };
        // Whoever removes an entry from the old index finds it here afterwards.
        let mut waiting = self.waiting.lock();
        let old = self.index.swap(Some(Arc::new(index)));
        let ids = old.into_iter().flat_map(|index| index.keys()).map(EntryId);
        waiting.extend(ids.chain(strangers.entries).map(|id| (id, 0)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.vectors() == 0 && self.waiting.lock().is_empty()
    }

    fn vectors(&self) -> usize {
        self.index.load().as_ref().map_or(0, |index| index.len())
    }
}

impl Strangers {
    fn count(&mut self, dimensions: usize) {
        if self.dimensions != dimensions {
            *self = Self { dimensions, ..Self::default() };
        }
        self.questions += 1;
    }

    fn remember(&mut self, id: EntryId, dimensions: usize) {
        if self.dimensions == dimensions && self.entries.len() < PERSISTENT {
            self.entries.push(id);
        }
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
