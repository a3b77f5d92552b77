//! What a server says about its own limits, in one form for every wire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A snapshot of a server's rate limits, as its response headers gave it.
///
/// The values are a server's word and therefore untrusted: they are clamped where they are parsed,
/// and whoever acts on them clamps again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RateLimits {
    /// Requests per window.
    pub requests: Option<LimitWindow>,
    /// Tokens per window where the server counts input and output together.
    pub tokens: Option<LimitWindow>,
    /// Input tokens per window where they are counted apart.
    pub input_tokens: Option<LimitWindow>,
    /// Output tokens per window where they are counted apart.
    pub output_tokens: Option<LimitWindow>,
}

/// One limit: how much it allows, what is left, and when it is whole again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LimitWindow {
    /// What the window allows in all.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// How long until the window is whole again, from when the response was received.
    pub reset: Option<Duration>,
}

impl LimitWindow {
    /// A window of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the whole window's allowance.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With what is left.
    #[must_use]
    pub fn with_remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// With the time until the window is whole again.
    #[must_use]
    pub fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = Some(reset);
        self
    }
}

impl RateLimits {
    /// A snapshot in which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the window of requests.
    #[must_use]
    pub fn with_requests(mut self, window: LimitWindow) -> Self {
        self.requests = Some(window);
        self
    }

    /// With the window of tokens.
    #[must_use]
    pub fn with_tokens(mut self, window: LimitWindow) -> Self {
        self.tokens = Some(window);
        self
    }

    /// With the window of input tokens.
    #[must_use]
    pub fn with_input_tokens(mut self, window: LimitWindow) -> Self {
        self.input_tokens = Some(window);
        self
    }

    /// With the window of output tokens.
    #[must_use]
    pub fn with_output_tokens(mut self, window: LimitWindow) -> Self {
        self.output_tokens = Some(window);
        self
    }

    /// Whether the server said nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// When the limit that refused a request lets the next one through.
    ///
    /// Only a window with nothing left can have refused it. The other resets are about limits that
    /// were not hit: their minimum returns too early, and their maximum waits for a day's window
    /// when a minute's was meant.
    #[must_use]
    pub fn exhausted_reset(&self) -> Option<Duration> {
        let Self { requests, tokens, input_tokens, output_tokens } = self;
        [requests, tokens, input_tokens, output_tokens]
            .into_iter()
            .flatten()
            .filter(|window| window.remaining == Some(0))
            .filter_map(|window| window.reset)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_of_the_exhausted_dimension_counts() {
        let limits = RateLimits::new()
            .with_requests(
                LimitWindow::new().with_remaining(9).with_reset(Duration::from_secs(86_400)),
            )
            .with_tokens(LimitWindow::new().with_remaining(0).with_reset(Duration::from_secs(6)))
            .with_input_tokens(
                LimitWindow::new().with_remaining(1).with_reset(Duration::from_millis(1)),
            );
        assert_eq!(limits.exhausted_reset(), Some(Duration::from_secs(6)));
    }

    #[test]
    fn nothing_exhausted_means_no_hint() {
        let window = LimitWindow::new().with_remaining(3).with_reset(Duration::from_secs(1));
        assert_eq!(RateLimits::new().with_requests(window).exhausted_reset(), None);
    }
}
