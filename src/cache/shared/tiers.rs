//! The shared stores as the cache asks them: each operation with its deadline, and what comes back
//! looked at again.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;

use super::answer::{SharedAnswer, SharedKey, Stamp};
use super::contract::CacheStore;
use super::epochs::{Epochs, Stamped};
use super::index::{SharedEntry, VectorIndex};
use super::lead::FleetFlight;
use super::writes::{Job, Writes};
use crate::cache::stats::{count, read};
use crate::embed::Embedding;
use crate::event::Emitter;
use crate::remote::{BreakerState, Guarded, StoreError};
use crate::rng::Rng;
use crate::time::{Instant, now};

/// What a call waits for at the most. A look into the store takes under a millisecond next door.
const READ_DEADLINE: Duration = Duration::from_millis(15);
const SEARCH_DEADLINE: Duration = Duration::from_millis(50);
/// No call waits for it.
const WRITE_DEADLINE: Duration = Duration::from_millis(250);

/// How many neighbours are looked at, however many an index finds.
const A_HANDFUL: usize = 8;

/// The shared stores of a cache.
///
/// Reads and writes have a breaker each: a store that is full refuses every write and answers every
/// read.
pub(crate) struct Tiers {
    store: Arc<dyn CacheStore>,
    reads: Guarded,
    changes: Guarded,
    index: Option<SharedIndex>,
    flight: Option<FleetFlight>,
    /// The label that is advanced with every other one.
    generation: u128,
    epochs: Epochs,
    /// Never from a seed: instances that were given the same one would take each other for itself.
    tokens: Rng,
    pub(super) writes: Writes,
}

struct SharedIndex {
    index: Arc<dyn VectorIndex>,
    reads: Guarded,
    changes: Guarded,
}

/// What a look into the store of answers gives.
pub(crate) struct Read {
    /// An answer that may be served, with the epochs of its stamps.
    pub(crate) found: Option<(SharedAnswer, Stamped)>,
    /// What the labels that were asked for are in, for the answer to come.
    pub(crate) stamped: Stamped,
}

/// How often was written, and not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) written: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
}

impl Tiers {
    pub(crate) fn new(
        store: Arc<dyn CacheStore>,
        index: Option<Arc<dyn VectorIndex>>,
        flight: Option<FleetFlight>,
        generation: u128,
    ) -> Self {
        let index = index.map(|index| SharedIndex {
            index,
            reads: Guarded::new("index", SEARCH_DEADLINE),
            changes: Guarded::new("index_writes", WRITE_DEADLINE),
        });
        Self {
            store,
            reads: Guarded::new("cache", READ_DEADLINE),
            changes: Guarded::new("cache_writes", WRITE_DEADLINE),
            index,
            flight,
            generation,
            epochs: Epochs::new(),
            tokens: Rng::from_entropy(),
            writes: Writes::default(),
        }
    }

    pub(crate) fn observe(&self, emitter: &Emitter) {
        self.guarded().for_each(|store| store.observe(emitter));
    }

    /// How its stores stand, by their names.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&'static str, BreakerState)> {
        self.guarded().map(|store| (store.name(), store.state()))
    }

    fn guarded(&self) -> impl Iterator<Item = &Guarded> {
        let index = self.index.iter().flat_map(|index| [&index.reads, &index.changes]);
        [&self.reads, &self.changes].into_iter().chain(index)
    }

    pub(crate) const fn has_index(&self) -> bool {
        self.index.is_some()
    }

    pub(crate) const fn flight(&self) -> Option<FleetFlight> {
        self.flight
    }

    pub(crate) fn written(&self) -> Written {
        let Writes { written, failed, dropped, .. } = &self.writes;
        Written { written: read(written), failed: read(failed), dropped: read(dropped) }
    }
}

/// Answers and epochs.
impl Tiers {
    /// Whether what was found in `round` still holds. Has it asked for in good time.
    pub(crate) fn trusts(self: &Arc<Self>, round: u64, at: Instant) -> bool {
        if self.epochs.wants_reading(at) {
            self.write_later(Job::Refresh);
        }
        self.epochs.holds(round, at)
    }

    /// The epochs of `labels` when they were last asked for, where all were in this round.
    pub(crate) fn last_known(&self, labels: &[u128]) -> Option<Stamped> {
        self.epochs.of(labels)
    }

    /// The epochs of `labels`, from memory where they are known.
    pub(crate) async fn stamps(&self, labels: &[u128]) -> Result<Stamped, StoreError> {
        let began = now();
        if self.epochs.is_fresh(began)
            && let Some(stamped) = self.epochs.of(labels)
        {
            return Ok(stamped);
        }
        let answer = self.reads.ask(self.ask_stamps(labels)).await;
        answer.inspect_err(|_| self.epochs.lost(began))
    }

    /// Looks for the answer under a key, if it is wanted, and for the epochs of `labels`.
    ///
    /// An answer that makes no sense is none, and neither is one with a label that was advanced since.
    pub(crate) async fn read(
        &self,
        key: &SharedKey,
        labels: &[u128],
        wanted: bool,
    ) -> Result<Read, StoreError> {
        if !wanted {
            let stamped = self.stamps(labels).await?;
            return Ok(Read { found: None, stamped });
        }
        let began = now();
        let look = async {
            let (found, stamped) = join(self.ask_answer(key), self.ask_stamps(labels)).await;
            match found {
                Err(error) if error.is_failure() => Err(error),
                found => Ok((found, stamped?)),
            }
        };
        let (found, stamped) =
            self.reads.ask(look).await.inspect_err(|_| self.epochs.lost(began))?;
        let found = match found {
            Ok(found) => found,
            // The store is well, so that the fresh answer may take its place; but it is told of.
            Err(garbled) => self.reads.ask(ready(Err(garbled))).await.unwrap_or_default(),
        };
        Ok(Read { found, stamped })
    }

    async fn ask_answer(
        &self,
        key: &SharedKey,
    ) -> Result<Option<(SharedAnswer, Stamped)>, StoreError> {
        let Some(answer) = self.store.get(key).await? else { return Ok(None) };
        if answer.scope != key.scope {
            return Err(StoreError::Garbled("the answer is of another scope".into()));
        }
        let labels: Vec<u128> = labels_of(&answer).collect();
        let stamped = self.ask_stamps(&labels).await?;
        Ok(is_current(&answer, &stamped.epochs).then_some((answer, stamped)))
    }

    async fn ask_stamps(&self, labels: &[u128]) -> Result<Stamped, StoreError> {
        let began = now();
        if !self.epochs.is_fresh(began) {
            // First: a change between the two readings is then seen at the next one.
            let read = self.store.epochs(&[self.generation]).await?;
            let [generation] = read[..] else { return Err(miscounted()) };
            self.epochs.read(generation, began);
        }
        if let Some(stamped) = self.epochs.of(labels) {
            return Ok(stamped);
        }
        let round = self.epochs.round();
        let epochs = self.store.epochs(labels).await?;
        if epochs.len() != labels.len() {
            return Err(miscounted());
        }
        self.epochs.learn(round, labels, &epochs);
        Ok(Stamped { epochs: epochs.into(), round })
    }

    /// Takes back, everywhere, what carries a label.
    pub(crate) async fn take_back(&self, label: u128) -> Result<(), StoreError> {
        let began = now();
        let advance = async {
            self.store.advance(label).await?;
            // Last: whoever sees this one change finds the other one changed.
            self.store.advance(self.generation).await
        };
        let generation = self.changes.ask(advance).await?;
        self.epochs.read(generation, began);
        Ok(())
    }
}

/// The index.
impl Tiers {
    /// The entries near `vector` that may be served in `scope`, with the epochs of their stamps.
    pub(crate) async fn nearest(
        &self,
        partition: u128,
        scope: u128,
        vector: &Embedding,
        floor: f32,
    ) -> Result<Vec<(SharedEntry, Stamped)>, StoreError> {
        let Some(SharedIndex { index, reads, .. }) = &self.index else { return Ok(Vec::new()) };
        let search = async {
            let found = index.nearest(partition, vector, floor).await?;
            let fits = found
                .iter()
                .all(|near| near.entry.partition == partition && near.entry.answer.scope == scope);
            match fits {
                true => Ok(found),
                false => Err(StoreError::Garbled("an entry is of another partition".into())),
            }
        };
        let found = reads.ask(search).await?.into_iter().take(A_HANDFUL);
        let entries: Vec<SharedEntry> = found.map(|near| near.entry).collect();
        let labels: Vec<u128> = entries.iter().flat_map(|it| labels_of(&it.answer)).collect();
        let stamped = self.stamps(&labels).await?;
        let mut epochs = &stamped.epochs[..];
        let mut current = |entry: SharedEntry| {
            let (its, others) = epochs.split_at(entry.answer.stamps.len());
            epochs = others;
            let stamped = Stamped { epochs: its.into(), round: stamped.round };
            is_current(&entry.answer, its).then_some((entry, stamped))
        };
        Ok(entries.into_iter().filter_map(&mut current).collect())
    }
}

/// Leads.
impl Tiers {
    /// One that no other try of any instance has.
    pub(super) fn token(&self) -> u128 {
        u128::from(self.tokens.next_u64()) << 64 | u128::from(self.tokens.next_u64())
    }

    pub(super) async fn try_lead(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.reads.ask(self.store.try_lead(key, token, lease)).await
    }

    pub(super) async fn renew(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.changes.ask(self.store.renew(key, token, lease)).await
    }
}

/// Writes.
impl Tiers {
    pub(super) async fn write(&self, job: Job) {
        let Self { store, changes, .. } = self;
        let done = match (&job, &self.index) {
            (Job::Put(key, answer), _) => changes.ask(store.put(key, answer)).await,
            (Job::Remove(key), _) => changes.ask(store.remove(key)).await,
            (Job::Release(key, token), _) => changes.ask(store.release(key, *token)).await,
            (Job::Insert(entry), Some(it)) => it.changes.ask(it.index.insert(entry)).await,
            (Job::Withdraw(partition, exact), Some(it)) => {
                it.changes.ask(it.index.remove(*partition, *exact)).await
            }
            (Job::Insert(_) | Job::Withdraw(..), None) => return,
            (Job::Refresh, _) => return self.refresh().await,
        };
        count(if done.is_ok() { &self.writes.written } else { &self.writes.failed });
    }

    async fn refresh(&self) {
        let began = now();
        let read = self.reads.ask(self.store.epochs(&[self.generation])).await;
        match read.as_deref() {
            Ok([generation]) => self.epochs.read(*generation, began),
            _ => self.epochs.lost(began),
        }
    }
}

fn labels_of(answer: &SharedAnswer) -> impl Iterator<Item = u128> {
    answer.stamps.iter().map(|stamp| stamp.label)
}

fn is_current(answer: &SharedAnswer, epochs: &[u64]) -> bool {
    answer.stamps.iter().map(|stamp| stamp.epoch).eq(epochs.iter().copied())
}

/// The labels of an answer at the epochs they were in.
pub(crate) fn stamps_of(labels: &[u128], stamped: &Stamped) -> Vec<Stamp> {
    let pairs = labels.iter().zip(&stamped.epochs);
    pairs.map(|(label, epoch)| Stamp::new(*label, *epoch)).collect()
}

fn miscounted() -> StoreError {
    StoreError::Garbled("not one epoch for each label".into())
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("index", &self.index.is_some())
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}
