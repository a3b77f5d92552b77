//! Whether an endpoint works, as its recent outcomes tell. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::breaker::{Breaker, BreakerPolicy};
use crate::error::BuildError;
use crate::outcome::Health;
use crate::rng::Rng;
use crate::time::{Instant, after};

/// When an endpoint counts as unhealthy, and for how long.
///
/// Health is about faults alone. Rate limits, credentials and faulty requests are not faults of the
/// endpoint and never change it.
///
/// A configuration names one of them, with what differs from its defaults: `breaker = { probes = 3 }`
/// or `any_recent_error = { recovery = "1m" }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
#[non_exhaustive]
pub enum HealthPolicy {
    /// Faults in a row, or their share, open a breaker; a single probe at a time finds out whether
    /// it may close again, and traffic returns slowly. The default.
    Breaker(BreakerPolicy),
    /// Any fault makes the endpoint unhealthy until `recovery` has passed without another one; a
    /// success makes it healthy at once.
    AnyRecentError {
        /// How long a fault is remembered.
        recovery: Duration,
    },
}

/// How long a fault is remembered where nothing else is said.
const RECOVERY: Duration = Duration::from_secs(30);

impl Default for HealthPolicy {
    fn default() -> Self {
        Self::Breaker(BreakerPolicy::default())
    }
}

impl HealthPolicy {
    /// Any recent fault, with 30 seconds of recovery.
    #[must_use]
    pub const fn any_recent_error() -> Self {
        Self::AnyRecentError { recovery: RECOVERY }
    }

    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        match self {
            Self::AnyRecentError { recovery } if recovery.is_zero() => {
                Err(BuildError::new("health.any_recent_error.recovery", "must be above zero"))
            }
            Self::AnyRecentError { .. } => Ok(()),
            Self::Breaker(policy) => policy.validate(),
        }
    }

    /// How many of `endpoints` may be unhealthy at once; beyond that, health is ignored.
    pub(crate) fn most_unhealthy(&self, endpoints: usize) -> usize {
        match self {
            Self::AnyRecentError { .. } => endpoints,
            Self::Breaker(policy) => policy.most_ejected(endpoints),
        }
    }
}

/// A policy as configurations hold it: a plain map in every format, where YAML would want a tag for
/// an enum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any_recent_error: Option<WrittenRecovery>,
}

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRecovery {
    #[serde(with = "crate::duration")]
    recovery: Duration,
}

impl Default for WrittenRecovery {
    fn default() -> Self {
        Self { recovery: RECOVERY }
    }
}

impl TryFrom<Written> for HealthPolicy {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match (written.breaker, written.any_recent_error) {
            (Some(_), Some(_)) => Err("breaker and any_recent_error exclude each other"),
            (Some(policy), None) => Ok(Self::Breaker(policy)),
            (None, Some(WrittenRecovery { recovery })) => Ok(Self::AnyRecentError { recovery }),
            (None, None) => Ok(Self::default()),
        }
    }
}

impl From<HealthPolicy> for Written {
    fn from(policy: HealthPolicy) -> Self {
        match policy {
            HealthPolicy::Breaker(policy) => Self { breaker: Some(policy), any_recent_error: None },
            HealthPolicy::AnyRecentError { recovery } => {
                Self { breaker: None, any_recent_error: Some(WrittenRecovery { recovery }) }
            }
        }
    }
}

/// What is remembered of one endpoint's outcomes.
#[derive(Debug, Default)]
pub(crate) struct HealthState {
    /// For [`HealthPolicy::AnyRecentError`]: since when, and until when.
    recent_fault: Option<(Instant, Instant)>,
    breaker: Breaker,
}

/// What health says about picking an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Healthy,
    /// Not before `until`.
    Unhealthy {
        since: Instant,
        until: Instant,
    },
    /// One attempt at a time, to find out.
    Trial,
}

impl HealthState {
    /// Takes note of an outcome.
    pub(crate) fn note(&mut self, health: Health, policy: &HealthPolicy, now: Instant, rng: &Rng) {
        match policy {
            HealthPolicy::AnyRecentError { recovery } => match health {
                Health::Success => self.recent_fault = None,
                Health::Failure => self.recent_fault = Some((now, after(now, *recovery))),
                Health::Neutral => {}
            },
            HealthPolicy::Breaker(policy) => self.breaker.note(health, policy, now, rng),
        }
    }

    /// A probe was answered.
    pub(crate) fn revive(&mut self, policy: &HealthPolicy, now: Instant) {
        self.recent_fault = None;
        if let HealthPolicy::Breaker(_) = policy {
            self.breaker.revive(now);
        }
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        match self.recent_fault {
            Some((since, until)) if until > now => Verdict::Unhealthy { since, until },
            _ => self.breaker.verdict(now),
        }
    }

    /// The share of its weight an endpoint gets while it returns, in tenths; 10 is all of it.
    pub(crate) fn tenths(&self, policy: &HealthPolicy, now: Instant) -> u64 {
        match policy {
            HealthPolicy::Breaker(policy) => self.breaker.tenths(policy, now),
            HealthPolicy::AnyRecentError { .. } => 10,
        }
    }

    /// When the verdict or the share changes by itself.
    pub(crate) fn next_change(&self, policy: &HealthPolicy, now: Instant) -> Option<Instant> {
        match policy {
            HealthPolicy::Breaker(policy) => self.breaker.next_change(policy, now),
            HealthPolicy::AnyRecentError { .. } => {
                self.recent_fault.map(|(_, until)| until).filter(|&until| until > now)
            }
        }
    }

    /// Whether a success would change nothing that matters.
    pub(crate) const fn is_clean(&self) -> bool {
        self.recent_fault.is_none() && self.breaker.is_clean()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    fn policy() -> HealthPolicy {
        HealthPolicy::any_recent_error()
    }

    #[test]
    fn a_fault_is_remembered_for_the_recovery_time() {
        let (start, rng) = (now(), Rng::from_seed(1));
        let mut health = HealthState::default();
        health.note(Health::Failure, &policy(), start, &rng);
        let until = start + Duration::from_secs(30);
        let almost = until - Duration::from_nanos(1);
        assert_eq!(health.verdict(almost), Verdict::Unhealthy { since: start, until });
        assert_eq!(health.next_change(&policy(), start), Some(until));
        assert_eq!(health.verdict(until), Verdict::Healthy);
    }

    #[test]
    fn a_success_heals_at_once() {
        let (start, rng) = (now(), Rng::from_seed(1));
        let mut health = HealthState::default();
        health.note(Health::Failure, &policy(), start, &rng);
        health.note(Health::Success, &policy(), start, &rng);
        assert_eq!(health.verdict(start), Verdict::Healthy);
        assert!(health.is_clean());
    }

    #[test]
    fn what_is_no_fault_changes_nothing() {
        let (start, rng) = (now(), Rng::from_seed(1));
        let mut health = HealthState::default();
        health.note(Health::Failure, &policy(), start, &rng);
        let before = health.verdict(start);
        health.note(Health::Neutral, &policy(), start + Duration::from_secs(1), &rng);
        assert_eq!(health.verdict(start), before);
    }
}
