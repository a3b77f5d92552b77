//! The fewest running calls in proportion to the weight.

use crate::balance::strategy::candidate::{Candidate, Candidates};

pub(super) fn choose(candidates: &Candidates<'_>) -> Option<usize> {
    let len = candidates.len();
    // Equals share the traffic by starting somewhere else each time.
    let offset = candidates.rng().below(len as u64) as usize;
    (0..len)
        .map(|position| (position + offset) % len)
        .filter_map(|position| Some((position, candidates.get(position)?)))
        .filter(|(_, candidate)| candidate.is_open())
        .min_by(|(_, a), (_, b)| load(a).total_cmp(&load(b)))
        .map(|(position, _)| position)
}

fn load(candidate: &Candidate<'_>) -> f64 {
    f64::from(candidate.in_flight() + 1) / candidate.weight()
}
