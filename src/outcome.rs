//! The one table everything obeys: what the end of an attempt means.
//!
//! A failure is classified once, into an [`ErrorKind`]. What follows from it (for the endpoint's
//! health, its cooldown, its latency estimate, a retry, and the tenant's reservation) is looked up
//! here and decided nowhere else, so that balancer, retry loop and quotas cannot disagree.

use std::time::Duration;

use crate::error::{ErrorKind, ProviderError};
use crate::rate_limits::RateLimits;
use crate::usage::Usage;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The whole response arrived, its terminal event included.
    Success,
    /// It failed before the first content.
    Failed(ErrorKind),
    /// It failed after content had been received.
    Broken(ErrorKind),
    /// Its caller left, or the call's deadline passed.
    Abandoned,
}

/// How an attempt ended, with the measurements and hints that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// From the attempt's start to its first content.
    pub ttft: Option<Duration>,
    /// When the server wants to be asked again.
    pub retry_hint: Option<Duration>,
    /// The rate limits the response carried.
    pub rate_limits: Option<RateLimits>,
    /// What the attempt used, as far as that is known.
    pub usage: Option<Usage>,
    /// How long the attempt had to its first content: what a failure counts as at the least.
    pub timeout: Option<Duration>,
}

impl Outcome {
    /// The attempt ended so; nothing else is known.
    #[must_use]
    pub const fn new(end: End) -> Self {
        Self { end, ttft: None, retry_hint: None, rate_limits: None, usage: None, timeout: None }
    }

    /// The attempt failed with `error`, after content or before it.
    #[must_use]
    pub fn failed(error: &ProviderError, committed: bool) -> Self {
        let kind = error.kind();
        let end = if committed { End::Broken(kind) } else { End::Failed(kind) };
        Self {
            retry_hint: error.retry_hint(),
            rate_limits: error.rate_limits().copied(),
            ..Self::new(end)
        }
    }

    /// With the time from the attempt's start to its first content.
    #[must_use]
    pub const fn with_ttft(mut self, ttft: Option<Duration>) -> Self {
        self.ttft = ttft;
        self
    }

    /// With what the attempt used.
    #[must_use]
    pub const fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// With how long the attempt had to its first content.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// With the rate limits the response carried.
    #[must_use]
    pub const fn with_rate_limits(mut self, limits: Option<RateLimits>) -> Self {
        self.rate_limits = limits;
        self
    }

    /// Output tokens, as far as they are known.
    #[must_use]
    pub fn output_tokens(&self) -> Option<u64> {
        self.usage.and_then(|usage| usage.output_tokens)
    }

    /// The label of this end, for events and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self.end {
            End::Success => "success",
            End::Failed(kind) | End::Broken(kind) => kind.label(),
            End::Abandoned => "cancelled",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// What it says about the endpoint's health.
    pub health: Health,
    /// Whether it takes the endpoint out for a time.
    pub cooldown: Cooldown,
    /// What it teaches the latency estimate.
    pub latency: Latency,
    /// Whether the call may go on elsewhere.
    pub retry: Retry,
    /// What the tenant pays.
    pub charge: Charge,
}

/// What an outcome says about the endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing.
    Neutral,
}

/// Whether an outcome takes an endpoint out for a time that has nothing to do with health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cooldown {
    /// No.
    None,
    /// For the model, until the server's hint, or with exponential back-off where it gave none.
    RateLimit,
    /// For the model, until the server's hint, if it gave one.
    IfHinted,
    /// The whole endpoint, until it is reconfigured or a probe succeeds.
    Disable,
    /// The model on this endpoint, until it is reconfigured or a probe succeeds.
    DisableModel,
}

/// What an outcome teaches the latency estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Latency {
    /// Observe TTFT and the time per output token.
    Observe,
    /// Observe TTFT alone: the rest was cut short.
    ObserveTtft,
    /// Observe the elapsed time.
    ObserveElapsed,
    /// Observe a penalty: the longer of the elapsed time and the timeout, so that an endpoint that
    /// fails fast does not look fast.
    Penalty,
    /// Raise the estimate if the elapsed time is above it; never lower it.
    RaiseOnly,
    /// Nothing.
    None,
}

/// Whether a call may go on after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// There is nothing to retry, or nothing may be retried.
    No,
    /// On another endpoint only; free, for nothing was consumed.
    OtherEndpoint,
    /// On another endpoint, or on the same one later, within the retry budget.
    Budgeted,
    /// Only on a model that was configured as a fallback.
    FallbackModel,
}

/// What the tenant pays for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Charge {
    /// What the server counted.
    Actual,
    /// Nothing.
    Refund,
    /// The input and what was streamed.
    Streamed,
    /// The input.
    Input,
}

impl End {
    /// The row of the table for this end.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::Success => Row {
                health: Health::Success,
                cooldown: Cooldown::None,
                latency: Latency::Observe,
                retry: Retry::No,
                charge: Charge::Actual,
            },
            Self::Failed(kind) => kind.row(),
            Self::Broken(kind) => broken(kind.row()),
            Self::Abandoned => Row {
                health: Health::Neutral,
                cooldown: Cooldown::None,
                latency: Latency::RaiseOnly,
                retry: Retry::No,
                charge: Charge::Streamed,
            },
        }
    }
}

impl ErrorKind {
    /// The row for a failure of this kind before the first content.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::RateLimited => neutral(Cooldown::RateLimit, Latency::None, Retry::OtherEndpoint),
            Self::QuotaExhausted | Self::Auth => {
                neutral(Cooldown::Disable, Latency::None, Retry::OtherEndpoint)
            }
            Self::ModelNotFound => {
                neutral(Cooldown::DisableModel, Latency::None, Retry::OtherEndpoint)
            }
            Self::InvalidRequest => neutral(Cooldown::None, Latency::None, Retry::No),
            // Another provider's wire may carry what this one's cannot.
            Self::Unsupported => neutral(Cooldown::None, Latency::None, Retry::OtherEndpoint),
            Self::ContextLength | Self::ContentFilter => {
                neutral(Cooldown::None, Latency::None, Retry::FallbackModel)
            }
            Self::Overloaded => failure(Cooldown::IfHinted, Latency::Penalty, Charge::Refund),
            Self::Server | Self::Transport | Self::Interrupted => {
                failure(Cooldown::None, Latency::Penalty, Charge::Refund)
            }
            Self::Timeout => failure(Cooldown::None, Latency::ObserveElapsed, Charge::Streamed),
            Self::Malformed | Self::Panicked => {
                failure(Cooldown::None, Latency::Penalty, Charge::Input)
            }
        }
    }
}

const fn neutral(cooldown: Cooldown, latency: Latency, retry: Retry) -> Row {
    Row { health: Health::Neutral, cooldown, latency, retry, charge: Charge::Refund }
}

const fn failure(cooldown: Cooldown, latency: Latency, charge: Charge) -> Row {
    Row { health: Health::Failure, cooldown, latency, retry: Retry::Budgeted, charge }
}

/// After content a call may not be retried, what was streamed is paid for, and the time to the
/// first content is the only measurement that was not cut short.
const fn broken(row: Row) -> Row {
    let latency = match row.health {
        Health::Failure => Latency::ObserveTtft,
        Health::Success | Health::Neutral => row.latency,
    };
    Row { latency, retry: Retry::No, charge: Charge::Streamed, ..row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_request_never_touches_the_endpoint() {
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::ContextLength,
            ErrorKind::ContentFilter,
            ErrorKind::Unsupported,
        ] {
            let row = kind.row();
            assert_eq!(
                (row.health, row.cooldown, row.latency),
                (Health::Neutral, Cooldown::None, Latency::None)
            );
        }
    }

    #[test]
    fn rate_limits_and_credentials_are_not_health() {
        for kind in [ErrorKind::RateLimited, ErrorKind::QuotaExhausted, ErrorKind::Auth] {
            assert_eq!(kind.row().health, Health::Neutral);
            assert_ne!(kind.row().cooldown, Cooldown::None);
        }
    }

    #[test]
    fn nothing_is_retried_after_content() {
        for kind in ErrorKind::ALL {
            let row = End::Broken(kind).row();
            assert_eq!((row.retry, row.charge), (Retry::No, Charge::Streamed));
        }
    }

    #[test]
    fn what_consumed_nothing_is_refunded() {
        for kind in [ErrorKind::RateLimited, ErrorKind::Server, ErrorKind::InvalidRequest] {
            assert_eq!(kind.row().charge, Charge::Refund);
        }
        assert_eq!(ErrorKind::Timeout.row().charge, Charge::Streamed);
        assert_eq!(ErrorKind::Panicked.row().charge, Charge::Input);
    }
}
