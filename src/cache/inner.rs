//! What all handles of a cache share, and what happens to an entry from its arrival to its end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cache::admission::{AdmissionPolicy, NotStored};
use crate::cache::answer::StoredAnswer;
use crate::cache::decision::{AnswerJudge, Decision, Rule, Verification, Verifier};
use crate::cache::embedding::Guarded;
use crate::cache::exchange::Origin;
use crate::cache::key::{Normalizer, PartitionKey, Secret};
use crate::cache::lexical::Words;
use crate::cache::lookup::{Ticket, difference};
use crate::cache::partitions::{Partitions, vector_bytes};
use crate::cache::search::GreyPair;
use crate::cache::shared::{FleetFlight, Tiers};
use crate::cache::stats::{Counters, count};
use crate::cache::store::{Entry, EntryId, MemoryStore, Removed};
use crate::embed::Embedding;
use crate::report::{HitId, Judged};
use crate::rng::Rng;
use crate::sync::Mutex;
use crate::time::{FAR_FUTURE, Instant, after};

/// What all handles of a cache share.
pub(crate) struct Inner {
    pub(crate) secret: Secret,
    pub(crate) policies: Policies,
    pub(crate) embedder: Option<Guarded>,
    pub(crate) judge: Option<Arc<dyn AnswerJudge>>,
    pub(crate) verifier: Option<(Arc<dyn Verifier>, Verification)>,
    pub(crate) rule: Mutex<Rule>,
    pub(crate) store: MemoryStore,
    pub(crate) partitions: Partitions,
    /// Pairs that wait for the verifier.
    pub(crate) grey: Mutex<VecDeque<GreyPair>>,
    /// The stores that instances share.
    pub(crate) tiers: OnceLock<Arc<Tiers>>,
    /// Where copies of shared answers came from.
    pub(crate) origins: Mutex<VecDeque<(EntryId, Origin)>>,
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
}

/// What was configured and never changes.
#[derive(Debug)]
pub(crate) struct Policies {
    pub(crate) normalizer: Normalizer,
    pub(crate) admission: AdmissionPolicy,
    pub(crate) decision: Decision,
    pub(crate) audits: f64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) flight: Option<FleetFlight>,
    /// Whether the secret is one that other instances may have.
    pub(crate) may_share: bool,
}

impl Inner {
    pub(crate) fn store(
        &self,
        mut ticket: Ticket,
        answer: StoredAnswer,
        now: Instant,
    ) -> Result<(), NotStored> {
        // Given back when the answer has lined up: who leads next finds it.
        let _lead = ticket.lead.take();
        let stored = self.admit(&ticket, &answer).and_then(|()| {
            self.learn_from_miss(&ticket, &answer);
            let answer = Arc::new(answer);
            self.share(&ticket, &answer);
            let expires = after(now, self.policies.ttl.unwrap_or(FAR_FUTURE));
            self.put(ticket, answer, now, expires)
        });
        count(if stored.is_ok() { &self.counters.stored } else { &self.counters.not_stored });
        stored
    }

    fn admit(&self, ticket: &Ticket, answer: &StoredAnswer) -> Result<(), NotStored> {
        if !ticket.writes {
            return Err(NotStored::ReadOnly);
        }
        self.policies.admission.admit(&answer.response, answer.bytes())
    }

    pub(crate) fn put(
        &self,
        ticket: Ticket,
        answer: Arc<StoredAnswer>,
        now: Instant,
        expires: Instant,
    ) -> Result<(), NotStored> {
        let Ticket { print, question, similar, tags, stamped, embedding, words, .. } = ticket;
        let partition = similar.then_some(print.partition);
        let bare = Entry::new(print.exact, print.scope, answer, expires);
        let entry = Entry { partition, question, tags, stamped, ..bare };
        let kept = self.keep(entry, embedding.as_ref(), words, now);
        kept.map(drop).ok_or(NotStored::TooLarge)
    }

    /// Stores an entry and lets similar questions find it; `None` when it can never fit.
    pub(crate) fn keep(
        &self,
        entry: Entry,
        vector: Option<&Embedding>,
        words: Option<Arc<Words>>,
        now: Instant,
    ) -> Option<EntryId> {
        let partition = entry.partition;
        let id = self.insert(entry, now)?;
        if let Some(partition) = partition {
            self.make_findable(partition, id, vector, words, now);
        }
        Some(id)
    }

    pub(crate) fn insert(&self, entry: Entry, now: Instant) -> Option<EntryId> {
        let mut removed = Vec::new();
        let id = self.store.insert(entry, now, &mut removed);
        self.forget(removed);
        id
    }

    /// Lets similar questions find an entry: at once where its vector is known, else when somebody
    /// looks.
    pub(crate) fn make_findable(
        &self,
        partition: PartitionKey,
        id: EntryId,
        vector: Option<&Embedding>,
        words: Option<Arc<Words>>,
        now: Instant,
    ) {
        match vector {
            Some(vector) => self.attach(partition, id, vector, words, now),
            None => {
                self.partitions.with(partition, |partition| partition.wait_for_vector(id));
                self.forget_if_gone(partition, id, now);
            }
        }
    }

    /// Gives an entry its vector and its words. Room for them is made first.
    pub(crate) fn attach(
        &self,
        key: PartitionKey,
        id: EntryId,
        vector: &Embedding,
        words: Option<Arc<Words>>,
        now: Instant,
    ) {
        let mut removed = Vec::new();
        let there = self.store.grow(id, vector_bytes(vector.dimensions()), words, &mut removed);
        self.forget(removed);
        if !there {
            return;
        }
        let fits = self.partitions.with(key, |partition| partition.insert(id, vector));
        if fits == Some(false) {
            count(&self.counters.embed_failures);
        }
        self.forget_if_gone(key, id, now);
    }

    /// An entry may be turned out between its arrival in the store and in its partition; whoever did
    /// that found nothing to forget.
    fn forget_if_gone(&self, partition: PartitionKey, id: EntryId, now: Instant) {
        if self.store.view(id, now, |_| ()).is_none() {
            self.partitions.remove(partition, id);
        }
    }

    pub(crate) fn forget(&self, removed: Vec<Removed>) -> usize {
        let many = removed.len();
        for removed in removed {
            self.counters.removed(removed);
            if let Some(partition) = removed.partition {
                self.partitions.remove(partition, removed.id);
            }
        }
        many
    }

    /// A fresh answer beside a stored one tells whether the questions were alike.
    fn learn_from_miss(&self, ticket: &Ticket, fresh: &StoredAnswer) {
        let (Some(judge), Some(neighbour)) = (&self.judge, &ticket.neighbour) else { return };
        let question = ticket.question.as_deref().unwrap_or_default();
        let stored = &neighbour.answer.response;
        if let Some(right) = judge.agree(question, &fresh.response, stored) {
            let pair = (neighbour.difference, neighbour.similarity);
            self.rule.lock().learn(ticket.print.scope, pair, right);
        }
    }

    /// Takes an answer back: altogether where it was wrong itself, else from all similar questions.
    /// Other instances are told.
    pub(crate) fn report_wrong(&self, hit: HitId, now: Instant) -> bool {
        let entry = EntryId(hit.entry);
        let origin = self.origin(entry);
        if let Some(origin) = origin {
            self.unshare(origin, matches!(hit.judged, Judged::Answer));
        }
        let here = self.report_wrong_here(entry, hit.judged, now);
        let known = here || origin.is_some();
        if known {
            count(&self.counters.reported_wrong);
        }
        known
    }

    fn report_wrong_here(&self, entry: EntryId, judged: Judged, now: Instant) -> bool {
        match judged {
            Judged::Answer => self.forget(self.store.remove(entry).into_iter().collect()) > 0,
            Judged::Pair { bits, words } => {
                let scope = self.store.view(entry, now, |entry| entry.scope);
                if let (Some(difference), Some(scope)) = (difference(words), scope) {
                    let pair = (difference, f32::from_bits(bits));
                    self.rule.lock().learn(scope, pair, false);
                }
                let partition = self.store.seclude(entry);
                partition.inspect(|partition| self.partitions.remove(*partition, entry));
                scope.is_some()
            }
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("policies", &self.policies).finish_non_exhaustive()
    }
}
