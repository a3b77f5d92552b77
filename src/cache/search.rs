//! The nearest stored question, and whether its answer may serve.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::cache::answer::StoredAnswer;
use crate::cache::decision::{Grey, Rule, Verification, Verifier, VerifyWhen};
use crate::cache::embedding::Guarded;
use crate::cache::inner::Inner;
use crate::cache::key::PartitionKey;
use crate::cache::lexical::{Difference, Words};
use crate::cache::lookup::{Hit, HitKind, Neighbour, Ticket, Tier, judged};
use crate::cache::partitions::{Partition, Waiting};
use crate::cache::shared::{SharedEntry, Stamped};
use crate::cache::stats::count;
use crate::cache::store::{self, Entry, EntryId};
use crate::embed::Embedding;
use crate::report::HitId;
use crate::time::{Instant, after, now, until};
use crate::vector::{Match, dot};

/// How many of the nearest are looked at: the nearest may conflict and the next one not.
const CANDIDATES: usize = 4;

/// How many waiting entries get their vector in one request to the embedder.
const MOST_EMBEDDED_AT_ONCE: usize = 16;

/// How many pairs wait for the verifier at the most; the oldest give up.
const MOST_GREY: usize = 256;

/// A stored question near the one that is asked.
struct Candidate {
    place: Place,
    similarity: f32,
    /// `None` where the decision does not look at words.
    difference: Option<Difference>,
    question: Arc<str>,
    answer: Arc<StoredAnswer>,
}

/// Where a candidate lies.
enum Place {
    Here(EntryId),
    Elsewhere(Box<(SharedEntry, Stamped)>),
}

impl Candidate {
    const fn conflicts(&self) -> bool {
        matches!(self.difference, Some(Difference::Conflict(_)))
    }

    fn how(&self) -> HitKind {
        HitKind::Similar { similarity: self.similarity, difference: self.difference }
    }

    fn into_hit(self, (entry, tier): (EntryId, Tier), how: HitKind) -> Hit {
        let judged = judged(self.similarity, self.difference);
        Hit { answer: self.answer, how, tier, id: HitId { entry: entry.0, judged } }
    }
}

/// A pair that waits for the verifier, and the right to store what it approves.
pub(crate) struct GreyPair {
    ticket: Ticket,
    candidate: EntryId,
    similarity: f32,
    difference: Difference,
}

/// What the rule says of the candidates.
enum Found {
    Hit(Candidate),
    Grey(Candidate, Difference),
    /// It would be served, and is fetched to learn from.
    Audited,
    Nothing,
}

/// What comes of the candidates of one place.
enum Decided {
    Serve(Hit),
    Fetch,
    /// Candidates of another place may do.
    Open,
}

impl Inner {
    /// Looks for a similar question that has an answer which may serve: here, then in the index that
    /// instances share. Nothing is embedded where there is nothing to find.
    pub(crate) async fn search(&self, ticket: &mut Ticket) -> Option<Hit> {
        if !ticket.similar || ticket.least > 1.0 {
            return None;
        }
        let embedder = self.embedder.as_ref()?;
        let question = ticket.question.clone()?;
        let key = ticket.print.partition;
        let partition = self.partitions.get(key).filter(|partition| !partition.is_empty());
        let elsewhere = self.shared_partition(key);
        if partition.is_none() && elsewhere.is_none() {
            return None;
        }
        let vector = self.embed(embedder, key, partition.as_ref(), &question).await?;
        let vector = &*ticket.embedding.insert(vector);
        ticket.words = self.words(&question);
        if let Some(partition) = partition {
            let found = self.candidates(key, &partition, ticket.words.as_deref(), vector)?;
            match self.decide(found, ticket, &question).await {
                Decided::Serve(hit) => return Some(hit),
                Decided::Fetch => return None,
                Decided::Open => {}
            }
        }
        let found = self.candidates_elsewhere(elsewhere?, ticket).await;
        match self.decide(found, ticket, &question).await {
            Decided::Serve(hit) => Some(hit),
            Decided::Fetch | Decided::Open => None,
        }
    }

    async fn decide(
        &self,
        candidates: Vec<Candidate>,
        ticket: &mut Ticket,
        question: &str,
    ) -> Decided {
        let hit = match self.judge(candidates, ticket) {
            Found::Hit(mut candidate) => self.settle(&mut candidate, ticket).await.map(|place| {
                let how = candidate.how();
                candidate.into_hit(place, how)
            }),
            Found::Grey(candidate, difference) => {
                self.verify(candidate, difference, ticket, question).await
            }
            Found::Audited => return Decided::Fetch,
            Found::Nothing => None,
        };
        hit.map_or(Decided::Open, Decided::Serve)
    }

    /// Makes sure that a candidate is here and was not taken back.
    async fn settle(&self, candidate: &mut Candidate, ticket: &Ticket) -> Option<(EntryId, Tier)> {
        match std::mem::replace(&mut candidate.place, Place::Here(EntryId::NOWHERE)) {
            Place::Here(id) => {
                let current = self.is_current(id).await;
                self.store.touch(id);
                current.then_some((id, Tier::Local))
            }
            Place::Elsewhere(it) => {
                let (entry, stamped) = *it;
                Some((self.copy_neighbour(ticket, entry, stamped)?, Tier::Shared))
            }
        }
    }

    /// The question's vector. Entries that wait for theirs get it from the same request.
    async fn embed(
        &self,
        embedder: &Guarded,
        key: PartitionKey,
        partition: Option<&Arc<Partition>>,
        question: &str,
    ) -> Option<Embedding> {
        let waiting = partition.map(|partition| partition.borrow_waiting(MOST_EMBEDDED_AT_ONCE));
        let begin = now();
        let known: Vec<(EntryId, Arc<str>)> = waiting
            .iter()
            .flat_map(Waiting::ids)
            .filter_map(|id| {
                let text = self.store.view(id, begin, |entry| entry.question.clone())??;
                Some((id, text))
            })
            .collect();
        let texts: Vec<&str> =
            [question].into_iter().chain(known.iter().map(|(_, text)| &**text)).collect();
        let Some(vectors) = embedder.embed(&texts).await else {
            count(&self.counters.embed_failures);
            return None;
        };
        waiting.into_iter().for_each(Waiting::served);
        let mut vectors = vectors.into_iter();
        let vector = vectors.next();
        let end = now();
        for ((id, text), vector) in known.iter().zip(vectors) {
            self.attach(key, *id, &vector, self.words(text), end);
        }
        vector
    }

    /// A question's words, where anything looks at them.
    pub(crate) fn words(&self, question: &str) -> Option<Arc<Words>> {
        let reads = Rule::reads_words(self.policies.decision) || self.verifier.is_some();
        reads.then(|| Arc::new(Words::of(question)))
    }

    /// The nearest entries that are still there, nearest first. Those that have left in the meantime
    /// are forgotten and looked for again, so each round has fewer to find.
    fn candidates(
        &self,
        key: PartitionKey,
        partition: &Partition,
        words: Option<&Words>,
        vector: &Embedding,
    ) -> Option<Vec<Candidate>> {
        let (floor, at) = (self.floor(), now());
        loop {
            let Some(near) = partition.nearest(vector, CANDIDATES, floor) else {
                count(&self.counters.embed_failures);
                return None;
            };
            let many = near.len();
            let look = |near: Match| {
                let found = self.candidate(key, near, words, at);
                if found.is_none() {
                    self.partitions.remove(key, EntryId(near.key));
                    // This one's partition may have been replaced by another under the same key.
                    partition.remove(EntryId(near.key));
                }
                found
            };
            let found: Vec<Candidate> = near.into_iter().filter_map(look).collect();
            if found.len() == many {
                return Some(found);
            }
        }
    }

    /// The lowest similarity of a pair that is looked at.
    fn floor(&self) -> f32 {
        let from = self.verifier.as_ref().map_or(f32::INFINITY, |(_, verify)| verify.from);
        Rule::floor(self.policies.decision).min(from)
    }

    /// The nearest entries of the shared index, nearest first, those that are here as well left out.
    /// None where the index does not answer.
    async fn candidates_elsewhere(&self, partition: u128, ticket: &Ticket) -> Vec<Candidate> {
        let (Some(tiers), Some(vector)) = (self.tiers(), &ticket.embedding) else {
            return Vec::new();
        };
        let scope = ticket.print.scope.0;
        let found = tiers.nearest(partition, scope, vector, self.floor()).await;
        let found = found.unwrap_or_default().into_iter().take(CANDIDATES);
        let mut found: Vec<Candidate> = found
            .filter(|(entry, _)| !self.has_neighbour(ticket.print.partition, entry.exact))
            .filter_map(|found| Self::candidate_elsewhere(found, ticket.words.as_deref(), vector))
            .collect();
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found
    }

    /// `None` where the vectors cannot be compared. The cosine is computed anew: an index rounds.
    fn candidate_elsewhere(
        (entry, stamped): (SharedEntry, Stamped),
        words: Option<&Words>,
        vector: &Embedding,
    ) -> Option<Candidate> {
        Some(Candidate {
            similarity: dot(vector.as_slice(), entry.vector.as_slice()).ok()?,
            difference: words.map(|words| Difference::of(words, &Words::of(&entry.question))),
            question: Arc::clone(&entry.question),
            answer: Arc::clone(&entry.answer.answer),
            place: Place::Elsewhere(Box::new((entry, stamped))),
        })
    }

    fn candidate(
        &self,
        key: PartitionKey,
        near: Match,
        words: Option<&Words>,
        at: Instant,
    ) -> Option<Candidate> {
        let id = EntryId(near.key);
        // The partition is looked at again: whatever an index says, nothing crosses it.
        let look = |entry: &Entry| {
            let here = entry.partition == Some(key);
            let answer = Arc::clone(&entry.answer);
            here.then(|| Some((entry.question.clone()?, entry.words.clone(), answer)))?
        };
        let (question, stored, answer) = self.store.view(id, at, look)??;
        // Whoever has a vector was given its words before.
        let difference = match words {
            Some(words) => Some(Difference::of(words, stored?.as_ref())),
            None => None,
        };
        let place = Place::Here(id);
        Some(Candidate { place, similarity: near.similarity, difference, question, answer })
    }

    /// The first candidate that may serve, else the first that a verifier may look at.
    fn judge(&self, candidates: Vec<Candidate>, ticket: &mut Ticket) -> Found {
        let learns = self.judge.is_some();
        let rule = self.rule.lock();
        let mut grey = None;
        for candidate in candidates {
            if candidate.conflicts() && Rule::reads_words(self.policies.decision) {
                count(&self.counters.conflicts);
                continue;
            }
            let difference = candidate.difference.unwrap_or(Difference::Other);
            let threshold = rule.threshold(difference);
            let near_enough = |least: f32| candidate.similarity >= least.max(ticket.least);
            let serves = threshold.is_some_and(near_enough);
            let audited = serves && rule.learns() && self.rng.unit() < self.policies.audits;
            if learns && ticket.neighbour.is_none() && (audited || !serves) {
                let answer = Arc::clone(&candidate.answer);
                let similarity = candidate.similarity;
                ticket.neighbour = Some(Neighbour { answer, similarity, difference });
            }
            if audited {
                count(&self.counters.audits);
                return Found::Audited;
            }
            if serves {
                return Found::Hit(candidate);
            }
            if !candidate.conflicts() && grey.is_none() && self.is_grey(&candidate, ticket) {
                grey = Some((candidate, difference));
            }
            // What was learnt is of the nearest question, so only that one is served.
            if rule.learns() {
                break;
            }
        }
        grey.map_or(Found::Nothing, |(candidate, difference)| Found::Grey(candidate, difference))
    }

    fn is_grey(&self, candidate: &Candidate, ticket: &Ticket) -> bool {
        let from = self.verifier.as_ref().map(|(_, verification)| verification.from);
        from.is_some_and(|from| candidate.similarity >= from.max(ticket.least))
    }

    async fn verify(
        &self,
        mut candidate: Candidate,
        difference: Difference,
        ticket: &Ticket,
        question: &str,
    ) -> Option<Hit> {
        let (verifier, verification) = self.verifier.as_ref()?;
        let similarity = candidate.similarity;
        let place = self.settle(&mut candidate, ticket).await?;
        if verification.when == VerifyWhen::Later {
            self.put_off(GreyPair {
                ticket: ticket.for_promotion(),
                candidate: place.0,
                similarity,
                difference,
            });
            return None;
        }
        let answer = &candidate.answer.response;
        let pair = Grey::new(question, &candidate.question, answer, similarity, difference);
        let approved = ask(&**verifier, verification, &pair).await;
        let how = HitKind::Verified { similarity, difference };
        approved.then(|| candidate.into_hit(place, how))
    }

    fn put_off(&self, pair: GreyPair) {
        let mut grey = self.grey.lock();
        grey.push_back(pair);
        if grey.len() > MOST_GREY {
            grey.pop_front();
        }
    }

    /// Shows the verifier one pair that waits; whether there was one.
    pub(crate) async fn verify_one(&self) -> Option<bool> {
        let (verifier, verification) = self.verifier.as_ref()?;
        let GreyPair { ticket, candidate, similarity, difference } =
            self.grey.lock().pop_front()?;
        if !self.is_current(candidate).await {
            return Some(false);
        }
        let look = |entry: &Entry| {
            Some((entry.question.clone()?, Arc::clone(&entry.answer), entry.expires))
        };
        let Some((stored, answer, expires)) = self.store.view(candidate, now(), look).flatten()
        else {
            return Some(false);
        };
        let asked = ticket.question.clone().unwrap_or_default();
        let pair = Grey::new(&asked, &stored, &answer.response, similarity, difference);
        let approved = ask(&**verifier, verification, &pair).await;
        self.rule.lock().learn(ticket.print.scope, (difference, similarity), approved);
        if approved {
            self.promote(ticket, answer, expires);
        }
        Some(approved)
    }

    /// Stores an approved answer for the words that were asked, unless they have one by now. It gets
    /// no older than the one it was approved from.
    fn promote(&self, ticket: Ticket, answer: Arc<StoredAnswer>, expires: Instant) {
        let at = now();
        let fresh = self.store.get(ticket.print.exact, at);
        if ticket.writes && !matches!(fresh, store::Found::Fresh { .. }) && expires > at {
            // What it may not be kept for, it is not kept for.
            let _ = self.put(ticket, answer, at, expires);
        }
    }
}

/// Whether the verifier says yes, in time and without an error or a panic.
async fn ask(verifier: &dyn Verifier, verification: &Verification, pair: &Grey<'_>) -> bool {
    let deadline = after(now(), verification.timeout);
    let work = AssertUnwindSafe(async { verifier.approve(pair).await }).catch_unwind();
    matches!(until(deadline, work).await, Some(Ok(Ok(true))))
}
