//! The rate limits of a simulated server.

use std::time::Duration;

use crate::error::{BuildError, ErrorKind, ProviderError};
use crate::rate_limits::{LimitWindow, RateLimits};
use crate::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The rate limits of a server's account, enforced as OpenAI's are.
///
/// An attempt is charged when it arrives: one request, and its input tokens together with the most
/// output tokens it may have. What it uses in the end changes nothing. A refused attempt is not
/// charged. Each limit is a bucket that refills continuously and holds what its
/// [burst window](Self::burst_window) lets through at the limit's rate.
///
/// ```
/// use std::time::Duration;
/// use evenkeel::testing::{ServerLimits, SimulatedProvider};
///
/// // 600 a minute, of which no more than 80 at once.
/// let limits = ServerLimits::new()
///     .requests_per_minute(600)
///     .tokens_per_minute(600_000)
///     .burst_window(Duration::from_secs(8));
/// let provider = SimulatedProvider::builder("limited").limits(limits).build()?;
/// # Ok::<_, evenkeel::BuildError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Requests a minute; `None` is unlimited.
    pub requests_per_minute: Option<u64>,
    /// Input and output tokens a minute; `None` is unlimited.
    pub tokens_per_minute: Option<u64>,
    /// How much of a limit may be used at once, as the time it takes to come back. Default 60 s.
    pub burst_window: Duration,
    /// The output tokens a request is charged that names no bound of its own. Default 256.
    pub assumed_output: u64,
    /// Whether responses say anything of the limits. Default true.
    pub hints: bool,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            burst_window: MINUTE,
            assumed_output: 256,
            hints: true,
        }
    }
}

impl ServerLimits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a limit of requests.
    #[must_use]
    pub const fn requests_per_minute(mut self, limit: u64) -> Self {
        self.requests_per_minute = Some(limit);
        self
    }

    /// With a limit of input and output tokens together.
    #[must_use]
    pub const fn tokens_per_minute(mut self, limit: u64) -> Self {
        self.tokens_per_minute = Some(limit);
        self
    }

    /// With a burst of what comes back in `window`.
    #[must_use]
    pub const fn burst_window(mut self, window: Duration) -> Self {
        self.burst_window = window;
        self
    }

    /// With another charge for requests that name no bound of their output.
    #[must_use]
    pub const fn assumed_output(mut self, tokens: u64) -> Self {
        self.assumed_output = tokens;
        self
    }

    /// Without a word about the limits: no rate-limit headers, and no `retry-after` in a 429.
    #[must_use]
    pub const fn without_hints(mut self) -> Self {
        self.hints = false;
        self
    }

    pub(super) fn validate(&self) -> Result<(), BuildError> {
        let within = |limit: Option<u64>| limit.is_none_or(|limit| (1..=1 << 40).contains(&limit));
        let error = |field, reason| Err(BuildError::new(field, reason));
        if !within(self.requests_per_minute) {
            return error("limits.requests_per_minute", "must be from 1 to 2^40");
        }
        if !within(self.tokens_per_minute) {
            return error("limits.tokens_per_minute", "must be from 1 to 2^40");
        }
        if self.burst_window.is_zero() || self.burst_window > MINUTE * 60 * 24 {
            return error("limits.burst_window", "must be above 0 and at most a day");
        }
        if self.requests_per_minute.is_some_and(|limit| burst(limit, self.burst_window) < UNITS) {
            return error("limits.burst_window", "must let at least one request through");
        }
        Ok(())
    }
}

/// What the limits have left.
#[derive(Debug)]
pub(super) struct Account {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    hints: bool,
}

impl Account {
    pub(super) fn new(limits: &ServerLimits, now: Instant) -> Self {
        let bucket = |limit: Option<u64>| {
            limit.map(|per_minute| Bucket::full(per_minute, limits.burst_window, now))
        };
        Self {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
            hints: limits.hints,
        }
    }

    /// Charges one request of `tokens` tokens, and says what is left where the server gives hints.
    ///
    /// # Errors
    /// A 429 when either limit has too little left, which leaves both as they were; a 413 when the
    /// request is larger than a full bucket and could never pass.
    pub(super) fn charge(
        &mut self,
        tokens: u64,
        now: Instant,
    ) -> Result<Option<RateLimits>, ProviderError> {
        let waits = [(&mut self.requests, 1), (&mut self.tokens, tokens)]
            .map(|(bucket, amount)| bucket.as_mut().map(|bucket| bucket.wait_for(amount, now)));
        let mut longest = Duration::ZERO;
        for wait in waits.into_iter().flatten() {
            longest = longest.max(wait.ok_or_else(too_large)?);
        }
        if longest > Duration::ZERO {
            return Err(self.refusal(longest));
        }
        self.spend(1, tokens, now);
        Ok(self.hints.then(|| self.snapshot()))
    }

    /// Takes what is there, as far as it is there.
    pub(super) fn spend(&mut self, requests: u64, tokens: u64, now: Instant) {
        for (bucket, amount) in [(&mut self.requests, requests), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.take(amount, now);
            }
        }
    }

    fn refusal(&self, wait: Duration) -> ProviderError {
        let error = ProviderError::new(ErrorKind::RateLimited, "simulated rate limit reached")
            .with_status(429)
            .with_code("rate_limit_exceeded");
        if !self.hints {
            return error;
        }
        error.with_retry_after(wait).with_rate_limits(self.snapshot())
    }

    fn snapshot(&self) -> RateLimits {
        let mut limits = RateLimits::new();
        limits.requests = self.requests.as_ref().map(Bucket::window);
        limits.tokens = self.tokens.as_ref().map(Bucket::window);
        limits
    }
}

fn too_large() -> ProviderError {
    let message = "the request is larger than the simulated limit lets through at once";
    ProviderError::new(ErrorKind::InvalidRequest, message).with_status(413)
}

/// A bucket, exact to the nanosecond: its unit is what one nanosecond refills at a limit of one a
/// minute, so that a token is 6e10 units and a limit of L refills L units a nanosecond.
#[derive(Debug)]
struct Bucket {
    per_minute: u128,
    capacity: u128,
    level: u128,
    at: Instant,
}

const UNITS: u128 = MINUTE.as_nanos();

/// What `window` refills, in the bucket's units.
fn burst(per_minute: u64, window: Duration) -> u128 {
    u128::from(per_minute) * window.as_nanos()
}

impl Bucket {
    fn full(per_minute: u64, window: Duration, now: Instant) -> Self {
        let capacity = burst(per_minute, window);
        Self { per_minute: u128::from(per_minute), capacity, level: capacity, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        self.at = self.at.max(now);
        self.level = self.capacity.min(self.level + self.per_minute * elapsed);
    }

    /// How long until there is `amount`; `None` for never.
    fn wait_for(&mut self, amount: u64, now: Instant) -> Option<Duration> {
        self.refill(now);
        let needed = u128::from(amount) * UNITS;
        (needed <= self.capacity).then(|| self.time_for(needed.saturating_sub(self.level)))
    }

    fn take(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        self.level = self.level.saturating_sub(u128::from(amount) * UNITS);
    }

    fn time_for(&self, units: u128) -> Duration {
        // A bucket holds at most a day's refill, which is 8.64e13 ns.
        Duration::from_nanos(u64::try_from(units.div_ceil(self.per_minute)).unwrap_or(u64::MAX))
    }

    fn window(&self) -> LimitWindow {
        let whole = |units: u128| u64::try_from(units).unwrap_or(u64::MAX);
        LimitWindow::new()
            .with_limit(whole(self.per_minute))
            .with_remaining(whole(self.level / UNITS))
            .with_reset(self.time_for(self.capacity - self.level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    const NANO: Duration = Duration::from_nanos(1);

    fn account(limits: ServerLimits) -> (Account, Instant) {
        let now = time::now();
        (Account::new(&limits, now), now)
    }

    #[test]
    fn a_refused_request_passes_exactly_when_it_was_told_to_come_back() {
        let (mut account, now) = account(ServerLimits::new().tokens_per_minute(7_777));
        account.charge(7_777, now).unwrap();
        let wait = account.charge(13, now).unwrap_err().retry_after().unwrap();
        // 13 * 60e9 / 7777 is 100,295,743.86 ns: one nanosecond less would be too early.
        assert_eq!(wait, Duration::from_nanos(100_295_744));
        assert!(account.charge(13, now + wait - NANO).is_err());
        assert!(account.charge(13, now + wait).is_ok());
    }

    #[test]
    fn an_attempt_that_read_the_clock_earlier_brings_no_time_back() {
        let (mut account, now) = account(ServerLimits::new().requests_per_minute(60));
        account.spend(60, 0, now);
        let later = now + Duration::from_secs(1);
        assert!(account.charge(1, later).is_ok());
        assert!(account.charge(1, now).is_err());
        assert!(account.charge(1, later).is_err(), "the second was refilled twice");
    }

    #[test]
    fn a_refusal_takes_nothing_from_the_other_limit() {
        let limits = ServerLimits::new().requests_per_minute(2).tokens_per_minute(100);
        let (mut account, now) = account(limits);
        account.charge(100, now).unwrap();
        for _ in 0..9 {
            assert_eq!(account.charge(1, now).unwrap_err().kind(), ErrorKind::RateLimited);
        }
        // 0.6 s bring one token; the second request must still be there.
        assert!(account.charge(1, now + Duration::from_millis(600)).is_ok());
    }

    #[test]
    fn the_burst_is_the_window_at_the_limits_rate() {
        let limits =
            ServerLimits::new().requests_per_minute(600).burst_window(Duration::from_secs(8));
        let (mut account, now) = account(limits);
        let passed = (0..200).filter(|_| account.charge(1, now).is_ok()).count();
        assert_eq!(passed, 80);
    }

    #[test]
    fn the_hints_say_what_is_left_and_when_it_is_whole() {
        let limits = ServerLimits::new().requests_per_minute(60).tokens_per_minute(6_000);
        let (mut account, now) = account(limits);
        let hints = account.charge(1_000, now).unwrap().unwrap();
        let window = |limit, remaining, seconds| {
            Some(
                LimitWindow::new()
                    .with_limit(limit)
                    .with_remaining(remaining)
                    .with_reset(Duration::from_secs(seconds)),
            )
        };
        assert_eq!(hints.requests, window(60, 59, 1));
        assert_eq!(hints.tokens, window(6_000, 5_000, 10));
    }

    #[test]
    fn without_hints_a_refusal_says_nothing() {
        let limits = ServerLimits::new().requests_per_minute(1).without_hints();
        let (mut account, now) = account(limits);
        assert_eq!(account.charge(1, now).unwrap(), None);
        let refusal = account.charge(1, now).unwrap_err();
        assert_eq!((refusal.status(), refusal.retry_hint()), (Some(429), None));
        assert!(refusal.rate_limits().is_none());
    }

    #[test]
    fn what_could_never_pass_is_not_a_rate_limit() {
        let (mut account, now) = account(ServerLimits::new().tokens_per_minute(10));
        assert_eq!(account.charge(11, now).unwrap_err().kind(), ErrorKind::InvalidRequest);
        assert_eq!(account.charge(u64::MAX, now).unwrap_err().status(), Some(413));
        assert!(account.charge(10, now).is_ok());
    }

    #[test]
    fn limits_without_meaning_are_named() {
        let field = |limits: ServerLimits| limits.validate().unwrap_err().field().to_owned();
        assert_eq!(field(ServerLimits::new().requests_per_minute(0)), "limits.requests_per_minute");
        assert_eq!(
            field(ServerLimits::new().tokens_per_minute(u64::MAX)),
            "limits.tokens_per_minute"
        );
        assert_eq!(field(ServerLimits::new().burst_window(Duration::ZERO)), "limits.burst_window");
        let less_than_one =
            ServerLimits::new().requests_per_minute(6).burst_window(Duration::from_secs(9));
        assert_eq!(field(less_than_one), "limits.burst_window");
        assert!(ServerLimits::new().validate().is_ok());
    }
}
