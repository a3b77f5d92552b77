//! A second opinion on pairs that the rule does not serve.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::cache::lexical::Difference;
use crate::error::{BuildError, ProviderError};
use crate::response::ChatResponse;

/// Looks closer at a pair: a judge model, a cross-encoder, a rule of yours.
#[async_trait]
pub trait Verifier: Send + Sync + 'static {
    /// Whether `pair.answer` answers `pair.asked`.
    ///
    /// # Errors
    /// An error is a no, and so are a panic and an answer that comes too late.
    async fn approve(&self, pair: &Grey<'_>) -> Result<bool, ProviderError>;
}

/// A pair in the grey band: near, but not near enough.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Grey<'a> {
    /// What is asked now.
    pub asked: &'a str,
    /// What the stored answer was given to.
    pub stored: &'a str,
    /// The stored answer.
    pub answer: &'a ChatResponse,
    /// The cosine of the two questions.
    pub similarity: f32,
    /// How their words differ; never a conflict.
    pub difference: Difference,
}

impl<'a> Grey<'a> {
    pub(crate) const fn new(
        asked: &'a str,
        stored: &'a str,
        answer: &'a ChatResponse,
        similarity: f32,
        difference: Difference,
    ) -> Self {
        Self { asked, stored, answer, similarity, difference }
    }
}

impl fmt::Debug for Grey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grey({}, {})", self.similarity, self.difference)
    }
}

/// When a verifier is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyWhen {
    /// While the call waits.
    Now,
    /// Later, when the application calls
    /// [`verify_waiting`](crate::cache::SemanticCache::verify_waiting): the call goes on as a miss.
    /// What is approved serves the same words from then on, if nothing else does by then.
    Later,
}

/// Which pairs a verifier is shown, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Verification {
    /// The lowest similarity of a pair that is shown. Default 0.85.
    pub from: f32,
    /// When it is asked. Default now.
    pub when: VerifyWhen,
    /// How long it may take. Default 2 s.
    pub timeout: Duration,
}

impl Default for Verification {
    fn default() -> Self {
        Self { from: 0.85, when: VerifyWhen::Now, timeout: Duration::from_secs(2) }
    }
}

impl Verification {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the lowest similarity of a pair that is shown.
    #[must_use]
    pub const fn from(mut self, similarity: f32) -> Self {
        self.from = similarity;
        self
    }

    /// With when it is asked.
    #[must_use]
    pub const fn when(mut self, when: VerifyWhen) -> Self {
        self.when = when;
        self
    }

    /// With how long it may take.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        super::rule::similarity("verifier.from", self.from)
    }
}
