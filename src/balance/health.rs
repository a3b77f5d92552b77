//! Whether an endpoint works, as its recent outcomes tell. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Health;
use crate::time::{Instant, after};

/// When an endpoint counts as unhealthy, and for how long.
///
/// Health is about faults alone. Rate limits, credentials and faulty requests are not faults of the
/// endpoint and never change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthPolicy {
    /// Any fault makes the endpoint unhealthy until `recovery` has passed without another one; a
    /// success makes it healthy at once.
    AnyRecentError {
        /// How long a fault is remembered.
        recovery: Duration,
    },
}

impl Default for HealthPolicy {
    /// Any recent error, with 30 seconds of recovery.
    fn default() -> Self {
        Self::AnyRecentError { recovery: Duration::from_secs(30) }
    }
}

/// What is remembered of one endpoint's outcomes.
#[derive(Debug, Default)]
pub(crate) struct HealthState {
    unhealthy_until: Option<Instant>,
}

impl HealthState {
    /// Takes note of an outcome; whether anything changed by it.
    pub(crate) fn note(&mut self, health: Health, policy: HealthPolicy, now: Instant) -> bool {
        let HealthPolicy::AnyRecentError { recovery } = policy;
        let before = self.unhealthy_until;
        match health {
            Health::Success => self.unhealthy_until = None,
            Health::Failure => self.unhealthy_until = Some(after(now, recovery)),
            Health::Neutral => {}
        }
        before != self.unhealthy_until
    }

    /// Until when the endpoint is unhealthy, if it is.
    pub(crate) fn unhealthy_until(&self, now: Instant) -> Option<Instant> {
        self.unhealthy_until.filter(|&until| until > now)
    }

    /// Whether a success would change anything.
    pub(crate) const fn is_clean(&self) -> bool {
        self.unhealthy_until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    const POLICY: HealthPolicy = HealthPolicy::AnyRecentError { recovery: Duration::from_secs(30) };

    #[test]
    fn a_fault_is_remembered_for_the_recovery_time() {
        let start = now();
        let mut health = HealthState::default();
        assert!(health.note(Health::Failure, POLICY, start));
        let end = start + Duration::from_secs(30);
        assert_eq!(health.unhealthy_until(end - Duration::from_nanos(1)), Some(end));
        assert_eq!(health.unhealthy_until(end), None);
    }

    #[test]
    fn a_success_heals_at_once() {
        let start = now();
        let mut health = HealthState::default();
        health.note(Health::Failure, POLICY, start);
        assert!(health.note(Health::Success, POLICY, start));
        assert_eq!(health.unhealthy_until(start), None);
        assert!(health.is_clean());
    }

    #[test]
    fn what_is_no_fault_changes_nothing() {
        let start = now();
        let mut health = HealthState::default();
        assert!(!health.note(Health::Neutral, POLICY, start));
        health.note(Health::Failure, POLICY, start);
        assert!(!health.note(Health::Neutral, POLICY, start + Duration::from_secs(1)));
    }
}
