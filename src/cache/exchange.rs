//! What the cache takes from the stores that instances share, and what it gives them.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::answer::StoredAnswer;
use crate::cache::inner::Inner;
use crate::cache::key::{ExactKey, Fingerprint, PartitionKey, ScopeKey};
use crate::cache::lexical::Words;
use crate::cache::lookup::{Hit, HitKind, Ticket, Tier};
use crate::cache::shared::{
    Job, Lead, SharedAnswer, SharedEntry, SharedKey, Stamped, Tiers, pause, stamps_of,
};
use crate::cache::store::{Entry, EntryId, Found};
use crate::embed::Embedding;
use crate::remote::StoreError;
use crate::report::{HitId, Judged};
use crate::time::{FAR_FUTURE, Instant, after, now, sleep_until};

/// How long a copy of a shared answer is kept here at the most.
const COPIED_FOR: Duration = Duration::from_secs(60);

/// Of how many copies is known where they came from; the oldest are forgotten.
const MOST_ORIGINS: usize = 1024;

/// Where an entry of this cache lies in the shared stores.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    key: SharedKey,
    partition: Option<PartitionKey>,
}

/// An answer of another instance, to be kept here for a while.
struct Copy<'a> {
    key: ExactKey,
    scope: ScopeKey,
    partition: Option<PartitionKey>,
    question: Option<Arc<str>>,
    vector: Option<&'a Embedding>,
    words: Option<Arc<Words>>,
    answer: SharedAnswer,
    stamped: Stamped,
    origin: Origin,
}

const fn key_of(print: &Fingerprint) -> SharedKey {
    SharedKey::new(print.scope.0, print.exact.0)
}

/// What is taken.
impl Inner {
    pub(crate) fn tiers(&self) -> Option<&Arc<Tiers>> {
        self.tiers.get()
    }

    /// Whether what was found in `round` was not taken back since.
    pub(crate) fn trusts(&self, round: u64, at: Instant) -> bool {
        self.tiers().is_none_or(|tiers| tiers.trusts(round, at))
    }

    /// Looks for the answer to the very same request elsewhere, then for the one to a similar request.
    pub(crate) async fn find(&self, ticket: &mut Ticket) -> Option<Hit> {
        match self.search_shared(ticket).await {
            None => self.search(ticket).await,
            found => found,
        }
    }

    /// The answer to the very same request: the one kept here, if it was not taken back elsewhere,
    /// or the one of another instance.
    async fn search_shared(&self, ticket: &mut Ticket) -> Option<Hit> {
        let tiers = self.tiers()?;
        if let Some(kept) = ticket.kept.take()
            && let Some(hit) = self.confirm_kept(kept).await
        {
            return Some(hit);
        }
        self.read_shared(tiers, ticket).await.ok()?
    }

    async fn confirm_kept(&self, id: EntryId) -> Option<Hit> {
        if !self.is_current(id).await {
            return None;
        }
        let answer = self.store.view(id, now(), |entry| Arc::clone(&entry.answer))?;
        let id = HitId { entry: id.0, judged: Judged::Answer };
        Some(Hit { answer, how: HitKind::Exact, tier: Tier::Local, id })
    }

    /// Whether an entry is there and was not taken back, as far as can be found out. One that was is
    /// removed. Who cannot be asked takes nothing back.
    pub(crate) async fn is_current(&self, id: EntryId) -> bool {
        let Some(tiers) = self.tiers() else { return true };
        let look = |entry: &Entry| (entry.tags.clone(), entry.stamped.clone());
        let Some((labels, stamped)) = self.store.view(id, now(), look) else { return false };
        let round = stamped.as_ref().map_or(0, |stamped| stamped.round);
        if tiers.trusts(round, now()) {
            return true;
        }
        let Ok(today) = tiers.stamps(&labels).await else { return true };
        // What was stored while nobody could be asked has no stamps: it may have been taken back.
        let same = stamped.is_some_and(|stamped| stamped.epochs == today.epochs);
        match same {
            true => self.store.restamp(id, today),
            false => drop(self.forget(self.store.remove(id).into_iter().collect())),
        }
        same
    }

    /// Looks for the answer of another instance. The ticket learns the epochs of its labels, which the
    /// answer to come is stamped with: what is taken back from now on takes that one along.
    async fn read_shared(
        &self,
        tiers: &Tiers,
        ticket: &mut Ticket,
    ) -> Result<Option<Hit>, StoreError> {
        let key = key_of(&ticket.print);
        // Older epochs do no harm: what was taken back since is then found not to be current.
        ticket.stamped = tiers.last_known(&ticket.tags);
        ticket.reached = false;
        let read = tiers.read(&key, &ticket.tags, ticket.reads).await?;
        ticket.stamped = Some(read.stamped);
        ticket.reached = true;
        let hit = |(answer, stamped)| self.copy_exact(ticket, answer, stamped);
        Ok(read.found.and_then(hit))
    }

    fn copy_exact(&self, ticket: &Ticket, answer: SharedAnswer, stamped: Stamped) -> Option<Hit> {
        let Fingerprint { scope, partition, exact } = ticket.print;
        let partition = ticket.similar.then_some(partition);
        let stored = Arc::clone(&answer.answer);
        let entry = self.copy(Copy {
            key: exact,
            scope,
            partition,
            question: ticket.question.clone(),
            vector: ticket.embedding.as_ref(),
            words: ticket.words.clone(),
            answer,
            stamped,
            origin: Origin { key: key_of(&ticket.print), partition },
        })?;
        let id = HitId { entry: entry.0, judged: Judged::Answer };
        Some(Hit { answer: stored, how: HitKind::Exact, tier: Tier::Shared, id })
    }

    /// Keeps a neighbour of the ticket's question that was found in the shared index.
    pub(crate) fn copy_neighbour(
        &self,
        ticket: &Ticket,
        entry: SharedEntry,
        stamped: Stamped,
    ) -> Option<EntryId> {
        let Fingerprint { scope, partition, .. } = ticket.print;
        let words = self.words(&entry.question);
        self.copy(Copy {
            key: self.secret.copy(partition, entry.exact),
            scope,
            partition: Some(partition),
            question: Some(entry.question),
            vector: Some(&entry.vector),
            words,
            answer: entry.answer,
            stamped,
            origin: Origin {
                key: SharedKey::new(scope.0, entry.exact),
                partition: Some(partition),
            },
        })
    }

    /// `None` where this cache would not have kept the answer itself: then it does not serve it.
    fn copy(&self, copy: Copy<'_>) -> Option<EntryId> {
        let Copy { key, scope, partition, question, answer, .. } = copy;
        let SharedAnswer { stamps, answer, expires_in, .. } = answer;
        self.policies.admission.admit(&answer.response, answer.bytes()).ok()?;
        let left = expires_in.min(COPIED_FOR).min(self.policies.ttl.unwrap_or(FAR_FUTURE));
        if left.is_zero() {
            return None;
        }
        let at = now();
        let tags = stamps.iter().map(|stamp| stamp.label).collect();
        let bare = Entry::new(key, scope, answer, after(at, left));
        let entry = Entry { partition, question, tags, stamped: Some(copy.stamped), ..bare };
        // What has no room here is served all the same.
        let id = self.keep(entry, copy.vector, copy.words, at).unwrap_or(EntryId::NOWHERE);
        self.remember(id, copy.origin);
        Some(id)
    }

    fn remember(&self, id: EntryId, origin: Origin) {
        if id == EntryId::NOWHERE {
            return;
        }
        let mut origins = self.origins.lock();
        if origins.len() >= MOST_ORIGINS {
            origins.pop_front();
        }
        origins.push_back((id, origin));
    }

    /// Whether a neighbour has been looked at already, because it is here as well.
    pub(crate) fn has_neighbour(&self, partition: PartitionKey, exact: u128) -> bool {
        [ExactKey(exact), self.secret.copy(partition, exact)].into_iter().any(|key| {
            match self.store.get(key, now()) {
                Found::Fresh { .. } => true,
                Found::Expired(removed) => {
                    self.forget(vec![removed]);
                    false
                }
                Found::Nothing => false,
            }
        })
    }
}

/// What other instances are about to give.
impl Inner {
    /// Takes the lead on the ticket's request, for as long as the ticket lasts, or waits for the
    /// answer of the instance that has it. `None` where the answer is to be fetched.
    pub(crate) async fn wait_for_fleet(
        &self,
        ticket: &mut Ticket,
        deadline: Instant,
    ) -> Option<Hit> {
        let tiers = self.tiers()?;
        let flight = tiers.flight()?;
        // Who only reads will put nothing there, and who wants it fresh waits for nobody.
        if !ticket.reads || !ticket.writes || !ticket.reached {
            return None;
        }
        let began = now();
        let half = deadline.saturating_duration_since(began) / 2;
        let end = after(began, half.min(flight.most_wait));
        let mut lead = Lead::new(tiers, key_of(&ticket.print), flight);
        for number in 0.. {
            if lead.attempt().await.ok()? {
                return self.lead_on(tiers, ticket, lead).await;
            }
            sleep_until(after(now(), pause(number, &self.rng)).min(end)).await;
            let hit = self.read_shared(tiers, ticket).await.ok()?;
            if hit.is_some() || now() >= end {
                return hit;
            }
        }
        None
    }

    /// Looks once more before it leads: the one who led before may just have finished.
    async fn lead_on(&self, tiers: &Tiers, ticket: &mut Ticket, mut lead: Lead) -> Option<Hit> {
        let hit = self.read_shared(tiers, ticket).await.ok().flatten();
        if hit.is_none() {
            lead.keep();
            ticket.lead = Some(Box::new(lead));
        }
        hit
    }
}

/// What is given.
impl Inner {
    /// Hands a fresh answer to the other instances, some time soon.
    pub(crate) fn share(&self, ticket: &Ticket, answer: &Arc<StoredAnswer>) {
        let (Some(tiers), Some(stamped)) = (self.tiers(), &ticket.stamped) else { return };
        let answer = SharedAnswer::new(
            ticket.print.scope.0,
            stamps_of(&ticket.tags, stamped),
            Arc::clone(answer),
            self.policies.ttl.unwrap_or(FAR_FUTURE),
        );
        tiers.write_later(Job::Put(key_of(&ticket.print), answer.clone()));
        if let Some(job) = self.index_job(ticket, answer) {
            tiers.write_later(job);
        }
    }

    fn index_job(&self, ticket: &Ticket, answer: SharedAnswer) -> Option<Job> {
        let question = ticket.question.as_ref().filter(|_| ticket.similar)?;
        let partition = self.shared_partition(ticket.print.partition)?;
        let exact = ticket.print.exact.0;
        match &ticket.embedding {
            Some(vector) => {
                let (question, vector) = (Arc::clone(question), vector.clone());
                Some(Job::Insert(SharedEntry::new((partition, exact), question, vector, answer)))
            }
            // The question was not compared, so it has no vector; what it replaces must not stay.
            None if !ticket.reads => Some(Job::Withdraw(partition, exact)),
            None => None,
        }
    }

    /// Where the shared index keeps a partition, if there is one.
    pub(crate) fn shared_partition(&self, partition: PartitionKey) -> Option<u128> {
        let embedder = self.embedder.as_ref()?;
        self.tiers().filter(|tiers| tiers.has_index())?;
        Some(self.secret.shared_partition(partition, embedder.id()))
    }

    /// Where an entry lies in the shared stores, be it that it has left this one.
    pub(crate) fn origin(&self, id: EntryId) -> Option<Origin> {
        self.tiers()?;
        let copied = self.origins.lock().iter().find(|(copy, _)| *copy == id).map(|(_, it)| *it);
        copied.or_else(|| {
            let look = |entry: &Entry| Origin {
                key: SharedKey::new(entry.scope.0, entry.key.0),
                partition: entry.partition,
            };
            self.store.view(id, now(), look)
        })
    }

    /// Takes an answer back from other instances: altogether, or from similar questions only.
    pub(crate) fn unshare(&self, origin: Origin, altogether: bool) {
        let Some(tiers) = self.tiers() else { return };
        if altogether {
            tiers.write_later(Job::Remove(origin.key));
        }
        if let Some(partition) = origin.partition.and_then(|key| self.shared_partition(key)) {
            tiers.write_later(Job::Withdraw(partition, origin.key.exact));
        }
    }
}
