//! What came of it.

use std::time::Duration;

use crate::load::{Call, HORIZON};

/// Shares are those of this time: before, lines are still filling.
const COUNTED: std::ops::Range<Duration> = Duration::from_secs(20)..HORIZON;

/// Who waited for how long, and who got how much.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    polite_waits: Vec<Duration>,
    tokens: Vec<u64>,
}

impl Tally {
    /// `call` has its place, at `now` since the start.
    pub(crate) fn passed(&mut self, call: &Call, waited: Duration, now: Duration) {
        if call.tenant > 0 {
            self.polite_waits.push(waited);
        }
        if COUNTED.contains(&now) {
            self.tokens.resize(self.tokens.len().max(call.tenant + 1), 0);
            self.tokens[call.tenant] += call.tokens;
        }
    }

    /// Counts what another run has counted.
    pub(crate) fn extend(&mut self, other: Self) {
        self.polite_waits.extend(other.polite_waits);
        self.tokens.resize(self.tokens.len().max(other.tokens.len()), 0);
        self.tokens.iter_mut().zip(other.tokens).for_each(|(all, tokens)| *all += tokens);
    }

    /// The wait of all tenants but the first that so much of their calls do not exceed, in seconds.
    pub(crate) fn polite_wait(&self, quantile: f64) -> f64 {
        let mut waits = self.polite_waits.clone();
        waits.sort_unstable();
        waits[((waits.len() - 1) as f64 * quantile) as usize].as_secs_f64()
    }

    /// A tenant's part of the tokens.
    pub(crate) fn share(&self, tenant: usize) -> f64 {
        self.tokens[tenant] as f64 / self.tokens.iter().sum::<u64>() as f64
    }

    /// Jain's index of the tokens: 1 where all get the same.
    pub(crate) fn jain(&self, tenants: usize) -> f64 {
        let sum: f64 = self.tokens.iter().map(|&tokens| tokens as f64).sum();
        let squares: f64 = self.tokens.iter().map(|&tokens| (tokens as f64).powi(2)).sum();
        sum * sum / (tenants as f64 * squares)
    }
}
