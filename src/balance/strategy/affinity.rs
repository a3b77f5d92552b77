//! The same endpoint for the same key, within bounds.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): every endpoint scores every key,
//! the highest score wins, so that an endpoint which leaves takes its own keys along and moves no
//! others. Loads are bounded as in consistent hashing with bounded loads (Mirrokni, Thorup and
//! Zadimoghaddam 2016): an endpoint that carries a quarter more than its share passes keys on to the
//! next by score.

use crate::balance::strategy::candidate::{Candidate, Candidates};
use crate::rng::mix;

/// How far above its share of the running calls an endpoint may go.
const BOUND: f64 = 1.25;

/// Running calls an endpoint may always have: the share of a quiet balancer is less than one call.
const ALWAYS: f64 = 8.0;

/// Bounds are quotients of small numbers: what is this little above a whole one is that one.
const ROUNDING: f64 = 1e-9;

pub(super) fn choose(candidates: &Candidates<'_>) -> Option<usize> {
    let key = candidates.demand().affinity?;
    let per_weight = per_weight(candidates);
    candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.is_open() && is_within(candidate, per_weight))
        .max_by(|(_, a), (_, b)| score(a, key).total_cmp(&score(b, key)))
        .map(|(position, _)| position)
}

/// Running calls, this one included, per unit of weight.
fn per_weight(candidates: &Candidates<'_>) -> f64 {
    let (calls, weight) = candidates.iter().fold((1.0, 0.0), |(calls, weight), candidate| {
        (calls + f64::from(candidate.in_flight()), weight + candidate.weight())
    });
    calls / weight
}

fn is_within(candidate: &Candidate<'_>, per_weight: f64) -> bool {
    let bound = (BOUND * per_weight * candidate.weight() - ROUNDING).ceil().max(ALWAYS);
    f64::from(candidate.in_flight() + 1) <= bound
}

/// `-w / ln(h)` for a hash `h` in `(0, 1)`.
fn score(candidate: &Candidate<'_>, key: u64) -> f64 {
    let hash = mix(key ^ candidate.member().cell.seed);
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -candidate.weight() / unit.ln()
}
