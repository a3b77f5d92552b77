//! The circuit breaker of one endpoint. Pure.
//!
//! Closed, it counts; open, the endpoint gets nothing for a time that doubles with every opening;
//! then half open, one attempt at a time finds out. Two successes close it, and the endpoint's
//! share returns over half a minute, so that a backend that has just come up is not run over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::health::Verdict;
use crate::error::BuildError;
use crate::outcome::Health;
use crate::rng::Rng;
use crate::time::{Instant, after};

/// The window is kept in so many parts; it slides by whole parts.
const PARTS: usize = 6;

/// Openings beyond this do not double any further; with any base they are past the cap.
const MOST_DOUBLINGS: u32 = 16;

/// When the breaker of an endpoint opens and how it closes.
///
/// The minimum number of samples is low because LLM traffic is: at one call a second, a share of
/// faults over a hundred calls would be noticed after two minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerPolicy {
    /// Faults in a row that open it. Default 5.
    pub consecutive: u32,
    /// The share of faults within [`window`](Self::window) that opens it, above 0 to 1. Default 0.5.
    pub fault_share: f64,
    /// How many outcomes the window must hold for the share to count. Default 20.
    pub min_samples: u32,
    /// How far back the share looks. Default 60 s.
    #[serde(with = "crate::duration")]
    pub window: Duration,
    /// How long the first opening lasts; each further one lasts twice as long, plus or minus a
    /// fifth. Default 10 s.
    #[serde(with = "crate::duration")]
    pub open_for: Duration,
    /// The longest opening. Default 300 s.
    #[serde(with = "crate::duration")]
    pub max_open_for: Duration,
    /// Successful probes that close it. Default 2.
    pub probes: u32,
    /// How long a closed breaker takes to give the endpoint its whole share back. Default 30 s.
    #[serde(with = "crate::duration")]
    pub slow_start: Duration,
    /// The share of the endpoints that may be out at once, 0 to 1; one always may. Default 0.66.
    pub max_ejected: f64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive: 5,
            fault_share: 0.5,
            min_samples: 20,
            window: Duration::from_secs(60),
            open_for: Duration::from_secs(10),
            max_open_for: Duration::from_secs(300),
            probes: 2,
            slow_start: Duration::from_secs(30),
            max_ejected: 0.66,
        }
    }
}

impl BreakerPolicy {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        let positive = |field, ok: bool| match ok {
            true => Ok(()),
            false => Err(BuildError::new(field, "must be above zero")),
        };
        positive("health.breaker.consecutive", self.consecutive > 0)?;
        positive("health.breaker.min_samples", self.min_samples > 0)?;
        positive("health.breaker.probes", self.probes > 0)?;
        positive("health.breaker.window", self.window.as_nanos() >= PARTS as u128)?;
        positive("health.breaker.open_for", !self.open_for.is_zero())?;
        let share = |field, ok: bool| match ok {
            true => Ok(()),
            false => Err(BuildError::new(field, "must be above 0 and at most 1")),
        };
        share("health.breaker.fault_share", self.fault_share > 0.0 && self.fault_share <= 1.0)?;
        share("health.breaker.max_ejected", self.max_ejected >= 0.0 && self.max_ejected <= 1.0)
    }

    pub(crate) fn most_ejected(&self, endpoints: usize) -> usize {
        ((endpoints as f64 * self.max_ejected) as usize).max(1)
    }

    /// How long opening number `openings` (from 1) lasts.
    fn duration(&self, openings: u32, rng: &Rng) -> Duration {
        let doublings = openings.saturating_sub(1).min(MOST_DOUBLINGS);
        let longest = self.open_for.saturating_mul(1 << doublings).min(self.max_open_for);
        longest.mul_f64(0.8 + 0.4 * rng.unit())
    }
}

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    consecutive: u32,
    window: Window,
    phase: Phase,
    /// How often it has opened lately; falls by one with every clean window.
    openings: u32,
    /// When `openings` was last changed.
    openings_at: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Phase {
    #[default]
    Closed,
    /// Open until `until`, then half open.
    Open { since: Instant, until: Instant, successes: u32 },
    /// Closed since `at`; the endpoint's share is still growing.
    Returning { at: Instant },
}

impl Breaker {
    pub(crate) fn note(&mut self, health: Health, policy: &BreakerPolicy, now: Instant, rng: &Rng) {
        match (health, self.phase) {
            (Health::Neutral, _) => {}
            // Attempts that began before the opening still end; they are no probes.
            (_, Phase::Open { until, .. }) if now < until => {}
            (Health::Success, Phase::Open { since, until, successes }) => {
                self.probed(Phase::Open { since, until, successes: successes + 1 }, policy, now);
            }
            (Health::Failure, Phase::Open { .. }) => self.open(policy, now, rng),
            (Health::Success, _) => self.succeeded(policy, now),
            (Health::Failure, _) => self.failed(policy, now, rng),
        }
    }

    /// A probe outside of traffic was answered: the endpoint returns, slowly.
    pub(crate) fn revive(&mut self, now: Instant) {
        if let Phase::Open { .. } = self.phase {
            self.phase = Phase::Returning { at: now };
        }
    }

    fn probed(&mut self, phase: Phase, policy: &BreakerPolicy, now: Instant) {
        self.phase = match phase {
            Phase::Open { successes, .. } if successes >= policy.probes => {
                Phase::Returning { at: now }
            }
            phase => phase,
        };
    }

    fn succeeded(&mut self, policy: &BreakerPolicy, now: Instant) {
        self.consecutive = 0;
        self.window.count(policy.window, now, false);
        self.forgive(policy, now);
        if self.tenths(policy, now) == 10 {
            self.phase = Phase::Closed;
        }
    }

    /// An opening is forgotten with every window that passes without another one.
    fn forgive(&mut self, policy: &BreakerPolicy, now: Instant) {
        if let Some(at) = self.openings_at
            && now.saturating_duration_since(at) >= policy.window
        {
            self.openings = self.openings.saturating_sub(1);
            self.openings_at = (self.openings > 0).then_some(now);
        }
    }

    fn failed(&mut self, policy: &BreakerPolicy, now: Instant, rng: &Rng) {
        self.consecutive = self.consecutive.saturating_add(1);
        self.window.count(policy.window, now, true);
        if self.consecutive >= policy.consecutive || self.window.is_over(policy) {
            self.open(policy, now, rng);
        }
    }

    fn open(&mut self, policy: &BreakerPolicy, now: Instant, rng: &Rng) {
        self.openings = self.openings.saturating_add(1);
        self.openings_at = Some(now);
        self.consecutive = 0;
        self.window = Window::default();
        let until = after(now, policy.duration(self.openings, rng));
        self.phase = Phase::Open { since: now, until, successes: 0 };
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        match self.phase {
            Phase::Open { since, until, .. } if now < until => Verdict::Unhealthy { since, until },
            Phase::Open { .. } => Verdict::Trial,
            Phase::Closed | Phase::Returning { .. } => Verdict::Healthy,
        }
    }

    /// The share of its weight, in tenths: a tenth at once, and another with every tenth of the
    /// slow start.
    pub(crate) fn tenths(&self, policy: &BreakerPolicy, now: Instant) -> u64 {
        let Phase::Returning { at } = self.phase else { return 10 };
        let passed = now.saturating_duration_since(at);
        let tenth = (policy.slow_start / 10).max(Duration::from_nanos(1));
        (1 + (passed.as_nanos() / tenth.as_nanos()) as u64).min(10)
    }

    pub(crate) fn next_change(&self, policy: &BreakerPolicy, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Open { until, .. } => Some(until).filter(|&until| until > now),
            Phase::Returning { at } => {
                let tenths = self.tenths(policy, now);
                let next = after(at, (policy.slow_start / 10).saturating_mul(tenths as u32));
                (tenths < 10).then_some(next).filter(|&next| next > now)
            }
            Phase::Closed => None,
        }
    }

    /// Whether a success would change nothing. While there are faults in the window, successes are
    /// counted, since a share needs both.
    pub(crate) const fn is_clean(&self) -> bool {
        matches!(self.phase, Phase::Closed)
            && self.consecutive == 0
            && self.openings == 0
            && self.window.faults() == 0
    }
}

/// Outcomes of the recent past, in parts that are dropped as they grow old.
#[derive(Debug, Default)]
struct Window {
    /// When the newest part began.
    began: Option<Instant>,
    /// Newest first.
    parts: [Part; PARTS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Part {
    outcomes: u32,
    faults: u32,
}

impl Window {
    fn count(&mut self, length: Duration, now: Instant, fault: bool) {
        self.slide(length / PARTS as u32, now);
        let newest = &mut self.parts[0];
        newest.outcomes = newest.outcomes.saturating_add(1);
        newest.faults = newest.faults.saturating_add(u32::from(fault));
    }

    fn slide(&mut self, part: Duration, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began).as_nanos() / part.as_nanos().max(1);
        let shift = usize::try_from(passed).unwrap_or(PARTS).min(PARTS);
        if shift > 0 {
            self.parts.rotate_right(shift);
            self.parts[..shift].fill(Part::default());
            self.began = Some(now);
        }
    }

    fn is_over(&self, policy: &BreakerPolicy) -> bool {
        let outcomes: u32 = self.parts.iter().map(|part| part.outcomes).sum();
        outcomes >= policy.min_samples
            && f64::from(self.faults()) >= policy.fault_share * f64::from(outcomes)
    }

    const fn faults(&self) -> u32 {
        let mut faults: u32 = 0;
        let mut at = 0;
        while at < PARTS {
            faults = faults.saturating_add(self.parts[at].faults);
            at += 1;
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::time::now;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        breaker: Breaker,
        policy: BreakerPolicy,
        rng: Rng,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let (breaker, policy) = (Breaker::default(), BreakerPolicy::default());
            Self { breaker, policy, rng: Rng::from_seed(1), now: now() }
        }

        fn note(&mut self, health: Health) {
            self.breaker.note(health, &self.policy, self.now, &self.rng);
        }

        fn fail(&mut self, times: u32) {
            (0..times).for_each(|_| self.note(Health::Failure));
        }

        fn verdict(&self) -> Verdict {
            self.breaker.verdict(self.now)
        }

        fn is_open(&self) -> bool {
            matches!(self.verdict(), Verdict::Unhealthy { .. })
        }

        fn until_trial(&mut self) {
            let Verdict::Unhealthy { until, .. } = self.verdict() else { panic!("not open") };
            self.now = until;
            assert_eq!(self.verdict(), Verdict::Trial);
        }
    }

    #[test]
    fn five_faults_in_a_row_open_it_and_four_do_not() {
        let mut bench = Bench::new();
        bench.fail(4);
        bench.note(Health::Success);
        bench.fail(4);
        assert!(!bench.is_open());
        bench.fail(1);
        assert!(bench.is_open());
    }

    #[test]
    fn half_of_twenty_faults_open_it_within_a_minute_only() {
        for (pause, opens) in [(SECOND, true), (SECOND * 13, false)] {
            let mut bench = Bench::new();
            for _ in 0..30 {
                bench.note(Health::Success);
                bench.now += pause;
                bench.fail(1);
                if bench.is_open() {
                    break;
                }
            }
            assert_eq!(bench.is_open(), opens, "one every {pause:?}");
        }
    }

    #[test]
    fn openings_double_up_to_their_cap() {
        let mut bench = Bench::new();
        bench.fail(5);
        for (seconds, _) in
            [(10, ()), (20, ()), (40, ()), (80, ()), (160, ()), (300, ()), (300, ())]
        {
            let Verdict::Unhealthy { since, until } = bench.verdict() else { panic!("not open") };
            let lasted = (until - since).as_secs_f64() / f64::from(seconds);
            assert!((0.8..=1.2).contains(&lasted), "{lasted} of {seconds} s");
            bench.until_trial();
            bench.fail(1);
        }
    }

    #[test]
    fn two_probes_close_it_and_one_fault_opens_it_again() {
        let mut bench = Bench::new();
        bench.fail(5);
        bench.until_trial();
        bench.note(Health::Success);
        assert_eq!(bench.verdict(), Verdict::Trial);
        bench.fail(1);
        assert!(bench.is_open());
        bench.until_trial();
        bench.note(Health::Success);
        bench.note(Health::Success);
        assert_eq!(bench.verdict(), Verdict::Healthy);
    }

    #[test]
    fn what_ends_late_neither_closes_nor_prolongs_an_opening() {
        let mut bench = Bench::new();
        bench.fail(5);
        let open = bench.verdict();
        bench.now += SECOND;
        bench.note(Health::Success);
        bench.fail(3);
        assert_eq!(bench.verdict(), open);
    }

    #[test]
    fn the_share_returns_in_tenths_over_half_a_minute() {
        let mut bench = Bench::new();
        bench.fail(5);
        bench.until_trial();
        bench.note(Health::Success);
        bench.note(Health::Success);
        let closed = bench.now;
        for tenth in 1..=10u32 {
            bench.now = closed + SECOND * 3 * (tenth - 1);
            assert_eq!(bench.breaker.tenths(&bench.policy, bench.now), u64::from(tenth));
            let next = bench.breaker.next_change(&bench.policy, bench.now);
            assert_eq!(next, (tenth < 10).then(|| closed + SECOND * 3 * tenth));
        }
    }

    #[test]
    fn a_clean_minute_forgives_an_opening() {
        let mut bench = Bench::new();
        bench.fail(5);
        bench.until_trial();
        bench.note(Health::Success);
        bench.note(Health::Success);
        bench.now += SECOND * 61;
        bench.note(Health::Success);
        assert!(bench.breaker.is_clean());
    }

    proptest! {
        #[test]
        fn an_endpoint_always_comes_back(outcomes in prop::collection::vec((0u8..3, 0u64..120), 0..200)) {
            let mut bench = Bench::new();
            for (outcome, pause) in outcomes {
                bench.now += SECOND * pause as u32;
                bench.note([Health::Success, Health::Failure, Health::Neutral][outcome as usize]);
                if let Verdict::Unhealthy { until, .. } = bench.verdict() {
                    prop_assert!(until - bench.now <= bench.policy.max_open_for.mul_f64(1.2));
                    prop_assert_eq!(bench.breaker.next_change(&bench.policy, bench.now), Some(until));
                }
            }
        }
    }
}
