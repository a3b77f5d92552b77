//! What a look into the cache gives.

use std::fmt;
use std::sync::Arc;

use crate::cache::admission::Bypass;
use crate::cache::answer::StoredAnswer;
use crate::cache::key::Fingerprint;
use crate::cache::lexical::{Difference, Words};
use crate::cache::shared::{Lead, Stamped};
use crate::cache::store::EntryId;
use crate::embed::Embedding;
use crate::report::{HitId, Judged, WordsWere};

/// What a look into the cache gives.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// An answer that may be served.
    Hit(Hit),
    /// Nothing that may be served. The ticket takes the fresh answer.
    Miss(Ticket),
    /// The cache has nothing to do with this call, for this reason.
    Bypass(Bypass),
}

/// An answer that may be served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hit {
    /// The answer, shared with everybody it is served to.
    pub answer: Arc<StoredAnswer>,
    /// What about the question was the same.
    pub how: HitKind,
    /// Where the answer was found.
    pub tier: Tier,
    /// Names this hit, for [`report_wrong`](crate::cache::SemanticCache::report_wrong).
    pub id: HitId,
}

impl Hit {
    /// How near the question was: 1 where it was the same.
    #[must_use]
    pub const fn similarity(&self) -> f32 {
        match self.how {
            HitKind::Exact => 1.0,
            HitKind::Similar { similarity, .. } | HitKind::Verified { similarity, .. } => {
                similarity
            }
        }
    }

    /// Whether the very same was asked before.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.how, HitKind::Exact)
    }

    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match (self.tier, self.is_exact()) {
            (Tier::Local, true) => "exact_hit",
            (Tier::Local, false) => "semantic_hit",
            (Tier::Shared, true) => "shared_hit",
            (Tier::Shared, false) => "shared_semantic_hit",
        }
    }
}

/// Where an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// In this process.
    Local,
    /// In a store that instances share: another one had it fetched.
    Shared,
}

/// Why an answer may be served.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum HitKind {
    /// The very same was asked before.
    Exact,
    /// Something was asked that is near enough for the decision.
    Similar {
        /// The cosine of the two questions.
        similarity: f32,
        /// How their words differ; `None` where the decision does not look at words.
        difference: Option<Difference>,
    },
    /// Something was asked that the verifier approved.
    Verified {
        /// The cosine of the two questions.
        similarity: f32,
        /// How their words differ.
        difference: Difference,
    },
}

/// What a similar hit can be held against.
pub(crate) const fn judged(similarity: f32, difference: Option<Difference>) -> Judged {
    let words = match difference {
        Some(Difference::Same) => WordsWere::Same,
        Some(Difference::Substituted) => WordsWere::Substituted,
        Some(Difference::Other) => WordsWere::Other,
        // Conflicts are never served.
        Some(Difference::Conflict(_)) | None => WordsWere::NotRead,
    };
    Judged::Pair { bits: similarity.to_bits(), words }
}

/// The kind of difference that a hit was served in spite of, where words were read.
pub(crate) const fn difference(words: WordsWere) -> Option<Difference> {
    match words {
        WordsWere::NotRead => None,
        WordsWere::Same => Some(Difference::Same),
        WordsWere::Substituted => Some(Difference::Substituted),
        WordsWere::Other => Some(Difference::Other),
    }
}

/// The right to store the answer to a call that found none. Dropped, it stores nothing.
pub struct Ticket {
    pub(crate) print: Fingerprint,
    pub(crate) question: Option<Arc<str>>,
    pub(crate) similar: bool,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) least: f32,
    pub(crate) tags: Box<[u128]>,
    pub(crate) embedding: Option<Embedding>,
    /// The question's words, once they were looked at.
    pub(crate) words: Option<Arc<Words>>,
    pub(crate) neighbour: Option<Neighbour>,
    /// The entry that has the answer, unless another instance has taken it back.
    pub(crate) kept: Option<EntryId>,
    /// What epochs the tags were in when the shared store was asked; `None` where nobody knows.
    pub(crate) stamped: Option<Stamped>,
    /// Whether the shared store answered.
    pub(crate) reached: bool,
    /// The lead among the instances, which ends with the ticket.
    pub(crate) lead: Option<Box<Lead>>,
}

impl Ticket {
    /// The key of the request within this cache: calls with the same key ask the very same, in the
    /// same scope. Holds as long as the cache.
    #[must_use]
    pub const fn key(&self) -> u128 {
        self.print.exact.0
    }

    /// Whether the answer will be taken at all: some calls only read.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes
    }
}

impl Ticket {
    /// The same right without the neighbour to learn from.
    pub(crate) fn for_promotion(&self) -> Self {
        Self {
            print: self.print,
            question: self.question.clone(),
            similar: self.similar,
            reads: self.reads,
            writes: self.writes,
            least: self.least,
            tags: self.tags.clone(),
            embedding: self.embedding.clone(),
            words: self.words.clone(),
            neighbour: None,
            kept: None,
            stamped: self.stamped.clone(),
            reached: self.reached,
            lead: None,
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("question", &self.question.as_ref().map(|text| text.len()))
            .field("similar", &self.similar)
            .field("writes", &self.writes)
            .field("embedding", &self.embedding)
            .finish_non_exhaustive()
    }
}

/// The stored answer that a fresh one is compared with, to learn from.
#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    pub(crate) answer: Arc<StoredAnswer>,
    pub(crate) similarity: f32,
    pub(crate) difference: Difference,
}
