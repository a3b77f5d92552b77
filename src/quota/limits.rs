//! Limits as an operator states them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BuildError;
use crate::quota::budget::Budget;
use crate::quota::store::OnStoreFailure;
use crate::rate::{InvalidRate, Rate};
use crate::usage::Cost;

const MINUTE: Duration = Duration::from_secs(60);

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dimension {
    /// Calls.
    Requests,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Input and output tokens together.
    Tokens,
    /// Nano-dollars.
    Cost,
}

impl Dimension {
    /// A stable label, for errors and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
        }
    }
}

/// What happens to a call that does not fit a limit yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnLimit {
    /// It is refused, and told when it would fit.
    #[default]
    Reject,
    /// It waits its turn, until its deadline.
    Wait,
}

/// One limit by rate: so much per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Limit {
    /// What it counts.
    pub dimension: Dimension,
    /// How much of it.
    pub amount: u64,
    /// Per how long.
    #[serde(with = "crate::duration")]
    pub window: Duration,
    /// How much at once; `None` is the whole amount. A call larger than that never passes.
    #[serde(default)]
    pub burst: Option<u64>,
    /// Never more than the amount in *any* window, not only on average: a tenth at once (or the
    /// burst), and the rest at nine tenths of the rate. A call larger than the tenth never passes.
    #[serde(default)]
    pub strict: bool,
    /// What happens to a call that does not fit yet.
    #[serde(default)]
    pub on_limit: OnLimit,
    /// What happens while the store that keeps the limit does not answer; unless set, what its
    /// [`Limits`] say. Means nothing where no store does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_store_failure: Option<OnStoreFailure>,
}

impl Limit {
    /// `amount` of `dimension` per `window`, all of it at once if need be.
    ///
    /// In any window no more than twice the amount passes: once what had been saved up, and once
    /// what comes in. [`strict`](Self::strict) halves that.
    #[must_use]
    pub const fn new(dimension: Dimension, amount: u64, window: Duration) -> Self {
        Self {
            dimension,
            amount,
            window,
            burst: None,
            strict: false,
            on_limit: OnLimit::Reject,
            on_store_failure: None,
        }
    }

    /// With how much may pass at once.
    #[must_use]
    pub const fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Never more than the amount in any window.
    #[must_use]
    pub const fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Calls that do not fit yet wait their turn.
    #[must_use]
    pub const fn wait(mut self) -> Self {
        self.on_limit = OnLimit::Wait;
        self
    }

    /// With what happens while the store that keeps the limit does not answer.
    #[must_use]
    pub const fn on_store_failure(mut self, policy: OnStoreFailure) -> Self {
        self.on_store_failure = Some(policy);
        self
    }

    /// The bucket that keeps the limit.
    pub(crate) fn rate(&self) -> Result<Rate, InvalidRate> {
        let Refill { amount, window, burst } = self.refill();
        Rate::new(amount, window, burst)
    }

    /// The bucket that keeps the limit, for a store of one's own.
    #[must_use]
    pub fn refill(&self) -> Refill {
        let Self { amount, window, .. } = *self;
        if !self.strict {
            return Refill { amount, window, burst: self.burst.unwrap_or(amount) };
        }
        // Burst and refill of a window add up to the amount: what comes in during a window is at
        // least one. Of one alone, the next comes just after the window: later by more than a rate
        // rounds.
        if amount == 1 {
            let after = window / 1_000_000 + Duration::from_nanos(4);
            return Refill { amount, window: window.saturating_add(after), burst: 1 };
        }
        let burst = self.burst.unwrap_or(amount / 10).max(1).min(amount.saturating_sub(1));
        Refill { amount: amount.saturating_sub(burst), window, burst }
    }
}

/// What comes in per window, and how much fits at once. Nothing of it is checked: see
/// [`Rate::new`](crate::rate::Rate::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refill {
    /// How much comes in.
    pub amount: u64,
    /// Per how long.
    pub window: Duration,
    /// How much fits at once.
    pub burst: u64,
}

/// The limits of one scope: the whole service, a tenant, a tenant on a model, or a key of your own.
///
/// ```
/// use evenkeel::quota::Limits;
///
/// let limits = Limits::new().requests_per_minute(600).tokens_per_minute(100_000).concurrency(20);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Limits by rate; at most one a dimension and window.
    pub rates: Vec<Limit>,
    /// Limits by calendar.
    pub budgets: Vec<Budget>,
    /// Calls that may run at once.
    pub concurrency: Option<u32>,
    /// What happens to a call when as many are running.
    pub on_concurrency: OnLimit,
    /// What happens while the store that keeps these limits does not answer, to those that do not
    /// say so themselves; unless set, what
    /// [`SharedQuota`](crate::quota::SharedQuota::on_store_failure) says, and nothing passes a budget
    /// of money. Means nothing where no store keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_store_failure: Option<OnStoreFailure>,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a limit by rate.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.rates.push(limit);
        self
    }

    /// With calls per minute.
    #[must_use]
    pub fn requests_per_minute(self, amount: u64) -> Self {
        self.limit(Limit::new(Dimension::Requests, amount, MINUTE))
    }

    /// With input and output tokens per minute together.
    #[must_use]
    pub fn tokens_per_minute(self, amount: u64) -> Self {
        self.limit(Limit::new(Dimension::Tokens, amount, MINUTE))
    }

    /// With input tokens per minute.
    #[must_use]
    pub fn input_tokens_per_minute(self, amount: u64) -> Self {
        self.limit(Limit::new(Dimension::InputTokens, amount, MINUTE))
    }

    /// With output tokens per minute.
    #[must_use]
    pub fn output_tokens_per_minute(self, amount: u64) -> Self {
        self.limit(Limit::new(Dimension::OutputTokens, amount, MINUTE))
    }

    /// With money per window.
    #[must_use]
    pub fn cost_per(self, window: Duration, amount: Cost) -> Self {
        self.limit(Limit::new(Dimension::Cost, amount.nano_dollars(), window))
    }

    /// With calls that may run at once.
    #[must_use]
    pub const fn concurrency(mut self, calls: u32) -> Self {
        self.concurrency = Some(calls);
        self
    }

    /// Calls wait for one that is running to end where as many are running as may.
    #[must_use]
    pub const fn wait_for_concurrency(mut self) -> Self {
        self.on_concurrency = OnLimit::Wait;
        self
    }

    /// With what happens while the store that keeps these limits does not answer.
    #[must_use]
    pub const fn on_store_failure(mut self, policy: OnStoreFailure) -> Self {
        self.on_store_failure = Some(policy);
        self
    }

    /// With a budget per day or month.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budgets.push(budget);
        self
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { rates, budgets, concurrency, on_concurrency: _, on_store_failure: _ } = self;
        rates.is_empty() && budgets.is_empty() && concurrency.is_none()
    }

    /// Whether a call may have to wait for one of them.
    pub(crate) fn may_wait(&self) -> bool {
        let waits = |limit: &Limit| limit.on_limit == OnLimit::Wait;
        let for_calls = self.concurrency.is_some() && self.on_concurrency == OnLimit::Wait;
        for_calls || self.rates.iter().any(waits)
    }

    pub(crate) fn validate(&self, path: &str) -> Result<(), BuildError> {
        let Self { rates, budgets, concurrency, on_concurrency: _, on_store_failure: _ } = self;
        if rates.len() > MOST_LIMITS || budgets.len() > MOST_LIMITS {
            let reason = format!("at most {MOST_LIMITS} are possible");
            return Err(BuildError::new(path.to_owned(), reason));
        }
        for (index, limit) in rates.iter().enumerate() {
            if let Err(invalid) = limit.rate() {
                return Err(BuildError::new(format!("{path}.rates[{index}]"), invalid.to_string()));
            }
            let same =
                |other: &Limit| (other.dimension, other.window) == (limit.dimension, limit.window);
            if rates[..index].iter().any(same) {
                let reason = "limits what another one does already";
                return Err(BuildError::new(format!("{path}.rates[{index}]"), reason));
            }
        }
        if let Some(index) = budgets.iter().position(|budget| budget.amount == 0) {
            return Err(BuildError::new(format!("{path}.budgets[{index}]"), "must be above zero"));
        }
        if *concurrency == Some(0) {
            return Err(BuildError::new(format!("{path}.concurrency"), "must be above zero"));
        }
        Ok(())
    }
}

/// The most limits by rate of one scope, and the most budgets: what a reservation holds is bounded.
pub(crate) const MOST_LIMITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_limit_never_lets_more_than_its_amount_through_a_window() {
        let limit = Limit::new(Dimension::Tokens, 1_000, MINUTE).strict();
        let rate = limit.rate().unwrap();
        assert_eq!(rate.burst(), 100);
        let loose = Limit::new(Dimension::Tokens, 1_000, MINUTE).rate().unwrap();
        assert_eq!(loose.burst(), 1_000);
    }

    #[test]
    fn limits_of_nothing_are_refused_by_name() {
        let zero = Limits::new().tokens_per_minute(5).requests_per_minute(0);
        assert_eq!(zero.validate("tenant").unwrap_err().field(), "tenant.rates[1]");
        let none = Limits::new().concurrency(0);
        assert_eq!(none.validate("global").unwrap_err().field(), "global.concurrency");
    }
}
