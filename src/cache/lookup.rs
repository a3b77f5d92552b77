//! What a look into the cache gives.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::cache::admission::Bypass;
use crate::cache::answer::StoredAnswer;
use crate::cache::key::Fingerprint;
use crate::cache::lexical::{Difference, Words};
use crate::cache::shared::{Lead, Stamped};
use crate::cache::store::EntryId;
use crate::embed::Embedding;

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

/// Names one hit. `Display` and `FromStr` let it travel to whoever judges the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HitId {
    pub(crate) entry: EntryId,
    pub(crate) how: Judged,
}

/// What a hit can be held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Judged {
    /// The answer itself.
    Answer,
    /// That the questions were taken for alike.
    Pair { similarity: f32, difference: Option<Difference> },
}

/// The kinds of difference as letters; conflicts are never served.
const LETTERS: [(char, Option<Difference>); 4] = [
    ('t', None),
    ('w', Some(Difference::Same)),
    ('s', Some(Difference::Substituted)),
    ('o', Some(Difference::Other)),
];

impl fmt::Display for HitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.entry.0)?;
        let Judged::Pair { similarity, difference } = self.how else { return Ok(()) };
        let letter = LETTERS.iter().find(|(_, kind)| *kind == difference).map_or('t', |(c, _)| *c);
        write!(f, "{letter}{:08x}", similarity.to_bits())
    }
}

/// A text that names no hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a cache hit")]
#[non_exhaustive]
pub struct NotAHitId;

impl FromStr for HitId {
    type Err = NotAHitId;

    fn from_str(text: &str) -> Result<Self, NotAHitId> {
        let (entry, rest) = text.split_at_checked(16).ok_or(NotAHitId)?;
        let entry = EntryId(u64::from_str_radix(entry, 16).map_err(|_| NotAHitId)?);
        let Some(letter) = rest.chars().next() else {
            return Ok(Self { entry, how: Judged::Answer });
        };
        let (_, difference) =
            LETTERS.iter().find(|(known, _)| *known == letter).copied().ok_or(NotAHitId)?;
        let bits = rest.get(1..).ok_or(NotAHitId)?;
        let similarity = f32::from_bits(u32::from_str_radix(bits, 16).map_err(|_| NotAHitId)?);
        if !(-1.0..=1.01).contains(&similarity) {
            return Err(NotAHitId);
        }
        Ok(Self { entry, how: Judged::Pair { similarity, difference } })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_hit_survives_its_text() {
        let entry = EntryId(0x0123_4567_89ab_cdef);
        let mut hits = vec![HitId { entry, how: Judged::Answer }];
        hits.extend(LETTERS.map(|(_, difference)| HitId {
            entry,
            how: Judged::Pair { similarity: 0.9375, difference },
        }));
        for hit in hits {
            assert_eq!(hit.to_string().parse(), Ok(hit));
        }
    }

    #[test]
    fn other_texts_name_no_hit() {
        for text in [
            "",
            "12",
            "0123456789abcdex",
            "0123456789abcdefz3f800000",
            "0123456789abcdeft",
            "0123456789abcdeftffffffff",
            "0123456789abcdeft7f800000",
            "\u{e9}123456789abcdeft3f800000",
        ] {
            assert_eq!(text.parse::<HitId>(), Err(NotAHitId), "{text}");
        }
    }
}
