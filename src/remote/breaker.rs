//! Whether a store is worth asking. Pure.

use std::time::Duration;

use crate::rng::Rng;
use crate::time::{Instant, after};

/// Failures in a row that open it.
const CONSECUTIVE: u32 = 5;
/// Or a share of one half among at least so many operations of a window.
const SAMPLES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// The first opening lasts so long at the most, each further one twice as long, up to the second.
const OPEN_FOR: Duration = Duration::from_millis(500);
const OPEN_FOR_AT_MOST: Duration = Duration::from_secs(8);
/// At least so much of an opening passes: jitter that came out as nothing would be no opening.
const LEAST_SHARE: f64 = 0.5;
/// A trial that was never reported is given up after so long: its future was lost, not dropped.
const TRIAL_FOR: Duration = Duration::from_secs(10);

/// Stops asking a store that keeps failing, and finds out by one operation at a time when it is back.
///
/// It opens on five failures in a row, or when half of at least twenty operations of a second failed.
/// An opening lasts between half of and all of 500 ms, drawn at random so that the instances do not
/// come back together; each further one twice as long, 8 s at the most. One trial that succeeds closes
/// it.
#[derive(Debug, Default)]
pub struct Breaker {
    consecutive: u32,
    window: Window,
    openings: u32,
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Trial {
        since: Instant,
    },
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// The store is asked.
    Closed,
    /// It is not asked.
    Open,
    /// One operation finds out whether it is back.
    HalfOpen,
}

impl BreakerState {
    /// A label of low cardinality.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The right to ask once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what became of it has to be reported"]
pub struct Permit {
    trial: bool,
}

impl Breaker {
    /// One that is closed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How it stands.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Trial { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long it is not to be asked: nothing where a trial is due, `None` while it is closed.
    #[must_use]
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::Trial { since } => Some(after(since, TRIAL_FOR).saturating_duration_since(now)),
        }
    }

    /// Whether the store may be asked at `now`.
    ///
    /// # Errors
    /// How long it is not to be asked.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.rest(now) {
            None => Ok(Permit { trial: false }),
            Some(rest) if rest.is_zero() => {
                self.state = State::Trial { since: now };
                Ok(Permit { trial: true })
            }
            Some(rest) => Err(rest),
        }
    }

    /// The store answered. Whether that changed how the breaker stands.
    pub fn succeeded(&mut self, permit: &Permit, now: Instant) -> bool {
        self.window.add(now, false);
        // What was asked before it opened may still be answered, and says nothing of now.
        match self.state {
            State::Closed => self.consecutive = 0,
            State::Trial { .. } if permit.trial => *self = Self::default(),
            State::Open { .. } | State::Trial { .. } => return false,
        }
        permit.trial
    }

    /// The store failed. Whether that changed how the breaker stands.
    pub fn failed(&mut self, permit: &Permit, now: Instant, rng: &Rng) -> bool {
        let opens = match self.state {
            State::Closed => {
                self.consecutive += 1;
                self.window.add(now, true);
                self.consecutive >= CONSECUTIVE || self.window.is_bad()
            }
            State::Trial { .. } => permit.trial,
            State::Open { .. } => false,
        };
        if opens {
            self.open(now, rng);
        }
        opens
    }

    /// It was not found out whether the store answers: the operation was dropped.
    pub fn abandoned(&mut self, permit: &Permit, now: Instant) {
        if permit.trial && matches!(self.state, State::Trial { .. }) {
            self.state = State::Open { until: now };
        }
    }

    fn open(&mut self, now: Instant, rng: &Rng) {
        let longest = OPEN_FOR.saturating_mul(1 << self.openings.min(4)).min(OPEN_FOR_AT_MOST);
        let share = LEAST_SHARE + (1.0 - LEAST_SHARE) * rng.unit();
        self.openings = self.openings.saturating_add(1);
        self.consecutive = 0;
        self.window = Window::default();
        self.state = State::Open { until: after(now, longest.mul_f64(share)) };
    }
}

/// Counts of the last second, roughly: it starts anew when it is over.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    all: u32,
    failures: u32,
}

impl Window {
    fn add(&mut self, now: Instant, failed: bool) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > WINDOW) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        self.all = self.all.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
    }

    const fn is_bad(&self) -> bool {
        self.all >= SAMPLES && self.failures.saturating_mul(2) >= self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    fn fail(breaker: &mut Breaker, at: Instant, rng: &Rng) -> bool {
        let permit = breaker.admit(at).unwrap();
        breaker.failed(&permit, at, rng)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_in_between_does_not_let_them() {
        let (mut breaker, at, rng) = (Breaker::new(), now(), Rng::from_seed(1));
        for _ in 0..4 {
            assert!(!fail(&mut breaker, at, &rng));
        }
        let permit = breaker.admit(at).unwrap();
        assert!(!breaker.succeeded(&permit, at), "it was closed before");
        for _ in 0..4 {
            assert!(!fail(&mut breaker, at, &rng));
        }
        assert!(fail(&mut breaker, at, &rng));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(at).is_err());
    }

    #[test]
    fn half_of_twenty_in_a_second_open_it_but_not_half_of_twenty_in_ten() {
        for (apart, opens) in [(10, true), (500, false)] {
            let (mut breaker, mut at, rng) = (Breaker::new(), now(), Rng::from_seed(1));
            for i in 0..30 {
                let Ok(permit) = breaker.admit(at) else { break };
                match i % 2 {
                    0 => breaker.succeeded(&permit, at),
                    _ => breaker.failed(&permit, at, &rng),
                };
                at += Duration::from_millis(apart);
            }
            assert_eq!(breaker.state() == BreakerState::Open, opens, "{apart} ms apart");
        }
    }

    #[test]
    fn openings_double_up_to_eight_seconds_and_end_with_one_good_trial() {
        let (mut breaker, mut at, rng) = (Breaker::new(), now(), Rng::from_seed(3));
        for _ in 0..CONSECUTIVE {
            fail(&mut breaker, at, &rng);
        }
        let mut longest = OPEN_FOR;
        for _ in 0..8 {
            let rest = breaker.admit(at).unwrap_err();
            assert!(rest >= longest / 2 && rest <= longest, "{rest:?} of {longest:?}");
            longest = (longest * 2).min(OPEN_FOR_AT_MOST);
            at += rest;
            assert!(fail(&mut breaker, at, &rng));
        }
        at += OPEN_FOR_AT_MOST;
        let permit = breaker.admit(at).unwrap();
        assert!(breaker.admit(at).is_err(), "one trial at a time");
        assert!(breaker.succeeded(&permit, at));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_trial_that_was_dropped_lets_the_next_one_in_at_once() {
        let (mut breaker, at, rng) = (Breaker::new(), now(), Rng::from_seed(3));
        for _ in 0..CONSECUTIVE {
            fail(&mut breaker, at, &rng);
        }
        let at = at + OPEN_FOR;
        let permit = breaker.admit(at).unwrap();
        breaker.abandoned(&permit, at);
        assert!(breaker.admit(at).unwrap().trial);
        assert!(breaker.admit(at + TRIAL_FOR).is_ok(), "a lost trial is not for ever");
    }

    #[test]
    fn an_answer_from_before_it_opened_does_not_close_it() {
        let (mut breaker, at, rng) = (Breaker::new(), now(), Rng::from_seed(3));
        let early = breaker.admit(at).unwrap();
        for _ in 0..CONSECUTIVE {
            fail(&mut breaker, at, &rng);
        }
        assert!(!breaker.succeeded(&early, at));
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
