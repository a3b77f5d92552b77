//! How fast a lane's backlog passes. Pure.

use std::time::Duration;

use crate::time::Instant;

/// How many tokens pass per second while somebody waits. Time in which nobody did is not counted:
/// it says nothing about the gate.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    per_second: Option<f64>,
    /// Since when somebody waits, or since the span began.
    since: Option<Instant>,
    /// Of the span, before `since`.
    waited: Duration,
    tokens: u64,
}

impl Drain {
    /// Rates are measured over at least so long: a burst says nothing about the minute.
    const SPAN: Duration = Duration::from_secs(2);

    /// Somebody waits from now on.
    pub(crate) fn begins(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Nobody does any more.
    pub(crate) fn ends(&mut self, now: Instant) {
        self.waited = self.waited_until(now);
        self.since = None;
    }

    fn waited_until(&self, now: Instant) -> Duration {
        self.waited
            + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(crate) fn served(&mut self, tokens: u32, now: Instant) {
        self.tokens = self.tokens.saturating_add(tokens.into());
        let waited = self.waited_until(now);
        if waited >= Self::SPAN {
            let rate = self.tokens as f64 / waited.as_secs_f64();
            self.per_second =
                Some(self.per_second.map_or(rate, |before| before.mul_add(0.7, rate * 0.3)));
            (self.since, self.waited, self.tokens) = (Some(now), Duration::ZERO, 0);
        }
    }

    /// `None` where nothing is known.
    pub(crate) fn time_for(&self, tokens: u64) -> Option<Duration> {
        let rate = self.per_second.filter(|&rate| rate > 0.0)?;
        Duration::try_from_secs_f64(tokens as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    #[test]
    fn a_rate_is_that_of_the_time_in_which_somebody_waited() {
        let (mut drain, mut at) = (Drain::default(), now());
        for _ in 0..5 {
            drain.begins(at);
            at += Duration::from_secs(1);
            drain.served(100, at);
            drain.ends(at);
            at += Duration::from_secs(3_600);
        }
        assert_eq!(drain.time_for(1_000), Some(Duration::from_secs(10)));
    }

    #[test]
    fn nothing_is_known_before_the_first_span() {
        let (mut drain, at) = (Drain::default(), now());
        drain.begins(at);
        drain.served(100, at + Duration::from_secs(1));
        assert_eq!(drain.time_for(1), None);
    }
}
