//! The lowest expected time to a useful answer.
//!
//! `(running calls + 1) / weight * time`, where time is the expected TTFT plus the rest of a typical
//! answer. The running calls are the quick signal: an endpoint that becomes slow keeps its calls, and
//! that shows long before they are answered. The time is the slow one. Four things make it one that
//! can be trusted:
//!
//! * It is a mean. The usual peak (as in Finagle and tower) follows chance where times have a long
//!   tail; in simulation, the slowest calls took a fifth longer with it.
//! * Failures count as the time the attempt had, or an endpoint that fails at once would look fast
//!   and draw all traffic.
//! * A call that has waited for its first content far longer than usual counts as the endpoint's time
//!   while it waits: a hanging backend is noticed before its first timeout.
//! * It fades to what is typical. An endpoint with a bad name is tried again after a minute or two,
//!   one call at first, since that call and its wait count at once; otherwise it would be left alone
//!   for ever, also after it has recovered.

use crate::balance::strategy::candidate::{Candidate, Candidates};

/// Up to so many endpoints all are compared; above, two that are drawn by weight.
const SCAN: usize = 16;

/// A wait counts when it is so many times the expected TTFT. Answers vary by a factor of two or
/// three without anything being wrong.
const SUSPICIOUS: f32 = 3.0;

pub(super) fn choose(candidates: &Candidates<'_>) -> Option<usize> {
    let len = candidates.len();
    if len > SCAN {
        return best(candidates, candidates.draw_two());
    }
    // Starts at a random one, so that equals share the traffic.
    let first = candidates.rng().below(len as u64) as usize;
    best(candidates, (first..len).chain(0..first))
}

/// The cheapest of the open ones; the first of equals.
fn best(candidates: &Candidates<'_>, positions: impl IntoIterator<Item = usize>) -> Option<usize> {
    let usual = Usual::of(candidates);
    let mut best: Option<(f32, usize)> = None;
    for position in positions {
        let Some(candidate) = candidates.get(position).filter(Candidate::is_open) else { continue };
        let cost = usual.cost(&candidate);
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, position));
        }
    }
    best.map(|(_, position)| position)
}

/// What is the same for all candidates of a pick.
struct Usual {
    /// Seconds.
    ttft: f32,
    /// Seconds.
    time_per_token: f32,
    /// Tokens that this call's answer is expected to have.
    output: f32,
    /// The present as averages count the time.
    at: u32,
}

impl Usual {
    fn of(candidates: &Candidates<'_>) -> Self {
        let typical = candidates.typical();
        let bound = candidates.demand().output_tokens;
        Self {
            ttft: typical.ttft(),
            time_per_token: typical.time_per_token(),
            output: bound.map_or_else(|| typical.output(), |tokens| tokens as f32),
            at: candidates.millis(),
        }
    }

    /// In seconds; only comparisons matter.
    #[inline]
    fn cost(&self, candidate: &Candidate<'_>) -> f32 {
        let load = &candidate.member().cell.load;
        let ttft = load.expected_ttft(self.ttft, self.at);
        let expected =
            ttft + self.output * load.expected_time_per_token(self.time_per_token, self.at);
        let oldest = candidate.oldest_wait_secs();
        let time = if oldest > SUSPICIOUS * ttft { expected.max(oldest) } else { expected };
        (candidate.in_flight() + 1) as f32 * candidate.member().per_weight * time
    }
}
