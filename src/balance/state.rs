//! What is known of one endpoint beyond its configuration, and what an outcome does to it. Pure.
//!
//! Unhealthy (faults), cooling (rate limits) and disabled (money, credentials) are three different
//! things with three different ends, so they are three different fields. Cooling is per model,
//! since a backend limits its models apart.

use std::time::Duration;

use crate::balance::health::{HealthPolicy, HealthState};
use crate::error::ErrorKind;
use crate::outcome::{Cooldown, End, Outcome};
use crate::rng::Rng;
use crate::time::{Instant, after};

/// The shortest and the longest cooldown a server's hint can ask for. Hints are untrusted: zero
/// would be hammered, and a day would lose an endpoint to a typing error.
const HINTED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(600));

/// Clients that were refused together must not come back together: up to a tenth of the hint is
/// added, but no more than this.
const MOST_HINT_JITTER: Duration = Duration::from_secs(1);

/// The first cooldown without a hint; it doubles with every rate limit in a row.
const UNHINTED_BASE: Duration = Duration::from_secs(1);
const UNHINTED_CAP: Duration = Duration::from_secs(60);

/// How long money and credentials are given to return before a call tries them again.
const DISABLED_FOR: Duration = Duration::from_secs(600);

/// A state that keeps an endpoint from being picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It may be picked.
    Eligible,
    /// It failed recently.
    Unhealthy {
        /// When it may be picked again.
        until: Instant,
    },
    /// It asked not to be called for a while.
    Cooling {
        /// When it may be picked again.
        until: Instant,
        /// The failure that led to it.
        why: ErrorKind,
    },
    /// It is out of money, refuses the credentials, or does not have the model.
    Disabled {
        /// When a call tries it again.
        until: Instant,
        /// The failure that led to it.
        why: ErrorKind,
    },
}

impl Condition {
    /// `"eligible"`, `"unhealthy"`, `"cooling"` or `"disabled"`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Cooling { .. } => "cooling",
            Self::Disabled { .. } => "disabled",
        }
    }

    /// When the state ends by itself; `None` where there is nothing to end.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        match self {
            Self::Eligible => None,
            Self::Unhealthy { until }
            | Self::Cooling { until, .. }
            | Self::Disabled { until, .. } => Some(*until),
        }
    }
}

/// One endpoint's state.
#[derive(Debug)]
pub(crate) struct EndpointState {
    health: HealthState,
    disabled: Option<(Instant, ErrorKind)>,
    /// One a named model; one in all where the endpoint names none.
    models: Box<[ModelState]>,
}

#[derive(Debug, Default)]
struct ModelState {
    cooling: Option<(Instant, ErrorKind)>,
    disabled: Option<(Instant, ErrorKind)>,
    /// Rate limits without a hint since the last success.
    unhinted: u32,
}

impl EndpointState {
    pub(crate) fn new(models: usize) -> Self {
        let models = std::iter::repeat_with(ModelState::default).take(models.max(1)).collect();
        Self { health: HealthState::default(), disabled: None, models }
    }

    /// Takes note of how an attempt on the model in `slot` ended; whether anything changed by it.
    pub(crate) fn note(
        &mut self,
        slot: Option<usize>,
        outcome: &Outcome,
        policy: HealthPolicy,
        now: Instant,
        rng: &Rng,
    ) -> bool {
        let row = outcome.end.row();
        let health = self.health.note(row.health, policy, now);
        let rest = match (outcome.end, row.cooldown) {
            (End::Success, _) => self.recover(slot),
            (End::Failed(kind) | End::Broken(kind), Cooldown::Disable) => {
                raise(&mut self.disabled, after(now, DISABLED_FOR), kind)
            }
            (End::Failed(kind) | End::Broken(kind), cooldown) => {
                self.cool(slot, kind, cooldown, outcome.retry_hint, now, rng)
            }
            (End::Abandoned, _) => false,
        };
        health || rest
    }

    /// A success proves the credentials, the model and the rate.
    fn recover(&mut self, slot: Option<usize>) -> bool {
        let was_disabled = self.disabled.take().is_some();
        let model = self.model(slot);
        let was_blocked = model.cooling.is_some() || model.disabled.is_some() || model.unhinted > 0;
        *model = ModelState::default();
        was_disabled || was_blocked
    }

    fn cool(
        &mut self,
        slot: Option<usize>,
        kind: ErrorKind,
        cooldown: Cooldown,
        hint: Option<Duration>,
        now: Instant,
        rng: &Rng,
    ) -> bool {
        let named = slot.is_some();
        let model = self.model(slot);
        match (cooldown, hint) {
            (Cooldown::RateLimit | Cooldown::IfHinted, Some(hint)) => {
                raise(&mut model.cooling, after(now, hinted(hint, rng)), kind)
            }
            (Cooldown::RateLimit, None) => {
                let pause = unhinted(model.unhinted, rng);
                model.unhinted = model.unhinted.saturating_add(1);
                raise(&mut model.cooling, after(now, pause), kind)
            }
            // An endpoint that names no models may well have the next one that is asked for.
            (Cooldown::DisableModel, _) if named => {
                raise(&mut model.disabled, after(now, DISABLED_FOR), kind)
            }
            _ => false,
        }
    }

    fn model(&mut self, slot: Option<usize>) -> &mut ModelState {
        &mut self.models[slot.unwrap_or(0)]
    }

    /// What keeps the model in `slot` from being picked at `now`. The strongest reason wins:
    /// disabled over cooling over unhealthy.
    pub(crate) fn condition(&self, slot: Option<usize>, now: Instant) -> Condition {
        let model = &self.models[slot.unwrap_or(0)];
        let running = |state: Option<(Instant, ErrorKind)>| state.filter(|&(until, _)| until > now);
        if let Some((until, why)) = running(self.disabled).or_else(|| running(model.disabled)) {
            Condition::Disabled { until, why }
        } else if let Some((until, why)) = running(model.cooling) {
            Condition::Cooling { until, why }
        } else if let Some(until) = self.health.unhealthy_until(now) {
            Condition::Unhealthy { until }
        } else {
            Condition::Eligible
        }
    }

    /// When the first of the running states ends.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let models = self.models.iter().flat_map(|model| [model.cooling, model.disabled]);
        models
            .chain([self.disabled])
            .filter_map(|state| state.map(|(until, _)| until))
            .chain(self.health.unhealthy_until(now))
            .filter(|&until| until > now)
            .min()
    }

    /// Whether a success would change nothing, so that it need not be noted.
    pub(crate) fn is_clean(&self) -> bool {
        self.health.is_clean()
            && self.disabled.is_none()
            && self.models.iter().all(ModelState::is_clean)
    }
}

impl ModelState {
    const fn is_clean(&self) -> bool {
        let Self { cooling, disabled, unhinted } = self;
        cooling.is_none() && disabled.is_none() && *unhinted == 0
    }
}

/// A later end replaces an earlier one, never the other way round: two refusals in flight must not
/// shorten each other's cooldown.
fn raise(state: &mut Option<(Instant, ErrorKind)>, until: Instant, why: ErrorKind) -> bool {
    if state.is_some_and(|(before, _)| before >= until) {
        return false;
    }
    *state = Some((until, why));
    true
}

fn hinted(hint: Duration, rng: &Rng) -> Duration {
    let hint = hint.clamp(HINTED.0, HINTED.1);
    hint + rng.jitter((hint / 10).min(MOST_HINT_JITTER))
}

fn unhinted(in_a_row: u32, rng: &Rng) -> Duration {
    let longest = UNHINTED_BASE.saturating_mul(1 << in_a_row.min(6)).min(UNHINTED_CAP);
    rng.jitter(longest).max(HINTED.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProviderError;
    use crate::rng::Rng;
    use crate::time::now;
    use proptest::prelude::*;

    struct Bench {
        state: EndpointState,
        rng: Rng,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { state: EndpointState::new(2), rng: Rng::from_seed(1), start: now() }
        }

        fn fail(&mut self, slot: usize, error: &ProviderError, at: Instant) -> bool {
            let outcome = Outcome::failed(error, false);
            self.state.note(Some(slot), &outcome, HealthPolicy::default(), at, &self.rng)
        }

        fn succeed(&mut self, slot: usize) -> bool {
            let outcome = Outcome::new(End::Success);
            self.state.note(Some(slot), &outcome, HealthPolicy::default(), self.start, &self.rng)
        }

        fn condition(&self, slot: usize) -> Condition {
            self.state.condition(Some(slot), self.start)
        }
    }

    fn rate_limited(after: Duration) -> ProviderError {
        ProviderError::new(ErrorKind::RateLimited, "").with_retry_after(after)
    }

    #[test]
    fn a_rate_limit_cools_its_model_alone_and_never_touches_health() {
        let mut bench = Bench::new();
        let start = bench.start;
        assert!(bench.fail(0, &rate_limited(Duration::from_secs(5)), start));
        let Condition::Cooling { until, why } = bench.condition(0) else { panic!("not cooling") };
        assert_eq!(why, ErrorKind::RateLimited);
        assert!(until >= start + Duration::from_secs(5));
        assert!(until <= start + Duration::from_millis(5_500));
        assert_eq!(bench.condition(1), Condition::Eligible);
    }

    #[test]
    fn a_shorter_cooldown_never_replaces_a_longer_one() {
        let mut bench = Bench::new();
        let start = bench.start;
        bench.fail(0, &rate_limited(Duration::from_secs(300)), start);
        let long = bench.condition(0);
        assert!(!bench.fail(0, &rate_limited(Duration::from_secs(1)), start));
        assert_eq!(bench.condition(0), long);
    }

    #[test]
    fn without_a_hint_the_cooldown_doubles_and_a_success_starts_it_over() {
        let unhinted_error = ProviderError::new(ErrorKind::RateLimited, "");
        let longest = |in_a_row: u32| {
            let rng = Rng::from_seed(3);
            (0..2_000).map(|_| unhinted(in_a_row, &rng)).max().unwrap()
        };
        assert!(longest(0) <= Duration::from_secs(1) && longest(0) > Duration::from_millis(900));
        assert!(longest(3) <= Duration::from_secs(8) && longest(3) > Duration::from_secs(7));
        assert!(longest(u32::MAX) <= UNHINTED_CAP && longest(40) > Duration::from_secs(50));

        let mut bench = Bench::new();
        let start = bench.start;
        bench.fail(0, &unhinted_error, start);
        assert_eq!(bench.state.models[0].unhinted, 1);
        assert!(bench.succeed(0));
        assert_eq!(bench.state.models[0].unhinted, 0);
        assert!(bench.state.is_clean());
    }

    #[test]
    fn money_and_credentials_disable_the_whole_endpoint() {
        for kind in [ErrorKind::QuotaExhausted, ErrorKind::Auth] {
            let mut bench = Bench::new();
            let start = bench.start;
            bench.fail(0, &ProviderError::new(kind, ""), start);
            let disabled = Condition::Disabled { until: start + DISABLED_FOR, why: kind };
            assert_eq!((bench.condition(0), bench.condition(1)), (disabled, disabled));
            assert_eq!(bench.state.next_change(start), Some(start + DISABLED_FOR));
        }
    }

    #[test]
    fn a_missing_model_disables_itself_alone_and_only_where_it_is_named() {
        let missing = ProviderError::new(ErrorKind::ModelNotFound, "");
        let mut bench = Bench::new();
        let start = bench.start;
        assert!(bench.fail(1, &missing, start));
        assert!(matches!(bench.condition(1), Condition::Disabled { .. }));
        assert_eq!(bench.condition(0), Condition::Eligible);

        let mut unnamed = EndpointState::new(0);
        let outcome = Outcome::failed(&missing, false);
        let rng = Rng::from_seed(1);
        assert!(!unnamed.note(None, &outcome, HealthPolicy::default(), start, &rng));
    }

    #[test]
    fn an_abandoned_attempt_changes_nothing() {
        let mut bench = Bench::new();
        let outcome = Outcome::new(End::Abandoned);
        let policy = HealthPolicy::default();
        assert!(!bench.state.note(Some(0), &outcome, policy, bench.start, &bench.rng));
        assert!(bench.state.is_clean());
    }

    proptest! {
        #[test]
        fn no_hint_can_lose_an_endpoint(seconds in prop::num::u64::ANY, nanos in 0u32..1_000_000_000) {
            let mut bench = Bench::new();
            let start = bench.start;
            bench.fail(0, &rate_limited(Duration::new(seconds, nanos)), start);
            let until = bench.condition(0).until().unwrap();
            prop_assert!(until >= start + HINTED.0);
            prop_assert!(until <= start + HINTED.1 + MOST_HINT_JITTER);
        }
    }
}
