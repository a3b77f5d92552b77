//! The reference index: in this process, under one lock, looked through from end to end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::index::{Neighbour, SharedEntry, VectorIndex};
use crate::embed::Embedding;
use crate::remote::StoreError;
use crate::sync::Mutex;
use crate::time::{Instant, after, now};
use crate::vector::dot;

/// The reference index: in this process, under one lock, looked through from end to end. Made to be
/// read and to test against; [`ExactIndex`](crate::vector::ExactIndex) is the one that is fast.
///
/// Cheap to clone; clones share everything. It holds as many entries as it was made for, and those
/// that expire first make room.
#[derive(Debug, Clone)]
pub struct MemoryVectorIndex {
    state: Arc<Mutex<State>>,
}

/// Partition and question.
type Place = (u128, u128);

struct State {
    entries: BTreeMap<Place, (Instant, SharedEntry)>,
    most: usize,
}

/// How many are found at the most.
const A_HANDFUL: usize = 8;

impl Default for MemoryVectorIndex {
    /// For 10,000 entries.
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl MemoryVectorIndex {
    /// An empty index for so many entries.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { entries: BTreeMap::new(), most })) }
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl VectorIndex for MemoryVectorIndex {
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Result<Vec<Neighbour>, StoreError> {
        Ok(self.state.lock().nearest(partition, vector, at_least, now()))
    }

    async fn insert(&self, entry: &SharedEntry) -> Result<(), StoreError> {
        self.state.lock().insert(entry, now());
        Ok(())
    }

    async fn remove(&self, partition: u128, exact: u128) -> Result<(), StoreError> {
        self.state.lock().entries.remove(&(partition, exact));
        Ok(())
    }

    async fn clean_up(&self) -> Result<u64, StoreError> {
        let at = now();
        let mut state = self.state.lock();
        let before = state.entries.len();
        state.entries.retain(|_, (end, _)| *end > at);
        Ok((before - state.entries.len()) as u64)
    }
}

impl State {
    fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
        at: Instant,
    ) -> Vec<Neighbour> {
        let here = self.entries.range((partition, 0)..=(partition, u128::MAX));
        let mut found: Vec<Neighbour> = here
            .filter(|(_, (end, _))| *end > at)
            .filter_map(|(_, (end, entry))| {
                let similarity = dot(entry.vector.as_slice(), vector.as_slice()).ok()?;
                let left = entry.answer.clone().expires_in(*end - at);
                let entry = SharedEntry { answer: left, ..entry.clone() };
                (similarity >= at_least).then_some(Neighbour { similarity, entry })
            })
            .collect();
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(A_HANDFUL);
        found
    }

    fn insert(&mut self, entry: &SharedEntry, at: Instant) {
        let place = (entry.partition, entry.exact);
        self.entries.remove(&place);
        while self.entries.len() >= self.most.max(1) {
            let first = self.entries.iter().min_by_key(|(_, (end, _))| *end);
            let Some((first, _)) = first else { break };
            let first = *first;
            self.entries.remove(&first);
        }
        self.entries.insert(place, (after(at, entry.answer.expires_in), entry.clone()));
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}
