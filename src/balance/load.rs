//! What an endpoint's calls are like: running ones, waits, and averages of times.
//!
//! Every cell is one atomic word, written by whichever attempt ends.

use std::time::Duration;

use crate::balance::averages::Average;
use crate::outcome::{Latency, Outcome};
use crate::sync::{AtomicU64, Ordering};
use crate::time::Instant;

/// How many calls without content are told apart by age. Calls beyond that are not tracked: when so
/// many wait, the oldest of the tracked ones says enough.
const TRACKED: usize = 64;

/// One endpoint's times.
#[derive(Debug)]
pub(crate) struct Load {
    epoch: Instant,
    ttft: Average,
    time_per_token: Average,
    /// Which of `starts` are in use, a bit each.
    waiting: AtomicU64,
    /// When the tracked calls started, in nanoseconds since `epoch`.
    starts: [AtomicU64; TRACKED],
}

/// The place of a call among those that wait for their first content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting(u8);

impl Load {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            ttft: Average::default(),
            time_per_token: Average::default(),
            waiting: AtomicU64::new(0),
            starts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Notes a call that starts to wait; `None` when too many do.
    pub(crate) fn begin(&self, now: Instant) -> Option<Waiting> {
        let mut waiting = self.waiting.load(Ordering::Relaxed);
        loop {
            let place = waiting.trailing_ones();
            let bit = 1u64.checked_shl(place)?;
            // Relaxed: a reader that sees the bit before the start takes the start of an earlier
            // call, which makes the wait look longer for an instant.
            match self.waiting.compare_exchange_weak(
                waiting,
                waiting | bit,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    self.starts[place as usize].store(self.nanos(now), Ordering::Relaxed);
                    return Some(Waiting(place as u8));
                }
                Err(current) => waiting = current,
            }
        }
    }

    /// The call waits no longer.
    pub(crate) fn end(&self, place: Waiting) {
        // The largest value is no start: whoever takes the place next is not older than it is.
        self.starts[usize::from(place.0)].store(u64::MAX, Ordering::Relaxed);
        self.waiting.fetch_and(!(1 << place.0), Ordering::Relaxed);
    }

    /// How long the call that waits longest has waited.
    pub(crate) fn oldest_wait(&self, now: Instant) -> Option<Duration> {
        let mut waiting = self.waiting.load(Ordering::Relaxed);
        let mut oldest = u64::MAX;
        while waiting != 0 {
            oldest =
                oldest.min(self.starts[waiting.trailing_zeros() as usize].load(Ordering::Relaxed));
            waiting &= waiting - 1;
        }
        let since = |oldest| Duration::from_nanos(self.nanos(now).saturating_sub(oldest));
        (oldest != u64::MAX).then(|| since(oldest))
    }

    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Seconds, as of the last sample; `None` before the first answer.
    pub(crate) fn ttft(&self) -> Option<f32> {
        self.ttft.get()
    }

    /// Seconds, as of the last sample; `None` before the first answer that counted its tokens.
    pub(crate) fn time_per_token(&self) -> Option<f32> {
        self.time_per_token.get()
    }

    /// Seconds; what is typical where nothing is known, and more and more so where nothing new is.
    pub(crate) fn expected_ttft(&self, typical: &Typical, now: Instant) -> f32 {
        self.ttft.expected(typical.ttft(), self.millis(now))
    }

    /// Seconds, in the same way.
    pub(crate) fn expected_time_per_token(&self, typical: &Typical, now: Instant) -> f32 {
        self.time_per_token.expected(typical.time_per_token(), self.millis(now))
    }

    /// Learns from how an attempt ended after `elapsed`, as the outcome's row says.
    pub(crate) fn learn(&self, outcome: &Outcome, elapsed: Duration, now: Instant) {
        let at = self.millis(now);
        let ttft = |time: Duration| self.ttft.observe(time.as_secs_f32(), at);
        match (outcome.end.row().latency, outcome.ttft) {
            (Latency::Observe, first) => {
                ttft(first.unwrap_or(elapsed));
                self.learn_rest(outcome, elapsed, at);
            }
            (Latency::ObserveTtft, Some(first)) => ttft(first),
            (Latency::ObserveElapsed, _) => ttft(elapsed),
            (Latency::Penalty, _) => ttft(elapsed.max(outcome.timeout.unwrap_or_default())),
            (Latency::RaiseOnly, None) if Some(elapsed.as_secs_f32()) > self.ttft() => {
                // Before the first answer there is no estimate to raise.
                if self.ttft().is_some() {
                    ttft(elapsed);
                }
            }
            (Latency::ObserveTtft | Latency::RaiseOnly | Latency::None, _) => {}
        }
    }

    fn learn_rest(&self, outcome: &Outcome, elapsed: Duration, at: u32) {
        if let Some(per_token) = time_per_token(outcome, elapsed) {
            self.time_per_token.observe(per_token, at);
        }
    }

    fn millis(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.epoch).as_millis() as u32
    }
}

/// Seconds per output token after the first content; `None` where that is not known.
fn time_per_token(outcome: &Outcome, elapsed: Duration) -> Option<f32> {
    let tokens = outcome.output_tokens().filter(|&tokens| tokens > 1)?;
    let rest = elapsed.saturating_sub(outcome.ttft?);
    Some(rest.as_secs_f32() / (tokens - 1) as f32)
}

/// What answers of a whole balancer are like: what is assumed of an endpoint that has not answered
/// yet, or not for long, so that such a one neither draws all traffic nor gets none.
#[derive(Debug)]
pub(crate) struct Typical {
    epoch: Instant,
    ttft: Average,
    time_per_token: Average,
    output: Average,
}

impl Typical {
    pub(crate) fn new(epoch: Instant) -> Self {
        let average = Average::default;
        Self { epoch, ttft: average(), time_per_token: average(), output: average() }
    }

    pub(crate) fn learn(&self, outcome: &Outcome, elapsed: Duration, now: Instant) {
        let at = now.saturating_duration_since(self.epoch).as_millis() as u32;
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
    use crate::time::now;

    const SECOND: Duration = Duration::from_secs(1);

    fn success(ttft: Duration) -> Outcome {
        Outcome::new(End::Success).with_ttft(Some(ttft))
    }

    #[test]
    fn the_oldest_wait_is_exact_and_places_are_reused() {
        let start = now();
        let load = Load::new(start);
        assert_eq!(load.oldest_wait(start), None);
        let first = load.begin(start + SECOND).unwrap();
        let second = load.begin(start + SECOND * 3).unwrap();
        assert_eq!(load.oldest_wait(start + SECOND * 5), Some(SECOND * 4));
        load.end(first);
        assert_eq!(load.oldest_wait(start + SECOND * 5), Some(SECOND * 2));
        assert_eq!(load.begin(start + SECOND * 6), Some(first));
        load.end(second);
        assert_eq!(load.oldest_wait(start + SECOND * 7), Some(SECOND));
    }

    #[test]
    fn more_waits_than_places_are_not_tracked_and_leave_no_trace() {
        let start = now();
        let load = Load::new(start);
        let places: Vec<_> = (0..TRACKED).filter_map(|_| load.begin(start)).collect();
        assert_eq!((places.len(), load.begin(start)), (TRACKED, None));
        places.into_iter().for_each(|place| load.end(place));
        assert_eq!(load.oldest_wait(start + SECOND), None);
    }

    #[test]
    fn a_failure_that_is_fast_does_not_look_fast() {
        let start = now();
        let load = Load::new(start);
        load.learn(&success(SECOND), SECOND * 2, start);
        let mut failure = Outcome::new(End::Failed(ErrorKind::Server));
        failure.timeout = Some(SECOND * 60);
        load.learn(&failure, Duration::from_millis(1), start + SECOND);
        assert!(load.ttft().unwrap() > 3.0, "{:?}", load.ttft());
    }

    #[test]
    fn what_is_not_known_or_not_known_any_more_is_expected_to_be_typical() {
        let start = now();
        let (load, typical) = (Load::new(start), Typical::new(start));
        let answered = success(SECOND).with_usage(crate::usage::Usage::counted(1, 11));
        typical.learn(&answered, SECOND * 6, start);
        let expected = |load: &Load, at| {
            (load.expected_ttft(&typical, at), load.expected_time_per_token(&typical, at))
        };
        assert_eq!(expected(&load, start), (1.0, 0.5));

        let slow = success(SECOND * 9).with_usage(crate::usage::Usage::counted(1, 11));
        load.learn(&slow, SECOND * 29, start);
        assert_eq!(expected(&load, start), (9.0, 2.0));
        let (ttft, per_token) = expected(&load, start + SECOND * 600);
        assert!(ttft < 1.01 && per_token < 0.51, "{ttft} {per_token}");
    }

    #[test]
    fn faults_of_the_request_teach_nothing_and_an_abandoned_call_only_raises() {
        let start = now();
        let load = Load::new(start);
        let abandoned = Outcome::new(End::Abandoned);
        load.learn(&abandoned, SECOND * 9, start);
        assert_eq!(load.ttft(), None);
        load.learn(&success(SECOND), SECOND, start);
        for end in [End::Failed(ErrorKind::InvalidRequest), End::Failed(ErrorKind::RateLimited)] {
            load.learn(&Outcome::new(end), SECOND * 50, start);
        }
        load.learn(&abandoned, SECOND / 2, start);
        assert_eq!(load.ttft(), Some(1.0));
        load.learn(&abandoned, SECOND * 3, start);
        assert!(load.ttft().unwrap() > 1.0);
    }
}
