//! The limits a backend sets, as its operator declares them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BuildError;
use crate::rate::Rate;

/// A minute: the window in which backends state their limits.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// What a backend allows an endpoint, per model and minute. Nothing declared is nothing limited.
///
/// Declared limits are spent locally before a call is sent, so that they are known before they are
/// hit; what the backend's headers say corrects the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EndpointLimits {
    /// Requests per minute.
    pub requests_per_minute: Option<u64>,
    /// Input and output tokens per minute together.
    pub tokens_per_minute: Option<u64>,
    /// Input tokens per minute, where the backend counts them apart.
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens per minute, where the backend counts them apart.
    pub output_tokens_per_minute: Option<u64>,
    /// Calls that may run at once, all models together.
    pub concurrency: Option<u32>,
    /// How much of a minute's allowance may be used at once. Backends state minutes and enforce
    /// seconds. A single call may be larger than that; it waits for the whole of it. Default 10 s.
    #[serde(with = "crate::duration")]
    pub burst: Duration,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            concurrency: None,
            burst: Duration::from_secs(10),
        }
    }
}

impl EndpointLimits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With requests per minute.
    #[must_use]
    pub const fn requests_per_minute(mut self, limit: u64) -> Self {
        self.requests_per_minute = Some(limit);
        self
    }

    /// With input and output tokens per minute together.
    #[must_use]
    pub const fn tokens_per_minute(mut self, limit: u64) -> Self {
        self.tokens_per_minute = Some(limit);
        self
    }

    /// With input tokens per minute.
    #[must_use]
    pub const fn input_tokens_per_minute(mut self, limit: u64) -> Self {
        self.input_tokens_per_minute = Some(limit);
        self
    }

    /// With output tokens per minute.
    #[must_use]
    pub const fn output_tokens_per_minute(mut self, limit: u64) -> Self {
        self.output_tokens_per_minute = Some(limit);
        self
    }

    /// With calls that may run at once.
    #[must_use]
    pub const fn concurrency(mut self, limit: u32) -> Self {
        self.concurrency = Some(limit);
        self
    }

    /// With how much of a minute's allowance may be used at once.
    #[must_use]
    pub const fn burst(mut self, burst: Duration) -> Self {
        self.burst = burst;
        self
    }

    pub(crate) fn validate(&self, path: &str) -> Result<(), BuildError> {
        for (name, limit) in self.per_minute() {
            if let Some(limit) = limit
                && let Err(invalid) = self.rate(limit)
            {
                return Err(BuildError::new(format!("{path}.{name}"), invalid.to_string()));
            }
        }
        if self.concurrency == Some(0) {
            return Err(BuildError::new(format!("{path}.concurrency"), "must be above zero"));
        }
        if self.burst.is_zero() || self.burst > MINUTE {
            return Err(BuildError::new(
                format!("{path}.burst"),
                "must be above zero and at most a minute",
            ));
        }
        Ok(())
    }

    /// The limits by name, in the order of the dimensions of a mirror.
    pub(crate) const fn per_minute(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("input_tokens_per_minute", self.input_tokens_per_minute),
            ("output_tokens_per_minute", self.output_tokens_per_minute),
        ]
    }

    /// `limit` per minute, with the burst's part of it at once.
    pub(crate) fn rate(&self, limit: u64) -> Result<Rate, crate::rate::InvalidRate> {
        let burst = u128::from(limit) * self.burst.as_nanos().min(MINUTE.as_nanos());
        let burst = (burst / MINUTE.as_nanos()).max(1);
        Rate::new(limit, MINUTE, burst as u64)
    }
}
