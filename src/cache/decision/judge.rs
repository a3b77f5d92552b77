//! Whether two answers say the same.

use crate::response::ChatResponse;

/// Tells whether two answers to two questions are worth the same, so that a cache can learn which
/// questions are alike. Called when an answer was fetched although a similar question had one.
pub trait AnswerJudge: Send + Sync + 'static {
    /// Whether whoever asked `question` and was given `fresh` could as well have been given `stored`;
    /// `None` where that cannot be told. Called on the path of a call, so it should be quick.
    fn agree(&self, question: &str, fresh: &ChatResponse, stored: &ChatResponse) -> Option<bool>;
}

impl<F> AnswerJudge for F
where
    F: Fn(&str, &ChatResponse, &ChatResponse) -> Option<bool> + Send + Sync + 'static,
{
    fn agree(&self, question: &str, fresh: &ChatResponse, stored: &ChatResponse) -> Option<bool> {
        self(question, fresh, stored)
    }
}

/// Answers agree when they are the same text but for case and white space. For answers that are
/// short and fixed, such as a class, a value or a route; free text hardly ever agrees.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SameText;

impl SameText {
    /// The judge.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl AnswerJudge for SameText {
    fn agree(&self, _question: &str, fresh: &ChatResponse, stored: &ChatResponse) -> Option<bool> {
        let normal = |answer: &ChatResponse| {
            let text = answer.text().to_lowercase();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        Some(normal(fresh) == normal(stored))
    }
}
