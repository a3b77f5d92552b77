//! What happened on the way of a call: who served it, what was tried, how long each part took.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::usage::Cost;

/// The name of an endpoint, chosen by whoever configured it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// The endpoint named `id`.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for EndpointId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for EndpointId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl From<EndpointId> for String {
    fn from(id: EndpointId) -> Self {
        id.as_str().into()
    }
}

impl PartialEq<str> for EndpointId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for EndpointId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServedBy {
    /// An endpoint answered this call.
    Endpoint(EndpointId),
    /// The cache: the very same was asked before.
    ExactHit,
    /// The cache: something alike was asked before.
    SemanticHit {
        /// The cosine of the two questions.
        similarity: f32,
    },
    /// The cache that instances share: another one had fetched the answer to the very same.
    SharedHit,
    /// The cache that instances share: another one had fetched the answer to something alike.
    SharedSemanticHit {
        /// The cosine of the two questions.
        similarity: f32,
    },
    /// Another call that asked the same at the same time: its answer is this one's too.
    Coalesced,
}

impl ServedBy {
    /// The endpoint, when one answered this call.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&EndpointId> {
        match self {
            Self::Endpoint(id) => Some(id),
            Self::ExactHit
            | Self::SemanticHit { .. }
            | Self::SharedHit
            | Self::SharedSemanticHit { .. }
            | Self::Coalesced => None,
        }
    }

    /// `"endpoint"`, `"exact"`, `"semantic"`, `"shared"`, `"shared_semantic"` or `"coalesced"`, for
    /// events and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "endpoint",
            Self::ExactHit => "exact",
            Self::SemanticHit { .. } => "semantic",
            Self::SharedHit => "shared",
            Self::SharedSemanticHit { .. } => "shared_semantic",
            Self::Coalesced => "coalesced",
        }
    }
}

impl fmt::Display for ServedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => write!(f, "{id}"),
            Self::ExactHit => f.write_str("an exact hit"),
            Self::SemanticHit { similarity } => write!(f, "a hit of similarity {similarity:.3}"),
            Self::SharedHit => f.write_str("an exact hit of another instance"),
            Self::SharedSemanticHit { similarity } => {
                write!(f, "another instance's hit of similarity {similarity:.3}")
            }
            Self::Coalesced => f.write_str("another call"),
        }
    }
}

/// Names one hit of the cache. `Display`, `FromStr` and serde carry it as a short text to whoever judges
/// the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HitId {
    pub(crate) entry: u64,
    pub(crate) judged: Judged,
}

/// What a hit can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Judged {
    /// The answer itself.
    Answer,
    /// That the questions were taken for alike.
    Pair {
        /// Of the similarity.
        bits: u32,
        words: WordsWere,
    },
}

/// How the words of two questions that were taken for alike compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WordsWere {
    NotRead,
    Same,
    Substituted,
    Other,
}

impl WordsWere {
    const LETTERS: [(char, Self); 4] =
        [('t', Self::NotRead), ('w', Self::Same), ('s', Self::Substituted), ('o', Self::Other)];

    fn letter(self) -> char {
        Self::LETTERS.iter().find(|(_, words)| *words == self).map_or('t', |(letter, _)| *letter)
    }

    fn of_letter(letter: char) -> Option<Self> {
        Self::LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, words)| *words)
    }
}

impl fmt::Display for HitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.entry)?;
        match self.judged {
            Judged::Answer => Ok(()),
            Judged::Pair { bits, words } => write!(f, "{}{bits:08x}", words.letter()),
        }
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
        let entry = u64::from_str_radix(entry, 16).map_err(|_| NotAHitId)?;
        let mut letters = rest.chars();
        let judged = match letters.next() {
            None => Judged::Answer,
            Some(letter) => {
                let words = WordsWere::of_letter(letter).ok_or(NotAHitId)?;
                let bits = u32::from_str_radix(letters.as_str(), 16).map_err(|_| NotAHitId)?;
                Judged::Pair { bits, words }
            }
        };
        let known = Self { entry, judged };
        // Not a number is in no range. A cosine may be a rounding above 1.
        match known.similarity() {
            Some(similarity) if !(-1.0..=1.01).contains(&similarity) => Err(NotAHitId),
            _ => Ok(known),
        }
    }
}

impl HitId {
    /// How near the questions were; `None` where they were the same.
    pub(crate) const fn similarity(self) -> Option<f32> {
        match self.judged {
            Judged::Answer => None,
            Judged::Pair { bits, .. } => Some(f32::from_bits(bits)),
        }
    }
}

impl TryFrom<String> for HitId {
    type Error = NotAHitId;

    fn try_from(text: String) -> Result<Self, NotAHitId> {
        text.parse()
    }
}

impl From<HitId> for String {
    fn from(id: HitId) -> Self {
        id.to_string()
    }
}

/// What a call was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for an endpoint, or between two attempts.
    Waiting,
    /// An attempt was running and no content had arrived.
    FirstContent,
    /// Content was arriving.
    Streaming,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for an endpoint",
            Self::FirstContent => "waiting for the first content",
            Self::Streaming => "streaming",
        })
    }
}

/// One attempt of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptReport {
    /// The endpoint that was tried.
    pub endpoint: EndpointId,
    /// From the application's call to the attempt's start.
    pub started: Duration,
    /// From the attempt's start to its end.
    pub elapsed: Duration,
    /// From the attempt's start to its first content; `None` when none was seen, or when the
    /// provider does not stream.
    pub ttft: Option<Duration>,
    /// The failure's kind; `None` when the attempt succeeded or was abandoned.
    pub error: Option<crate::error::ErrorKind>,
    /// The HTTP status of a failure.
    pub status: Option<u16>,
    /// Whether it was started beside an attempt that was slow to show content.
    #[serde(default)]
    pub hedge: bool,
    /// The fallback model it was made for; `None` for the model the call asked for.
    #[serde(default)]
    pub fallback: Option<String>,
}

impl AttemptReport {
    /// An attempt on `endpoint` that ran from `started` for `elapsed`.
    #[must_use]
    pub const fn new(endpoint: EndpointId, started: Duration, elapsed: Duration) -> Self {
        Self {
            endpoint,
            started,
            elapsed,
            ttft: None,
            error: None,
            status: None,
            hedge: false,
            fallback: None,
        }
    }
}

/// The attempts of a call, in the order in which they ended. The first one is held inline: most
/// calls need no second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trail {
    first: Option<AttemptReport>,
    rest: Vec<AttemptReport>,
}

impl Trail {
    /// No attempts.
    pub const EMPTY: &'static Self = &Self { first: None, rest: Vec::new() };

    /// Adds the attempt that ended last.
    pub fn push(&mut self, attempt: AttemptReport) {
        match self.first {
            None => self.first = Some(attempt),
            Some(_) => self.rest.push(attempt),
        }
    }

    /// How many attempts ended.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Whether none was made.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The attempts, first to last.
    pub fn iter(&self) -> impl Iterator<Item = &AttemptReport> {
        self.first.iter().chain(&self.rest)
    }

    /// The attempt that ended last.
    #[must_use]
    pub fn last(&self) -> Option<&AttemptReport> {
        self.rest.last().or(self.first.as_ref())
    }
}

/// The account of a call that succeeded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallReport {
    /// Where the answer came from.
    pub served_by: ServedBy,
    /// The fallback model that answered; `None` where the model that was asked for did.
    pub fell_back_to: Option<String>,
    /// What was tried, the attempt that succeeded last.
    pub attempts: Trail,
    /// How long the call waited for its quota and for an endpoint, pauses between attempts included.
    pub queued: Duration,
    /// How long attempts ran, those that ran side by side counted once.
    pub upstream: Duration,
    /// From the application's call to the first content it received, queueing and retries
    /// included; `None` when the provider does not stream.
    pub ttft: Option<Duration>,
    /// From the application's call to the end of the response.
    pub total: Duration,
    /// What the call cost, attempts that failed included; tokens that no server counted are
    /// estimated. `None` where no price is known.
    pub cost: Option<Cost>,
    /// Names the hit where the cache answered, for
    /// [`report_wrong`](crate::cache::SemanticCache::report_wrong).
    pub hit: Option<HitId>,
}

impl CallReport {
    /// An answer from `served_by` after `total`.
    #[must_use]
    pub fn new(served_by: ServedBy, total: Duration) -> Self {
        Self {
            served_by,
            fell_back_to: None,
            attempts: Trail::default(),
            queued: Duration::ZERO,
            upstream: Duration::ZERO,
            ttft: None,
            total,
            cost: None,
            hit: None,
        }
    }

    /// What of the total was neither spent waiting nor with a provider: this crate's part, and that
    /// of an application that is slow to receive. `None` where another call had the answer fetched, or
    /// the cache had it.
    #[must_use]
    pub fn overhead(&self) -> Option<Duration> {
        self.served_by.endpoint()?;
        Some(self.total.saturating_sub(self.queued).saturating_sub(self.upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_hit_survives_its_text() {
        let pair = |(_, words)| Judged::Pair { bits: 0.9375_f32.to_bits(), words };
        let judged = [Judged::Answer].into_iter().chain(WordsWere::LETTERS.map(pair));
        for judged in judged {
            let hit = HitId { entry: 0x0123_4567_89ab_cdef, judged };
            assert_eq!(hit.to_string().parse(), Ok(hit));
            let json = serde_json::to_string(&hit).unwrap();
            assert_eq!(json, format!("\"{hit}\""));
            assert_eq!(serde_json::from_str::<HitId>(&json).unwrap(), hit);
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
            assert!(serde_json::from_value::<HitId>(text.into()).is_err());
        }
    }

    #[test]
    fn the_trail_keeps_order() {
        let mut trail = Trail::default();
        assert!(trail.is_empty() && trail.last().is_none());
        for id in ["a", "b", "c"] {
            trail.push(AttemptReport::new(id.into(), Duration::ZERO, Duration::ZERO));
        }
        let order: Vec<_> = trail.iter().map(|attempt| attempt.endpoint.as_str()).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert_eq!(trail.last().map(|attempt| attempt.endpoint.as_str()), Some("c"));
        assert_eq!(trail.len(), 3);
    }
}
