//! What an endpoint's answers are like: averages of times.
//!
//! Every cell is one atomic word, written by whichever attempt ends.

use std::time::Duration;

use crate::balance::averages::Average;
use crate::outcome::{Latency, Outcome};

/// One endpoint's times.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    ttft: Average,
    time_per_token: Average,
}

impl Load {
    /// Seconds, as of the last sample; `None` before the first answer.
    fn ttft(&self) -> Option<f32> {
        self.ttft.get()
    }

    /// Seconds; what is `usual` where nothing is known, and more and more so where nothing new is.
    /// `at` is in milliseconds since whenever the balancer counts them from.
    #[inline]
    pub(crate) fn expected_ttft(&self, usual: f32, at: u32) -> f32 {
        self.ttft.expected(usual, at)
    }

    /// Seconds, in the same way.
    #[inline]
    pub(crate) fn expected_time_per_token(&self, usual: f32, at: u32) -> f32 {
        self.time_per_token.expected(usual, at)
    }

    /// The expected TTFT as picks see it at `at`; `None` before the first answer.
    pub(crate) fn ttft_at(&self, typical: &Typical, at: u32) -> Option<Duration> {
        self.ttft().map(|_| seconds(self.expected_ttft(typical.ttft(), at)))
    }

    /// The expected time per token as picks see it at `at`; `None` before the first answer that
    /// counted its tokens.
    pub(crate) fn time_per_token_at(&self, typical: &Typical, at: u32) -> Option<Duration> {
        let expected = || self.expected_time_per_token(typical.time_per_token(), at);
        self.time_per_token.get().map(|_| seconds(expected()))
    }

    /// Learns from how an attempt ended after `elapsed`, as the outcome's row says.
    pub(crate) fn learn(&self, outcome: &Outcome, elapsed: Duration, at: u32) {
        let latency = outcome.end.row().latency;
        if let Some(ttft) = self.ttft_sample(latency, outcome, elapsed) {
            self.ttft.observe(ttft.as_secs_f32(), at);
        }
        if latency == Latency::Observe {
            self.learn_rest(outcome, elapsed, at);
        }
    }

    fn ttft_sample(
        &self,
        latency: Latency,
        outcome: &Outcome,
        elapsed: Duration,
    ) -> Option<Duration> {
        match latency {
            Latency::Observe => Some(outcome.ttft.unwrap_or(elapsed)),
            Latency::ObserveTtft => outcome.ttft,
            Latency::ObserveElapsed => Some(elapsed),
            Latency::Penalty => Some(elapsed.max(outcome.timeout.unwrap_or_default())),
            // Before the first answer there is no estimate to raise.
            Latency::RaiseOnly if outcome.ttft.is_none() => {
                self.ttft().filter(|&known| elapsed.as_secs_f32() > known).map(|_| elapsed)
            }
            Latency::RaiseOnly | Latency::None => None,
        }
    }

    fn learn_rest(&self, outcome: &Outcome, elapsed: Duration, at: u32) {
        if let Some(per_token) = time_per_token(outcome, elapsed) {
            self.time_per_token.observe(per_token, at);
        }
    }
}

/// Averages are finite, but as long as a clock may claim.
fn seconds(seconds: f32) -> Duration {
    Duration::try_from_secs_f32(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// Seconds per output token after the first content; `None` where that is not known.
fn time_per_token(outcome: &Outcome, elapsed: Duration) -> Option<f32> {
    let tokens = outcome.output_tokens().filter(|&tokens| tokens > 1)?;
    let rest = elapsed.saturating_sub(outcome.ttft?);
    Some(rest.as_secs_f32() / (tokens - 1) as f32)
}

/// What answers of a whole balancer are like: what is assumed of an endpoint that has not answered
/// yet, or not for long, so that such a one neither draws all traffic nor gets none.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    ttft: Average,
    time_per_token: Average,
    output: Average,
}

impl Typical {
    /// Learns from a success that took `elapsed`; `at` as in [`Load`]. Of a millisecond only the
    /// first one counts: every success of every endpoint comes here, and a busy balancer must not
    /// have all threads write one word for an average over half a minute.
    pub(crate) fn learn(&self, outcome: &Outcome, elapsed: Duration, at: u32) {
        if self.ttft.is_of(at) {
            return;
        }
        self.ttft.observe(outcome.ttft.unwrap_or(elapsed).as_secs_f32(), at);
        if let Some(tokens) = outcome.output_tokens() {
            self.output.observe(tokens as f32, at);
        }
        if let Some(per_token) = time_per_token(outcome, elapsed) {
            self.time_per_token.observe(per_token, at);
        }
    }

    /// Seconds.
    pub(crate) fn ttft(&self) -> f32 {
        self.ttft.get().unwrap_or(1.0)
    }

    /// Seconds.
    pub(crate) fn time_per_token(&self) -> f32 {
        self.time_per_token.get().unwrap_or(0.0)
    }

    /// How long an attempt takes from its start to its end; `None` before the first success.
    pub(crate) fn service(&self) -> Option<Duration> {
        let rest = self.time_per_token() * (self.output() - 1.0).max(0.0);
        self.ttft.get().map(|ttft| seconds(ttft + rest))
    }

    /// Tokens.
    pub(crate) fn output(&self) -> f32 {
        self.output.get().unwrap_or(256.0)
    }

    /// Tokens.
    pub(crate) fn output_tokens(&self) -> u64 {
        self.output() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::outcome::End;

    const SECOND: Duration = Duration::from_secs(1);

    fn success(ttft: Duration) -> Outcome {
        Outcome::new(End::Success).with_ttft(Some(ttft))
    }

    #[test]
    fn a_failure_that_is_fast_does_not_look_fast() {
        let load = Load::default();
        load.learn(&success(SECOND), SECOND * 2, 0);
        let mut failure = Outcome::new(End::Failed(ErrorKind::Server));
        failure.timeout = Some(SECOND * 60);
        load.learn(&failure, Duration::from_millis(1), 1_000);
        assert!(load.ttft().unwrap() > 3.0, "{:?}", load.ttft());
    }

    #[test]
    fn what_is_not_known_or_not_known_any_more_is_expected_to_be_typical() {
        let (load, typical) = (Load::default(), Typical::default());
        let answered = success(SECOND).with_usage(crate::usage::Usage::counted(1, 11));
        typical.learn(&answered, SECOND * 6, 0);
        let expected = |load: &Load, at| {
            let ttft = load.expected_ttft(typical.ttft(), at);
            (ttft, load.expected_time_per_token(typical.time_per_token(), at))
        };
        assert_eq!(expected(&load, 0), (1.0, 0.5));

        let slow = success(SECOND * 9).with_usage(crate::usage::Usage::counted(1, 11));
        load.learn(&slow, SECOND * 29, 0);
        assert_eq!(expected(&load, 0), (9.0, 2.0));
        let (ttft, per_token) = expected(&load, 600_000);
        assert!(ttft < 1.01 && per_token < 0.51, "{ttft} {per_token}");
    }

    #[test]
    fn what_is_typical_is_learnt_from_one_success_a_millisecond() {
        let typical = Typical::default();
        typical.learn(&success(SECOND), SECOND, 1);
        (0..50).for_each(|_| typical.learn(&success(SECOND * 9), SECOND * 9, 1));
        assert_eq!(typical.ttft(), 1.0);
        typical.learn(&success(SECOND * 9), SECOND * 9, 2);
        assert_eq!(typical.ttft(), 1.5, "the sample is one of sixteen");
    }

    #[test]
    fn faults_of_the_request_teach_nothing_and_an_abandoned_call_only_raises() {
        let load = Load::default();
        let abandoned = Outcome::new(End::Abandoned);
        load.learn(&abandoned, SECOND * 9, 0);
        assert_eq!(load.ttft(), None);
        load.learn(&success(SECOND), SECOND, 0);
        for end in [End::Failed(ErrorKind::InvalidRequest), End::Failed(ErrorKind::RateLimited)] {
            load.learn(&Outcome::new(end), SECOND * 50, 0);
        }
        load.learn(&abandoned, SECOND / 2, 0);
        assert_eq!(load.ttft(), Some(1.0));
        load.learn(&abandoned, SECOND * 3, 0);
        assert!(load.ttft().unwrap() > 1.0);
    }
}
