//! What is known of one endpoint beyond its configuration, and what an outcome does to it. Pure.
//!
//! Unhealthy (faults), cooling (rate limits) and disabled (money, credentials) are three different
//! things with three different ends, so they are three different fields. Cooling is per model,
//! since a backend limits its models apart. What other instances were told about the account is kept
//! beside what was refused here: it is believed, but ends in other ways.

use std::time::Duration;

use crate::balance::block::{Block, Hearsay, Told};
use crate::balance::health::{HealthPolicy, HealthState, Verdict};
use crate::balance::lease::exhausted;
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

/// By how much the returns of instances that were told the same are spread: a rate by as much as
/// those of one instance's calls, money and credentials so far that the first can tell the others.
const COOLING_SPREAD: Duration = MOST_HINT_JITTER;
const DISABLED_SPREAD: Duration = Duration::from_secs(30);

/// A state that keeps an endpoint from being picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It may be picked.
    Eligible,
    /// One attempt at a time finds out whether it works again.
    Trial,
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
    /// It gets no new attempts, until it is removed or configured anew.
    Draining,
}

impl Condition {
    /// `"eligible"`, `"trial"`, `"unhealthy"`, `"cooling"`, `"disabled"` or `"draining"`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::Trial => "trial",
            Self::Draining => "draining",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Cooling { .. } => "cooling",
            Self::Disabled { .. } => "disabled",
        }
    }

    /// The failure that led to it, where it was one.
    #[must_use]
    pub const fn why(&self) -> Option<ErrorKind> {
        match self {
            Self::Cooling { why, .. } | Self::Disabled { why, .. } => Some(*why),
            Self::Eligible | Self::Trial | Self::Unhealthy { .. } | Self::Draining => None,
        }
    }

    /// Whether attempts may be made, if only one at a time.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        matches!(self, Self::Eligible | Self::Trial)
    }

    /// When the state ends by itself; `None` where there is nothing to end.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        match self {
            Self::Eligible | Self::Trial | Self::Draining => None,
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
    disabled: Option<Block>,
    /// That the account is disabled, from other instances.
    told_disabled: Option<Hearsay>,
    /// One a named model, then one for everything else: calls of models that are not named, and
    /// calls without a model where none of the named ones is the default.
    models: Box<[ModelState]>,
    pub(crate) draining: bool,
}

/// What an outcome tells of the account, for other instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The model in the slot is to be left alone.
    Cooling(Option<usize>, Told),
    /// The account has no money, or its credentials are refused.
    Disabled(Told),
    /// It is disabled no longer.
    Restored,
}

#[derive(Debug, Default)]
struct ModelState {
    cooling: Option<Block>,
    /// A cooldown, from other instances.
    told_cooling: Option<Hearsay>,
    disabled: Option<Block>,
    /// Rate limits without a hint since the last success.
    unhinted: u32,
}

impl EndpointState {
    pub(crate) fn new(models: usize) -> Self {
        let models = std::iter::repeat_with(ModelState::default).take(models + 1).collect();
        let health = HealthState::default();
        Self { health, disabled: None, told_disabled: None, models, draining: false }
    }

    /// Takes note of how an attempt on the model in `slot` ended that began at `started`.
    pub(crate) fn note(
        &mut self,
        slot: Option<usize>,
        outcome: &Outcome,
        policy: &HealthPolicy,
        (started, now): (Instant, Instant),
        rng: &Rng,
    ) -> Option<News> {
        let row = outcome.end.row();
        self.health.note(row.health, policy, (started, now), rng);
        match (outcome.end, row.cooldown) {
            (End::Success, _) => self.recover(slot, outcome, (started, now), rng),
            (End::Failed(why) | End::Broken(why), Cooldown::Disable) => {
                Block::raise(&mut self.disabled, now, DISABLED_FOR, why);
                Some(News::Disabled(Told { why, ends: after(now, DISABLED_FOR) }))
            }
            (End::Failed(kind) | End::Broken(kind), cooldown) => {
                self.cool(slot, kind, cooldown, outcome.retry_hint, now, rng)
            }
            (End::Abandoned, _) => None,
        }
    }

    /// A success proves the credentials, the model and the rate as they were when its attempt began,
    /// unless it used the last of the rate up.
    fn recover(
        &mut self,
        slot: Option<usize>,
        outcome: &Outcome,
        (started, now): (Instant, Instant),
        rng: &Rng,
    ) -> Option<News> {
        let was_disabled = self.is_account_disabled();
        let still = |block: Option<Block>| block.filter(|block| block.outlives(started));
        let told = |told: Option<Hearsay>| told.filter(|told| told.block.outlives(started));
        self.disabled = still(self.disabled);
        self.told_disabled = told(self.told_disabled);
        let model = self.model(slot);
        model.disabled = still(model.disabled);
        model.cooling = still(model.cooling);
        model.told_cooling = told(model.told_cooling);
        model.unhinted = 0;
        if let Some(reset) = exhausted(outcome) {
            Block::raise(&mut model.cooling, now, hinted(reset, rng), ErrorKind::RateLimited);
        }
        (was_disabled && !self.is_account_disabled()).then_some(News::Restored)
    }

    fn cool(
        &mut self,
        slot: Option<usize>,
        why: ErrorKind,
        cooldown: Cooldown,
        hint: Option<Duration>,
        now: Instant,
        rng: &Rng,
    ) -> Option<News> {
        let named = slot.is_some();
        let model = self.model(slot);
        match (cooldown, hint) {
            (Cooldown::RateLimit | Cooldown::IfHinted, Some(hint)) => {
                Block::raise(&mut model.cooling, now, hinted(hint, rng), why);
                // Without the jitter: each who is told adds its own.
                return Some(News::Cooling(slot, Told { why, ends: after(now, bounded(hint)) }));
            }
            // A guess of this instance's; others may come through.
            (Cooldown::RateLimit, None) => {
                let pause = unhinted(model.unhinted, rng);
                model.unhinted = model.unhinted.saturating_add(1);
                Block::raise(&mut model.cooling, now, pause, why);
            }
            // An endpoint that names no models may well have the next one that is asked for.
            (Cooldown::DisableModel, _) if named => {
                Block::raise(&mut model.disabled, now, DISABLED_FOR, why);
            }
            _ => {}
        }
        None
    }

    /// Takes in what other instances say of the account: why it is disabled, or that it is not.
    /// Whether that changed anything.
    pub(crate) fn hear_disabled(&mut self, told: Option<Told>, now: Instant, rng: &Rng) -> bool {
        let Some(told) = told else {
            return self.told_disabled.take_if(|told| told.is_lifted(now)).is_some();
        };
        Hearsay::hear(&mut self.told_disabled, self.disabled, told, (now, DISABLED_SPREAD), rng)
    }

    /// Takes in a cooldown that another instance was told. Whether that changed anything. One that
    /// is not told of any more runs to its end: a store may have forgotten it.
    pub(crate) fn hear_cooling(
        &mut self,
        slot: Option<usize>,
        told: Told,
        now: Instant,
        rng: &Rng,
    ) -> bool {
        let model = self.model(slot);
        Hearsay::hear(&mut model.told_cooling, model.cooling, told, (now, COOLING_SPREAD), rng)
    }

    /// Whether the account is disabled, or was and has still to prove that it is not.
    pub(crate) const fn is_account_disabled(&self) -> bool {
        self.disabled.is_some() || self.told_disabled.is_some()
    }

    /// A probe was answered: whatever kept the endpoint out for faults, money or credentials may be
    /// over. Rate limits keep their time.
    pub(crate) fn revive(&mut self, policy: &HealthPolicy, now: Instant) -> Option<News> {
        let restored = self.is_account_disabled().then_some(News::Restored);
        (self.disabled, self.told_disabled) = (None, None);
        self.models.iter_mut().for_each(|model| model.disabled = None);
        self.health.revive(policy, now);
        restored
    }

    fn place(&self, slot: Option<usize>) -> usize {
        slot.unwrap_or(self.models.len() - 1)
    }

    fn model(&mut self, slot: Option<usize>) -> &mut ModelState {
        let place = self.place(slot);
        &mut self.models[place]
    }

    /// What keeps the model in `slot` from being picked at `now`. The strongest reason wins:
    /// draining over disabled over cooling over unhealthy.
    pub(crate) fn condition(&self, slot: Option<usize>, now: Instant) -> Condition {
        let told = running(self.told_disabled.map(|told| told.block), now);
        self.condition_beside(told, slot, now)
    }

    /// The same where nothing is believed of money and credentials.
    pub(crate) fn condition_first_hand(&self, slot: Option<usize>, now: Instant) -> Condition {
        self.condition_beside(None, slot, now)
    }

    fn condition_beside(
        &self,
        told: Option<Block>,
        slot: Option<usize>,
        now: Instant,
    ) -> Condition {
        if self.draining {
            return Condition::Draining;
        }
        let model = &self.models[self.place(slot)];
        let disabled = later(running(self.disabled, now), told);
        if let Some(block) = disabled.or_else(|| running(model.disabled, now)) {
            return Condition::Disabled { until: block.until, why: block.why };
        }
        let told_cooling = model.told_cooling.map(|told| told.block);
        if let Some(block) = later(running(model.cooling, now), running(told_cooling, now)) {
            return Condition::Cooling { until: block.until, why: block.why };
        }
        match self.health.verdict(now) {
            Verdict::Unhealthy { until, .. } => Condition::Unhealthy { until },
            Verdict::Trial { .. } => Condition::Trial,
            // Money and credentials do not return because time passes: one call finds out.
            Verdict::Healthy if self.was_refused(slot) => Condition::Trial,
            Verdict::Healthy => Condition::Eligible,
        }
    }

    /// Since when it is unhealthy, if it is or has still to prove that it is not.
    pub(crate) fn unhealthy_since(&self, now: Instant) -> Option<Instant> {
        match self.health.verdict(now) {
            Verdict::Unhealthy { since, .. } | Verdict::Trial { since } => Some(since),
            Verdict::Healthy => None,
        }
    }

    /// Whether money, credentials or a missing model stood against it last: then a trial is about
    /// more than its health.
    pub(crate) fn was_refused(&self, slot: Option<usize>) -> bool {
        self.is_account_disabled() || self.models[self.place(slot)].disabled.is_some()
    }

    /// The share of its weight it gets while it returns, in tenths.
    pub(crate) fn tenths(&self, policy: &HealthPolicy, now: Instant) -> u64 {
        self.health.tenths(policy, now)
    }

    /// When the first of the running states changes by itself.
    pub(crate) fn next_change(&self, policy: &HealthPolicy, now: Instant) -> Option<Instant> {
        let block = |told: Option<Hearsay>| told.map(|told| told.block);
        let models = self.models.iter();
        let models =
            models.flat_map(|model| [model.cooling, block(model.told_cooling), model.disabled]);
        models
            .chain([self.disabled, block(self.told_disabled)])
            .filter_map(|block| block.map(|block| block.until))
            .chain(self.health.next_change(policy, now))
            .filter(|&until| until > now)
            .min()
    }

    /// Which successes would change something, so that they have to be noted.
    pub(crate) fn trouble(&self) -> Trouble {
        let (unnamed, named) = self.models.split_last().expect("there is one for everything else");
        let places = named.iter().zip(0..).map(|(model, slot)| (model, Some(slot)));
        let troubled = places.chain([(unnamed, None)]).filter(|(model, _)| !model.is_clean());
        let models = troubled.fold(Trouble::NONE, |all, (_, slot)| all.and(Trouble::of(slot)));
        let clean = self.health.is_clean() && !self.is_account_disabled();
        if clean { models } else { Trouble::ALL }
    }
}

/// The models of which a success would change something, a bit each: a model that rests must not
/// make the successes of the others take a lock. Models from the sixty-third on share bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble(pub(crate) u64);

impl Trouble {
    pub(crate) const NONE: Self = Self(0);
    const ALL: Self = Self(u64::MAX);

    /// That of the model in `slot`.
    const fn of(slot: Option<usize>) -> Self {
        match slot {
            Some(slot) => Self(2 << (slot % 63)),
            None => Self(1),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is trouble for the model in `slot`.
    pub(crate) const fn is_for(self, slot: Option<usize>) -> bool {
        self.0 & Self::of(slot).0 != 0
    }
}

impl ModelState {
    const fn is_clean(&self) -> bool {
        let Self { cooling, told_cooling, disabled, unhinted } = self;
        cooling.is_none() && told_cooling.is_none() && disabled.is_none() && *unhinted == 0
    }
}

fn running(block: Option<Block>, now: Instant) -> Option<Block> {
    block.filter(|block| block.is_running(now))
}

fn later(one: Option<Block>, other: Option<Block>) -> Option<Block> {
    one.into_iter().chain(other).max_by_key(|block| block.until)
}

fn bounded(hint: Duration) -> Duration {
    hint.clamp(HINTED.0, HINTED.1)
}

fn hinted(hint: Duration, rng: &Rng) -> Duration {
    let hint = bounded(hint);
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
    use crate::rate_limits::{LimitWindow, RateLimits};
    use crate::rng::Rng;
    use crate::time::now;
    use proptest::prelude::*;

    struct Bench {
        state: EndpointState,
        policy: HealthPolicy,
        rng: Rng,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let policy = HealthPolicy::any_recent_error();
            Self { state: EndpointState::new(2), policy, rng: Rng::from_seed(1), now: now() }
        }

        fn note(&mut self, slot: usize, outcome: &Outcome) {
            self.state.note(Some(slot), outcome, &self.policy, (self.now, self.now), &self.rng);
        }

        fn fail(&mut self, slot: usize, error: &ProviderError) {
            self.note(slot, &Outcome::failed(error, false));
        }

        fn condition(&self, slot: usize) -> Condition {
            self.state.condition(Some(slot), self.now)
        }
    }

    fn rate_limited(after: Duration) -> ProviderError {
        ProviderError::new(ErrorKind::RateLimited, "").with_retry_after(after)
    }

    #[test]
    fn a_rate_limit_cools_its_model_alone_and_never_touches_health() {
        let mut bench = Bench::new();
        bench.fail(0, &rate_limited(Duration::from_secs(5)));
        let Condition::Cooling { until, why } = bench.condition(0) else { panic!("not cooling") };
        assert_eq!(why, ErrorKind::RateLimited);
        assert!(until >= bench.now + Duration::from_secs(5));
        assert!(until <= bench.now + Duration::from_millis(5_500));
        assert_eq!(bench.condition(1), Condition::Eligible);
        assert_eq!(bench.state.next_change(&bench.policy, bench.now), Some(until));
        bench.now = until;
        assert_eq!(bench.condition(0), Condition::Eligible);
    }

    #[test]
    fn a_success_after_what_was_told_leaves_nothing_to_clear() {
        let mut bench = Bench::new();
        let told = Told { why: ErrorKind::RateLimited, ends: bench.now + DISABLED_SPREAD };
        assert!(bench.state.hear_cooling(Some(0), told, bench.now, &bench.rng));
        assert!(bench.state.hear_disabled(Some(told), bench.now, &bench.rng));
        assert_eq!(bench.state.trouble(), Trouble::ALL);
        bench.note(0, &Outcome::new(End::Success));
        assert_eq!(bench.state.trouble(), Trouble::ALL, "its attempt had begun before");
        bench.now = told.ends + DISABLED_SPREAD;
        bench.note(0, &Outcome::new(End::Success));
        assert_eq!(bench.state.trouble(), Trouble::NONE);
    }

    #[test]
    fn a_shorter_cooldown_never_replaces_a_longer_one() {
        let mut bench = Bench::new();
        bench.fail(0, &rate_limited(Duration::from_secs(300)));
        let long = bench.condition(0);
        bench.fail(0, &rate_limited(Duration::from_secs(1)));
        assert_eq!(bench.condition(0), long);
    }

    #[test]
    fn without_a_hint_the_cooldown_doubles_and_a_success_starts_it_over() {
        let longest = |in_a_row: u32| {
            let rng = Rng::from_seed(3);
            (0..2_000).map(|_| unhinted(in_a_row, &rng)).max().unwrap()
        };
        assert!(longest(0) <= Duration::from_secs(1) && longest(0) > Duration::from_millis(900));
        assert!(longest(3) <= Duration::from_secs(8) && longest(3) > Duration::from_secs(7));
        assert!(longest(u32::MAX) <= UNHINTED_CAP && longest(40) > Duration::from_secs(50));

        let mut bench = Bench::new();
        bench.fail(0, &ProviderError::new(ErrorKind::RateLimited, ""));
        assert_eq!(bench.state.models[0].unhinted, 1);
        bench.now += UNHINTED_CAP;
        bench.note(0, &Outcome::new(End::Success));
        assert_eq!(bench.state.trouble(), Trouble::NONE);
    }

    #[test]
    fn a_late_success_of_an_earlier_attempt_ends_no_block() {
        let mut bench = Bench::new();
        let started = bench.now;
        bench.now += Duration::from_secs(1);
        bench.fail(0, &rate_limited(Duration::from_secs(60)));
        bench.fail(1, &ProviderError::new(ErrorKind::Auth, ""));
        let before = (bench.condition(0), bench.condition(1));
        let success = Outcome::new(End::Success);
        bench.state.note(Some(0), &success, &bench.policy, (started, bench.now), &bench.rng);
        assert_eq!((bench.condition(0), bench.condition(1)), before);
    }

    #[test]
    fn a_success_that_used_the_limit_up_cools_until_its_reset() {
        let mut bench = Bench::new();
        let window = LimitWindow::new().with_remaining(0).with_reset(Duration::from_secs(6));
        let limits = RateLimits::new().with_tokens(window);
        bench.note(0, &Outcome::new(End::Success).with_rate_limits(Some(limits)));
        let Condition::Cooling { until, .. } = bench.condition(0) else { panic!("not cooling") };
        assert!(until >= bench.now + Duration::from_secs(6));
    }

    #[test]
    fn money_and_credentials_disable_the_whole_endpoint_until_a_trial_succeeds() {
        for kind in [ErrorKind::QuotaExhausted, ErrorKind::Auth] {
            let mut bench = Bench::new();
            bench.fail(0, &ProviderError::new(kind, ""));
            let disabled = Condition::Disabled { until: bench.now + DISABLED_FOR, why: kind };
            assert_eq!((bench.condition(0), bench.condition(1)), (disabled, disabled));
            bench.now += DISABLED_FOR;
            assert_eq!(bench.condition(1), Condition::Trial);
            bench.fail(1, &ProviderError::new(kind, ""));
            assert!(matches!(bench.condition(1), Condition::Disabled { .. }));
            bench.now += DISABLED_FOR;
            bench.note(1, &Outcome::new(End::Success));
            assert_eq!(bench.condition(0), Condition::Eligible);
        }
    }

    #[test]
    fn a_missing_model_disables_itself_alone_and_only_where_it_is_named() {
        let missing = ProviderError::new(ErrorKind::ModelNotFound, "");
        let mut bench = Bench::new();
        bench.fail(1, &missing);
        assert!(matches!(bench.condition(1), Condition::Disabled { .. }));
        assert_eq!(bench.condition(0), Condition::Eligible);

        let mut unnamed = EndpointState::new(0);
        let outcome = Outcome::failed(&missing, false);
        unnamed.note(None, &outcome, &bench.policy, (bench.now, bench.now), &bench.rng);
        assert_eq!(unnamed.condition(None, bench.now), Condition::Eligible);
    }

    #[test]
    fn a_model_that_rests_is_no_trouble_for_the_others() {
        let mut bench = Bench::new();
        bench.fail(0, &ProviderError::new(ErrorKind::RateLimited, ""));
        let slots = [Some(0), Some(1), None];
        let troubled = |bench: &Bench| slots.map(|slot| bench.state.trouble().is_for(slot));
        assert_eq!(troubled(&bench), [true, false, false]);
        bench.now += UNHINTED_CAP;
        bench.note(1, &Outcome::new(End::Success));
        assert_eq!(troubled(&bench), [true, false, false]);
        bench.note(0, &Outcome::new(End::Success));
        assert_eq!(troubled(&bench), [false; 3]);
        bench.fail(0, &ProviderError::new(ErrorKind::Server, ""));
        assert_eq!(troubled(&bench), [true; 3], "faults are the endpoint's");
    }

    #[test]
    fn a_success_that_used_the_rate_up_rests_no_longer_than_a_hint_may() {
        for reset in [Duration::ZERO, Duration::MAX] {
            let mut bench = Bench::new();
            let window = LimitWindow::new().with_remaining(0).with_reset(reset);
            let limits = Some(RateLimits::new().with_requests(window));
            bench.note(0, &Outcome::new(End::Success).with_rate_limits(limits));
            let until = bench.condition(0).until().unwrap();
            assert!(until >= bench.now + HINTED.0, "{reset:?}");
            assert!(until <= bench.now + HINTED.1 + MOST_HINT_JITTER, "{reset:?}");
        }
    }

    #[test]
    fn an_abandoned_attempt_changes_nothing() {
        let mut bench = Bench::new();
        bench.note(0, &Outcome::new(End::Abandoned));
        assert_eq!(bench.state.trouble(), Trouble::NONE);
    }

    proptest! {
        #[test]
        fn no_hint_can_lose_an_endpoint(seconds in prop::num::u64::ANY, nanos in 0u32..1_000_000_000) {
            let mut bench = Bench::new();
            bench.fail(0, &rate_limited(Duration::new(seconds, nanos)));
            let until = bench.condition(0).until().unwrap();
            prop_assert!(until >= bench.now + HINTED.0);
            prop_assert!(until <= bench.now + HINTED.1 + MOST_HINT_JITTER);
        }

        #[test]
        fn refusals_never_touch_health(kinds in prop::collection::vec(0usize..15, 0..60)) {
            let mut bench = Bench::new();
            for kind in kinds.into_iter().map(|at| ErrorKind::ALL[at]) {
                if kind.row().health == crate::outcome::Health::Neutral {
                    bench.fail(0, &ProviderError::new(kind, ""));
                }
            }
            prop_assert_eq!(bench.state.unhealthy_since(bench.now), None);
        }
    }
}
