//! The lowest expected time to a useful answer.
//!
//! `(running calls + 1) / weight * time`, where time is the expected TTFT plus the rest of a typical
//! answer, both averages that rise at once and fall slowly (peak EWMA, as in Finagle and tower). Two
//! things are different from the textbook. Failures feed the average too, or an endpoint that fails
//! at once would look fast and draw all traffic. And a call that has waited for its first content
//! far longer than usual counts as the endpoint's time while it waits: a hanging backend is noticed
//! before its first timeout.

use crate::balance::strategy::candidate::{Candidate, Candidates};

/// Up to so many endpoints all are compared; above, two that are drawn by weight.
const SCAN: usize = 16;

/// A wait counts when it is so many times the expected TTFT. Answers vary by a factor of two or
/// three without anything being wrong.
const SUSPICIOUS: f32 = 3.0;

pub(super) fn choose(candidates: &Candidates<'_>) -> Option<usize> {
    if candidates.len() <= SCAN {
        best(candidates, 0..candidates.len())
    } else {
        best(candidates, [candidates.draw(), candidates.draw()])
    }
}

/// The cheapest of the open ones. Starts at a random one, so that equals share the traffic.
fn best(candidates: &Candidates<'_>, positions: impl IntoIterator<Item = usize>) -> Option<usize> {
    let len = candidates.len();
    let offset = candidates.rng().below(len as u64) as usize;
    let mut best: Option<(f32, usize)> = None;
    for position in positions {
        let position = if len <= SCAN { (position + offset) % len } else { position };
        let Some(candidate) = candidates.get(position).filter(Candidate::is_open) else { continue };
        let cost = cost(&candidate, candidates);
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, position));
        }
    }
    best.map(|(_, position)| position)
}

/// In seconds; only comparisons matter.
fn cost(candidate: &Candidate<'_>, candidates: &Candidates<'_>) -> f32 {
    let load = &candidate.member().cell.load;
    let typical = candidates.typical();
    let ttft = load.ttft().unwrap_or_else(|| typical.ttft());
    let per_token = load.time_per_token().unwrap_or_else(|| typical.time_per_token());
    let output = candidates.demand().output_tokens.map_or_else(|| typical.output(), |n| n as f32);
    let oldest = load.oldest_wait(candidates.now()).map_or(0.0, |wait| wait.as_secs_f32());
    let expected = ttft + output * per_token;
    let time = if oldest > SUSPICIOUS * ttft { expected.max(oldest) } else { expected };
    (candidate.in_flight() + 1) as f32 / candidate.weight() as f32 * time
}
