//! How calls ended, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use evenkeel::time::Instant;
use evenkeel::{Completion, Error};

/// Shared by all callers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    #[expect(clippy::disallowed_types, reason = "a panic of one caller must fail the test")]
    state: Arc<std::sync::Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By milliseconds from the arrival: bounded, however long the test is.
    answered: BTreeMap<u64, u64>,
    failed: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn note(&self, answer: &Result<Completion, Error>, since: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(_) => {
                let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                *state.answered.entry(took).or_default() += 1;
            }
            Err(error) => *state.failed.entry(error.label()).or_default() += 1,
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).answered.values().sum()
    }

    /// How long an answer took at this quantile, to the millisecond above.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.answered() as f64 * part) as u64;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        for (millis, count) in &state.answered {
            seen += count;
            if seen >= wanted {
                return Duration::from_millis(millis + 1);
            }
        }
        Duration::ZERO
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answered: u64 = state.answered.values().sum();
        write!(f, "answered {answered}, failed {:?}", state.failed)
    }
}
