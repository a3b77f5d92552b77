//! How much a call takes of each dimension.

use crate::quota::limits::Dimension;
use crate::usage::{Cost, Usage};

/// How much a call takes, or is expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amounts {
    /// Calls: one, or none where nothing was sent.
    pub requests: u64,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Money.
    pub cost: Cost,
}

impl Amounts {
    /// Nothing.
    pub const NONE: Self =
        Self { requests: 0, input_tokens: 0, output_tokens: 0, cost: Cost::from_nano_dollars(0) };

    /// One call of so many tokens.
    #[must_use]
    pub const fn tokens(input_tokens: u64, output_tokens: u64) -> Self {
        Self { requests: 1, input_tokens, output_tokens, cost: Cost::from_nano_dollars(0) }
    }

    /// With what it costs.
    #[must_use]
    pub const fn with_cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// One call of what a server counted; what it did not count is taken from `expected`.
    #[must_use]
    pub fn counted(usage: &Usage, expected: &Self) -> Self {
        Self {
            requests: 1,
            input_tokens: usage.input_tokens.unwrap_or(expected.input_tokens),
            output_tokens: usage.output_tokens.unwrap_or(expected.output_tokens),
            cost: expected.cost,
        }
    }

    /// This and another.
    pub(crate) const fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    /// Each number of this and of another put together.
    pub(crate) fn each(&self, other: &Self, mut join: impl FnMut(u64, u64) -> u64) -> Self {
        Self {
            requests: join(self.requests, other.requests),
            input_tokens: join(self.input_tokens, other.input_tokens),
            output_tokens: join(self.output_tokens, other.output_tokens),
            cost: Cost::from_nano_dollars(join(
                self.cost.nano_dollars(),
                other.cost.nano_dollars(),
            )),
        }
    }

    /// Of one dimension. Sums saturate.
    #[must_use]
    pub const fn of(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::InputTokens => self.input_tokens,
            Dimension::OutputTokens => self.output_tokens,
            Dimension::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Dimension::Cost => self.cost.nano_dollars(),
        }
    }
}
