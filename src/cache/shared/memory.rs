//! The reference store of answers: in this process, under one lock.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answer::{SharedAnswer, SharedKey};
use super::contract::CacheStore;
use crate::remote::StoreError;
use crate::sync::Mutex;
use crate::time::{Instant, after, now};

/// The reference store: in this process, under one lock. Made to be read and to test against.
///
/// Cheap to clone; clones share everything. It holds as many bytes of answers as it was made for, and
/// those that expire first make room.
#[derive(Debug, Clone)]
pub struct MemoryCacheStore {
    state: Arc<Mutex<State>>,
}

struct State {
    answers: HashMap<SharedKey, (Instant, SharedAnswer)>,
    by_end: BTreeSet<(Instant, SharedKey)>,
    bytes: usize,
    most_bytes: usize,
    epochs: HashMap<u128, u64>,
    /// The last number that was given to an epoch.
    last_epoch: u64,
    leads: HashMap<SharedKey, Lead>,
}

struct Lead {
    token: u128,
    until: Instant,
}

/// More labels are forgotten all together, which costs the answers that carry them.
const MOST_LABELS: usize = 1 << 16;

/// More keys are not led at once.
const MOST_LEADS: usize = 1 << 16;

impl Default for MemoryCacheStore {
    /// For 64 MiB of answers.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl MemoryCacheStore {
    /// An empty store for so many bytes of answers.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        let state = State {
            answers: HashMap::new(),
            by_end: BTreeSet::new(),
            bytes: 0,
            most_bytes,
            epochs: HashMap::new(),
            last_epoch: 0,
            leads: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// How many answers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().answers.len()
    }

    /// Whether it holds no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the answers it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

#[async_trait]
impl CacheStore for MemoryCacheStore {
    async fn get(&self, key: &SharedKey) -> Result<Option<SharedAnswer>, StoreError> {
        Ok(self.state.lock().get(key, now()))
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Result<(), StoreError> {
        self.state.lock().put(*key, answer, now())
    }

    async fn remove(&self, key: &SharedKey) -> Result<(), StoreError> {
        self.state.lock().remove(key);
        Ok(())
    }

    async fn epochs(&self, labels: &[u128]) -> Result<Vec<u64>, StoreError> {
        let mut state = self.state.lock();
        Ok(labels.iter().map(|label| state.epoch(*label)).collect())
    }

    async fn advance(&self, label: u128) -> Result<u64, StoreError> {
        Ok(self.state.lock().begin_epoch(label))
    }

    async fn try_lead(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.state.lock().try_lead(*key, token, lease, now())
    }

    async fn renew(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.state.lock().renew(key, token, lease, now()))
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.leads.get(key).is_some_and(|lead| lead.token == token) {
            state.leads.remove(key);
        }
        Ok(())
    }
}

impl State {
    fn get(&mut self, key: &SharedKey, at: Instant) -> Option<SharedAnswer> {
        let (end, answer) = self.answers.get(key)?;
        if *end <= at {
            self.remove(key);
            return None;
        }
        Some(answer.clone().expires_in(*end - at))
    }

    fn put(
        &mut self,
        key: SharedKey,
        answer: &SharedAnswer,
        at: Instant,
    ) -> Result<(), StoreError> {
        let bytes = answer.bytes();
        if bytes > self.most_bytes {
            return Err(StoreError::Refused("the answer is larger than the store".into()));
        }
        self.remove(&key);
        while self.bytes + bytes > self.most_bytes {
            let Some((_, first)) = self.by_end.first().copied() else { break };
            self.remove(&first);
        }
        let end = after(at, answer.expires_in);
        self.bytes += bytes;
        self.by_end.insert((end, key));
        self.answers.insert(key, (end, answer.clone()));
        Ok(())
    }

    fn remove(&mut self, key: &SharedKey) {
        if let Some((end, answer)) = self.answers.remove(key) {
            self.by_end.remove(&(end, *key));
            self.bytes -= answer.bytes();
        }
    }

    fn epoch(&mut self, label: u128) -> u64 {
        match self.epochs.get(&label) {
            Some(epoch) => *epoch,
            None => self.begin_epoch(label),
        }
    }

    fn begin_epoch(&mut self, label: u128) -> u64 {
        if self.epochs.len() >= MOST_LABELS {
            self.epochs.clear();
        }
        // One counter for all labels: a label that was forgotten gets a number it never had.
        self.last_epoch += 1;
        self.epochs.insert(label, self.last_epoch);
        self.last_epoch
    }

    fn try_lead(
        &mut self,
        key: SharedKey,
        token: u128,
        lease: Duration,
        at: Instant,
    ) -> Result<bool, StoreError> {
        if let Some(lead) = self.leads.get(&key).filter(|lead| lead.until > at) {
            return Ok(lead.token == token);
        }
        if self.leads.len() >= MOST_LEADS {
            self.leads.retain(|_, lead| lead.until > at);
        }
        if self.leads.len() >= MOST_LEADS {
            return Err(StoreError::Refused("too many keys are led".into()));
        }
        self.leads.insert(key, Lead { token, until: after(at, lease) });
        Ok(true)
    }

    fn renew(&mut self, key: &SharedKey, token: u128, lease: Duration, at: Instant) -> bool {
        let lead = self.leads.get_mut(key).filter(|lead| lead.token == token && lead.until > at);
        lead.map(|lead| lead.until = after(at, lease)).is_some()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("answers", &self.answers.len())
            .field("bytes", &self.bytes)
            .field("labels", &self.epochs.len())
            .field("leads", &self.leads.len())
            .finish_non_exhaustive()
    }
}
