//! Shared stores that do as they are told, and instances over them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::cache::shared::{
    CacheStore, MemoryCacheStore, MemoryVectorIndex, Neighbour, SharedAnswer, SharedEntry,
    SharedKey, VectorIndex,
};
use evenkeel::remote::StoreError;
use evenkeel::{Embedding, async_trait};
use parking_lot::Mutex;

/// What a store does with what it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    Hangs,
    Fails,
    /// Reads are not understood.
    Garbles,
    /// Answers say that they are of another scope, entries that they are of another partition.
    Misplaces,
    /// Everything takes 5 ms, and 7 ms more to take the lead.
    TakesItsTime,
    /// Reads are answered, changes hang.
    WritesHang,
}

/// The references under a mood. Clones share.
#[derive(Clone, Default)]
pub(crate) struct Moody {
    pub(crate) store: MemoryCacheStore,
    pub(crate) index: MemoryVectorIndex,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
    inserted: Arc<Mutex<Vec<SharedEntry>>>,
}

impl Moody {
    pub(crate) fn of(mood: Mood) -> Self {
        let moody = Self::default();
        moody.turns(mood);
        moody
    }

    /// The same stores, in a mood of its own.
    pub(crate) fn apart(&self) -> Self {
        Self { store: self.store.clone(), index: self.index.clone(), ..Self::default() }
    }

    pub(crate) fn turns(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// How often it was asked anything.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// What was inserted into the index.
    pub(crate) fn entries(&self) -> Vec<SharedEntry> {
        self.inserted.lock().clone()
    }

    fn mood(&self) -> Mood {
        *self.mood.lock()
    }

    async fn read<T>(&self, answer: impl Future<Output = Answered<T>>) -> Answered<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.mood() {
            Mood::Hangs => pending().await,
            Mood::Fails => Err(StoreError::Unreachable("refused".into())),
            Mood::Garbles => Err(StoreError::Garbled("truncated".into())),
            Mood::TakesItsTime => {
                evenkeel::time::sleep_until(evenkeel::time::now() + 5 * MS).await;
                answer.await
            }
            _ => answer.await,
        }
    }

    async fn change<T>(&self, answer: impl Future<Output = Answered<T>>) -> Answered<T> {
        match self.mood() {
            Mood::WritesHang => pending().await,
            Mood::Garbles => answer.await,
            _ => self.read(answer).await,
        }
    }
}

type Answered<T> = Result<T, StoreError>;

#[async_trait]
impl CacheStore for Moody {
    async fn get(&self, key: &SharedKey) -> Answered<Option<SharedAnswer>> {
        let mut found = self.read(self.store.get(key)).await?;
        if let (Some(found), Mood::Misplaces) = (&mut found, self.mood()) {
            found.scope ^= 1;
        }
        Ok(found)
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Answered<()> {
        self.change(self.store.put(key, answer)).await
    }

    async fn remove(&self, key: &SharedKey) -> Answered<()> {
        self.change(self.store.remove(key)).await
    }

    async fn epochs(&self, labels: &[u128]) -> Answered<Vec<u64>> {
        match self.mood() {
            Mood::Garbles => self.store.epochs(labels).await,
            _ => self.read(self.store.epochs(labels)).await,
        }
    }

    async fn advance(&self, label: u128) -> Answered<u64> {
        self.change(self.store.advance(label)).await
    }

    async fn try_lead(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        if self.mood() == Mood::TakesItsTime {
            evenkeel::time::sleep_until(evenkeel::time::now() + 7 * MS).await;
        }
        self.change(self.store.try_lead(key, token, lease)).await
    }

    async fn renew(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        self.change(self.store.renew(key, token, lease)).await
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Answered<()> {
        self.change(self.store.release(key, token)).await
    }
}

#[async_trait]
impl VectorIndex for Moody {
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Answered<Vec<Neighbour>> {
        let mut found = self.read(self.index.nearest(partition, vector, at_least)).await?;
        if self.mood() == Mood::Misplaces {
            found.iter_mut().for_each(|near| near.entry.partition ^= 1);
        }
        Ok(found)
    }

    async fn insert(&self, entry: &SharedEntry) -> Answered<()> {
        self.inserted.lock().push(entry.clone());
        self.change(self.index.insert(entry)).await
    }

    async fn remove(&self, partition: u128, exact: u128) -> Answered<()> {
        self.change(VectorIndex::remove(&self.index, partition, exact)).await
    }

    async fn clean_up(&self) -> Answered<u64> {
        self.change(self.index.clean_up()).await
    }
}

/// Lets what waits to be written be written, by stores that do not wait themselves.
pub(crate) async fn settle() {
    for _ in 0..24 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass, and what waits for it happen.
pub(crate) async fn pass(time: Duration) {
    evenkeel::time::sleep_until(evenkeel::time::now() + time).await;
    settle().await;
}

pub(crate) const MS: Duration = Duration::from_millis(1);
