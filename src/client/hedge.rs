//! When a second attempt is started beside a slow one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::attempt::Attempt;
use crate::client::recent_ttfts::RecentTtfts;
use crate::error::BuildError;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::Instant;

/// When a client hedges: it starts a second attempt, on another endpoint, beside one that has shown
/// no content yet. The first of the two to show content has the call, and the other is cancelled.
///
/// Hedging cuts the slowest answers off, and pays with requests whose answers nobody reads. It is
/// therefore off unless a client is given a policy, and bounded where it is on:
///
/// * A call hedges once, before its first content, and only where an endpoint that the call has not
///   tried is free at once.
/// * Every hedge is taken out of the client's [retry budget](super::RetryPolicy::budget), and counts
///   as one of the call's attempts.
/// * Both attempts end by the call's deadline, and carry the same idempotency key.
///
/// If one of the two fails, the other goes on; if both do, the call is retried as after any failure,
/// on endpoints that neither of them used.
///
/// ```
/// use std::time::Duration;
/// use evenkeel::client::HedgePolicy;
/// # use evenkeel::{ChatResponse, Endpoint, LlmClient, provider_fn};
/// # let endpoint = |id: &'static str| {
/// #     Endpoint::new(provider_fn(id, |_, _| async { Ok(ChatResponse::text_only("hi")) }))
/// # };
///
/// let client = LlmClient::builder()
///     .endpoint(endpoint("eu"))
///     .endpoint(endpoint("us"))
///     .hedge(HedgePolicy::after(Duration::from_millis(1_500)))
///     .build()?;
/// # Ok::<(), evenkeel::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HedgePolicy {
    /// How long an attempt may show no content.
    pub delay: HedgeDelay,
    /// A learned delay acts once so many attempts were seen. Default 32.
    #[serde(default = "default_min_samples")]
    pub min_samples: u32,
}

/// How long an attempt may show no content before it is hedged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HedgeDelay {
    /// So long from its start. A provider that answers whole shows content when it is done.
    Fixed(#[serde(with = "crate::duration")] Duration),
    /// As long as this share of the client's recent attempts took to their first content.
    TtftQuantile(f64),
}

const fn default_min_samples() -> u32 {
    32
}

impl HedgePolicy {
    /// Hedges an attempt that has shown no content `delay` after its start.
    #[must_use]
    pub const fn after(delay: Duration) -> Self {
        Self { delay: HedgeDelay::Fixed(delay), min_samples: default_min_samples() }
    }

    /// Hedges an attempt that is slower than this share of the client's recent attempts; 0.95 hedges
    /// about one in twenty.
    ///
    /// The delay is learned from the TTFT of the attempts themselves, hedges left out, over all models
    /// and endpoints of the client together; the latest thousand or so count. An attempt that lost to
    /// its hedge counts with the time it had taken by then. The delay is rounded up by at most 12.5 %.
    /// Providers that answer whole have no TTFT: their attempts teach nothing, and are not hedged.
    #[must_use]
    pub const fn after_ttft_quantile(quantile: f64) -> Self {
        Self { delay: HedgeDelay::TtftQuantile(quantile), min_samples: default_min_samples() }
    }

    /// With the number of attempts a learned delay waits for.
    #[must_use]
    pub const fn min_samples(mut self, samples: u32) -> Self {
        self.min_samples = samples;
        self
    }

    pub(super) fn validate(&self) -> Result<(), BuildError> {
        match self.delay {
            HedgeDelay::Fixed(Duration::ZERO) => {
                Err(BuildError::new("hedge.delay", "must be above zero"))
            }
            HedgeDelay::TtftQuantile(quantile) if !(quantile > 0.0 && quantile < 1.0) => {
                Err(BuildError::new("hedge.delay", "a quantile lies between 0 and 1"))
            }
            HedgeDelay::Fixed(_) | HedgeDelay::TtftQuantile(_) => Ok(()),
        }
    }
}

/// A client's policy with what it has learned.
#[derive(Debug, Default)]
pub(super) enum Hedging {
    #[default]
    Off,
    Fixed(Duration),
    Learned(Box<LearnedDelay>),
}

impl Hedging {
    pub(super) fn new(policy: Option<HedgePolicy>) -> Self {
        let Some(HedgePolicy { delay, min_samples }) = policy else { return Self::Off };
        match delay {
            HedgeDelay::Fixed(delay) => Self::Fixed(delay),
            HedgeDelay::TtftQuantile(quantile) => {
                Self::Learned(Box::new(LearnedDelay::new(quantile, min_samples)))
            }
        }
    }

    /// How long an attempt may show no content; `None` where it is not hedged.
    pub(super) fn delay(&self, shows_first_content: bool) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Fixed(delay) => Some(*delay),
            Self::Learned(learned) => learned.delay().filter(|_| shows_first_content),
        }
    }

    /// Learns that `attempt` showed no content before `at`. Hedges teach nothing: they are made
    /// where the first attempts are slow, and would count those calls twice.
    pub(super) fn learn(&self, attempt: &Attempt, at: Instant) {
        if let Self::Learned(learned) = self
            && attempt.lease().capabilities().streaming
            && !attempt.is_hedge()
        {
            learned.learn(at.saturating_duration_since(attempt.started()));
        }
    }
}

/// A quantile of the recent TTFTs. Learning takes a lock for a walk over a few hundred counters;
/// reading is one load.
#[derive(Debug)]
pub(super) struct LearnedDelay {
    quantile: f64,
    min_samples: u32,
    recent: Mutex<RecentTtfts>,
    /// The delay in microseconds, 0 while too little is known. Relaxed: the word stands alone.
    micros: AtomicU64,
}

impl LearnedDelay {
    fn new(quantile: f64, min_samples: u32) -> Self {
        Self { quantile, min_samples, recent: Mutex::default(), micros: AtomicU64::new(0) }
    }

    fn delay(&self) -> Option<Duration> {
        let micros = self.micros.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    fn learn(&self, ttft: Duration) {
        let mut recent = self.recent.lock();
        recent.add(ttft);
        if recent.seen() >= self.min_samples {
            self.micros.store(recent.quantile(self.quantile), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_the_name_of_the_field() {
        for policy in [
            HedgePolicy::after(Duration::ZERO),
            HedgePolicy::after_ttft_quantile(0.0),
            HedgePolicy::after_ttft_quantile(1.0),
            HedgePolicy::after_ttft_quantile(f64::NAN),
        ] {
            assert_eq!(policy.validate().unwrap_err().field(), "hedge.delay", "{policy:?}");
        }
        assert_eq!(HedgePolicy::after_ttft_quantile(0.95).validate(), Ok(()));
    }

    #[test]
    fn a_policy_is_configured_as_people_write_durations() {
        let read = |text: &str| serde_json::from_str::<HedgePolicy>(text);
        let fixed = read(r#"{"delay":{"fixed":"1.5s"}}"#).unwrap();
        assert_eq!(fixed, HedgePolicy::after(Duration::from_millis(1_500)));
        let learned = read(r#"{"delay":{"ttft_quantile":0.95},"min_samples":100}"#).unwrap();
        assert_eq!(learned, HedgePolicy::after_ttft_quantile(0.95).min_samples(100));
        assert!(read(r#"{"delay":{"fixed":"1s"},"min_sample":1}"#).is_err());
    }

    #[test]
    fn a_learned_delay_acts_from_its_number_of_samples_on() {
        let learned = LearnedDelay::new(0.5, 3);
        for _ in 0..2 {
            learned.learn(Duration::from_millis(800));
            assert_eq!(learned.delay(), None);
        }
        learned.learn(Duration::from_millis(800));
        let delay = learned.delay().unwrap();
        assert!(delay >= Duration::from_millis(800) && delay <= Duration::from_millis(900));
    }
}
