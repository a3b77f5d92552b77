//! The lowest expected cost.

use crate::balance::strategy::candidate::{Candidate, Candidates};
use crate::usage::Cost;

/// Endpoints without a price come after all that have one.
pub(super) fn choose(candidates: &Candidates<'_>) -> Option<usize> {
    let least = candidates.iter().filter(Candidate::is_open).map(|open| price(&open)).min()?;
    // Equals share the traffic by weight; a draw that is no equal is passed over.
    let equal = |position: &usize| {
        let candidate = candidates.get(*position);
        candidate.is_some_and(|candidate| candidate.is_open() && price(&candidate) == least)
    };
    let drawn = (0..candidates.len()).map(|_| candidates.draw()).find(equal);
    drawn.or_else(|| (0..candidates.len()).find(equal))
}

fn price(candidate: &Candidate<'_>) -> Cost {
    candidate.expected_cost().unwrap_or(Cost::from_nano_dollars(u64::MAX))
}
