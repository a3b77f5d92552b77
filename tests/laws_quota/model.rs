//! A limit as one would explain it: calls stand in line, and time drains the line from its front.

use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Reservation, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, now};
use proptest::prelude::*;

use crate::support::{MINUTE, per_tenant, tokens, tokens_per_minute};

const BURST: u64 = 1_000;

/// Parts of a token, so that a nanosecond drains a whole number of them.
const PARTS: u128 = 60_000_000_000;

/// Each call with what of it has not drained yet.
#[derive(Default)]
struct Line {
    standing: Vec<(u64, u128)>,
    at: Duration,
}

impl Line {
    fn drain_until(&mut self, at: Duration) {
        let mut drained = (at - self.at).as_nanos() * u128::from(BURST);
        self.at = at;
        for (_, left) in &mut self.standing {
            let here = drained.min(*left);
            (*left, drained) = (*left - here, drained - here);
        }
    }

    fn used(&self) -> u128 {
        self.standing.iter().map(|(_, left)| left).sum()
    }

    fn fits(&self, amount: u64) -> bool {
        self.used() + u128::from(amount) * PARTS <= u128::from(BURST) * PARTS
    }

    fn join(&mut self, id: u64, amount: u64) {
        self.standing.push((id, u128::from(amount) * PARTS));
    }

    /// What is left of the call goes back, at most the excess; a shortfall joins as a debt.
    fn settle(&mut self, id: u64, reserved: u64, actual: u64) {
        if actual > reserved {
            self.join(id, actual - reserved);
        } else if let Some((_, left)) = self.standing.iter_mut().find(|(other, _)| *other == id) {
            *left -= (*left).min(u128::from(reserved - actual) * PARTS);
        }
    }
}

/// One walk: whether the limiter ever let in what the model does not, and how often they differed.
fn walk(seed: u64, in_order: bool) -> (u32, u32) {
    let rng = Rng::from_seed(seed);
    let (quota, tenant) = (per_tenant(tokens_per_minute(BURST)), TenantId::new("t"));
    let (start, mut at) = (now(), Duration::ZERO);
    let mut line = Line::default();
    let mut open: Vec<(u64, u64, Reservation)> = Vec::new();
    let (mut over, mut under) = (0, 0);
    for id in 0..150 {
        at += Duration::from_nanos(rng.below(4_000_000_000));
        line.drain_until(at);
        let now: Instant = start + at;
        if rng.below(2) == 0 || open.is_empty() {
            let amount = 1 + rng.below(BURST / 2);
            let reserved = quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(amount), now);
            over += u32::from(reserved.is_ok() && !line.fits(amount));
            under += u32::from(reserved.is_err() && line.fits(amount));
            if let Ok(reservation) = reserved {
                line.join(id, amount);
                open.push((id, amount, reservation));
            }
        } else {
            let newest =
                if in_order { open.len() - 1 } else { rng.below(open.len() as u64) as usize };
            let (id, reserved, reservation) = open.remove(newest);
            let actual = rng.below(reserved * 5 / 4 + 1);
            line.settle(id, reserved, actual);
            reservation.settle_at(&tokens(actual), now);
        }
    }
    (over, under)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_passes_that_the_plain_model_refuses(seed in any::<u64>()) {
        prop_assert_eq!(walk(seed, false).0, 0);
    }
}

/// A refund of one call takes from what an earlier one may still get back. With calls that end in a
/// random order and settle at any share of what they reserved, that costs a call in twelve.
#[test]
fn little_is_refused_that_the_plain_model_lets_pass() {
    let refused: u32 = (0..500).map(|seed| walk(seed, false).1).sum();
    assert!(refused < 500 * 75 / 10, "{refused} of some {}", 500 * 75);
}

#[test]
fn the_model_is_one() {
    let mut line = Line::default();
    line.join(1, 600);
    line.join(2, 400);
    assert!(!line.fits(1));
    line.drain_until(MINUTE / 2);
    assert!(line.fits(500) && !line.fits(501));
    line.settle(1, 600, 0);
    assert!(line.fits(600) && !line.fits(601));
}
