//! The suites for shared stores pass the references, and name the law that another one breaks.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use evenkeel::cache::shared::{
    CacheStore, MemoryCacheStore, MemoryVectorIndex, Neighbour, SharedAnswer, SharedEntry,
    SharedKey, VectorIndex,
};
use evenkeel::remote::StoreError;
use evenkeel::testing::conformance;
use evenkeel::{Embedding, async_trait};
use futures::FutureExt as _;

use crate::doubles::seconds;

type Answered<T> = Result<T, StoreError>;

/// What a store does otherwise than the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    None,
    ForgetsScopes,
    CutsAnswers,
    KeepsForEver,
    KeepsTheFirst,
    RemovesNothing,
    AdvancesNothing,
    CountsFromOne,
    LetsAllLead,
    ReleasesForAll,
    RenewsForAll,
    ForgetsLeases,
    SearchesEverywhere,
    SearchesTheNearestOnly,
    TakesAll,
    InReverse,
}

struct Peculiar {
    habit: Habit,
    store: MemoryCacheStore,
    index: MemoryVectorIndex,
}

impl Peculiar {
    fn new(habit: Habit) -> Self {
        Self { habit, store: MemoryCacheStore::default(), index: MemoryVectorIndex::default() }
    }

    fn has(&self, habit: Habit) -> bool {
        self.habit == habit
    }

    fn key(&self, key: &SharedKey) -> SharedKey {
        SharedKey::new(if self.has(Habit::ForgetsScopes) { 0 } else { key.scope }, key.exact)
    }
}

#[async_trait]
impl CacheStore for Peculiar {
    async fn get(&self, key: &SharedKey) -> Answered<Option<SharedAnswer>> {
        let mut found = self.store.get(&self.key(key)).await?;
        if self.has(Habit::CutsAnswers) {
            found.iter_mut().for_each(|answer| answer.stamps.truncate(1));
        }
        Ok(found)
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Answered<()> {
        let key = self.key(key);
        if self.has(Habit::KeepsTheFirst) && self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let mut answer = answer.clone();
        if self.has(Habit::KeepsForEver) {
            answer.expires_in = Duration::MAX;
        }
        self.store.put(&key, &answer).await
    }

    async fn remove(&self, key: &SharedKey) -> Answered<()> {
        match self.habit {
            Habit::RemovesNothing => Ok(()),
            _ => self.store.remove(&self.key(key)).await,
        }
    }

    async fn epochs(&self, labels: &[u128]) -> Answered<Vec<u64>> {
        match self.habit {
            Habit::CountsFromOne => Ok(vec![1; labels.len()]),
            _ => self.store.epochs(labels).await,
        }
    }

    async fn advance(&self, label: u128) -> Answered<u64> {
        match self.habit {
            Habit::AdvancesNothing => Ok(self.store.epochs(&[label]).await?[0] + 1),
            Habit::CountsFromOne => Ok(1),
            _ => self.store.advance(label).await,
        }
    }

    async fn try_lead(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        let leads = self.store.try_lead(key, token, lease).await?;
        Ok(leads || self.has(Habit::LetsAllLead))
    }

    async fn renew(&self, key: &SharedKey, token: u128, lease: Duration) -> Answered<bool> {
        match self.habit {
            Habit::ForgetsLeases => Ok(true),
            Habit::RenewsForAll => {
                self.store.renew(key, token, lease).await?;
                Ok(true)
            }
            _ => self.store.renew(key, token, lease).await,
        }
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Answered<()> {
        if self.has(Habit::ReleasesForAll) {
            // Whoever has it has a small token, or the one that differs in a bit.
            for token in (0..20).chain([token ^ 1, token ^ (1 << 127)]) {
                self.store.release(key, token).await?;
            }
        }
        self.store.release(key, token).await
    }
}

#[async_trait]
impl VectorIndex for Peculiar {
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Answered<Vec<Neighbour>> {
        let at_least = if self.has(Habit::TakesAll) { -1.0 } else { at_least };
        let everywhere =
            matches!(self.habit, Habit::SearchesEverywhere | Habit::SearchesTheNearestOnly);
        let place = if everywhere { 0 } else { partition };
        let mut found = self.index.nearest(place, vector, at_least).await?;
        match self.habit {
            Habit::InReverse => found.reverse(),
            // Of the nearest of all, those of the partition.
            Habit::SearchesTheNearestOnly => found.retain(|near| {
                near.entry.answer.stamps.iter().any(|stamp| stamp.label == partition)
            }),
            _ => {}
        }
        for near in found.iter_mut().filter(|_| everywhere) {
            near.entry.partition = partition;
            near.entry.answer.stamps.retain(|stamp| stamp.epoch != PLACE);
        }
        Ok(found)
    }

    async fn insert(&self, entry: &SharedEntry) -> Answered<()> {
        let mut entry = entry.clone();
        let place = evenkeel::cache::shared::Stamp::new(entry.partition, PLACE);
        match self.habit {
            Habit::SearchesEverywhere | Habit::SearchesTheNearestOnly => {
                entry.answer.stamps.push(place);
                entry.partition = 0;
            }
            Habit::KeepsForEver => entry.answer.expires_in = seconds(1_000_000),
            _ => {}
        }
        self.index.insert(&entry).await
    }

    async fn remove(&self, partition: u128, exact: u128) -> Answered<()> {
        match self.habit {
            Habit::RemovesNothing => Ok(()),
            Habit::SearchesEverywhere | Habit::SearchesTheNearestOnly => {
                VectorIndex::remove(&self.index, 0, exact).await
            }
            _ => VectorIndex::remove(&self.index, partition, exact).await,
        }
    }

    async fn clean_up(&self) -> Answered<u64> {
        self.index.clean_up().await
    }
}

/// Marks the partition of an entry that lies among those of all others.
const PLACE: u64 = 77;

async fn broken(suite: impl Future<Output = ()>) -> Option<String> {
    let panic = AssertUnwindSafe(suite).catch_unwind().await.err()?;
    panic.downcast_ref::<String>().cloned()
}

#[tokio::test(start_paused = true)]
async fn the_store_suite_passes_the_reference_and_names_what_another_one_breaks() {
    let suite =
        |habit| broken(conformance::cache::store(move || async move { Peculiar::new(habit) }));
    assert_eq!(suite(Habit::None).await, None);
    for (habit, law) in [
        (Habit::CutsAnswers, "what was put is got, as it was"),
        (Habit::ForgetsScopes, "a key is its scope and its request"),
        (Habit::KeepsTheFirst, "what was put is got, as it was"),
        (Habit::KeepsForEver, "an answer expires, and says before what is left"),
        (Habit::RemovesNothing, "what was removed is gone"),
        (Habit::AdvancesNothing, "an epoch lasts until it is advanced"),
        (Habit::CountsFromOne, "no epoch comes twice"),
        (Habit::LetsAllLead, "one leads at a time"),
        (Habit::ForgetsLeases, "a lead ends with its lease, and not while it is renewed"),
        (Habit::RenewsForAll, "a lead ends with its lease, and not while it is renewed"),
        (Habit::ReleasesForAll, "nobody gives back another one's lead"),
    ] {
        let found = suite(habit).await.unwrap_or_default();
        assert!(found.contains(law), "{habit:?}: {found}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_index_suite_passes_the_reference_and_names_what_another_one_breaks() {
    let suite =
        |habit| broken(conformance::index::store(3, move || async move { Peculiar::new(habit) }));
    assert_eq!(suite(Habit::None).await, None);
    for (habit, law) in [
        (Habit::TakesAll, "the nearest come first, and none below the least"),
        (Habit::InReverse, "the nearest come first, and none below the least"),
        (Habit::SearchesEverywhere, "nothing is found beyond the partition"),
        (Habit::SearchesTheNearestOnly, "a few in a partition are found among many elsewhere"),
        (Habit::KeepsForEver, "an entry expires, and says before what is left"),
        (Habit::RemovesNothing, "what was removed is gone"),
    ] {
        let found = suite(habit).await.unwrap_or_default();
        assert!(found.contains(law), "{habit:?}: {found}");
    }
}
