//! No window lets through more than its bound.

use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Dimension, Limit, Limits, QuotaLimiter, Reservation, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, now};
use proptest::prelude::*;

use crate::support::{MINUTE, SECOND, per_tenant, tokens};

const AMOUNT: u64 = 600;

/// What calls used, each at the instant it was reserved, and by how much they exceeded what they had
/// reserved.
struct Walk {
    used: Vec<(Duration, u64)>,
    overshoot: u64,
}

/// Calls that come, and settle in any order.
fn walk(quota: &QuotaLimiter, seed: u64, largest: u64, overrun: u64) -> Walk {
    let rng = Rng::from_seed(seed);
    let tenant = TenantId::new("t");
    let (start, mut at): (Instant, _) = (now(), Duration::ZERO);
    let mut open: Vec<(Duration, u64, Reservation)> = Vec::new();
    let mut walk = Walk { used: Vec::new(), overshoot: 0 };
    for _ in 0..200 {
        at += Duration::from_nanos(rng.below(3_000_000_000));
        if rng.below(2) == 0 || open.is_empty() {
            let amount = 1 + rng.below(largest);
            let whose = Whose::tenant(&tenant);
            if let Ok(reservation) = quota.try_reserve_at(&whose, &tokens(amount), start + at) {
                open.push((at, amount, reservation));
            }
        } else {
            let (since, reserved, reservation) =
                open.swap_remove(rng.below(open.len() as u64) as usize);
            let actual = rng.below(reserved + 1) + rng.below(overrun + 1);
            reservation.settle_at(&tokens(actual), start + at);
            walk.overshoot += actual.saturating_sub(reserved);
            walk.used.push((since, actual));
        }
    }
    walk.used.extend(open.iter().map(|(since, reserved, _)| (*since, *reserved)));
    walk.used.sort_unstable();
    walk
}

impl Walk {
    /// The most that was used in any window of a length, both its ends included.
    fn most_in(&self, window: Duration) -> u64 {
        let ends = |start: Duration| {
            self.used.iter().filter(move |(at, _)| (start..=start + window).contains(at))
        };
        let sums = self.used.iter().map(|(start, _)| ends(*start).map(|(_, used)| used).sum());
        sums.max().unwrap_or(0)
    }
}

fn limit() -> Limit {
    Limit::new(Dimension::Tokens, AMOUNT, MINUTE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_window_is_over_burst_and_refill_and_overshoot(seed in any::<u64>(), overrun in 0u64..50) {
        let burst = 200;
        let quota = per_tenant(Limits::new().limit(limit().burst(burst)));
        let walk = walk(&quota, seed, burst, overrun);
        for seconds in [0, 1, 7, 30, 60, 300] {
            let bound = burst + AMOUNT * seconds / 60 + walk.overshoot;
            let most = walk.most_in(SECOND * seconds as u32);
            prop_assert!(most <= bound, "{} of {} in {} s", most, bound, seconds);
        }
    }

    #[test]
    fn a_strict_window_is_never_over_its_amount(seed in any::<u64>(), burst in 1u64..700, overrun in 0u64..20) {
        let quota = per_tenant(Limits::new().limit(limit().burst(burst).strict()));
        let walk = walk(&quota, seed, burst.min(AMOUNT), overrun);
        let most = walk.most_in(MINUTE);
        prop_assert!(most <= AMOUNT + walk.overshoot, "{} of {}", most, AMOUNT);
    }
}

#[test]
fn a_strict_limit_of_a_few_is_kept_too() {
    for amount in 1..12 {
        let limit = Limit::new(Dimension::Requests, amount, MINUTE).strict();
        let (quota, tenant) = (per_tenant(Limits::new().limit(limit)), TenantId::new("t"));
        let start = now();
        let passes = |ms: &u64| {
            let at = start + Duration::from_millis(*ms);
            quota
                .try_reserve_at(&Whose::tenant(&tenant), &tokens(1), at)
                .map(|r| r.settle_at(&tokens(1), at))
                .is_ok()
        };
        let passed: Vec<_> = (0..600_000).step_by(500).filter(passes).collect();
        assert!(passed.len() as u64 >= 9 * (amount - 1).max(1), "{} of {amount}", passed.len());
        for (index, first) in passed.iter().enumerate() {
            let within = passed[index..].iter().filter(|at| **at - first <= 60_000).count();
            assert!(within as u64 <= amount, "{within} of {amount} a minute");
        }
    }
}

#[test]
fn a_limit_that_is_not_strict_may_let_twice_its_amount_through_and_a_strict_one_does_not() {
    let most = |limit: Limit| {
        let (quota, tenant) = (per_tenant(Limits::new().limit(limit)), TenantId::new("t"));
        let start = now();
        let passed = (0..=60_000).filter(|ms| {
            let at = start + Duration::from_millis(*ms);
            let whose = Whose::tenant(&tenant);
            quota
                .try_reserve_at(&whose, &tokens(1), at)
                .map(|r| r.settle_at(&tokens(1), at))
                .is_ok()
        });
        passed.count() as u64
    };
    assert!((1_195..=1_200).contains(&most(limit())));
    assert!((595..=600).contains(&most(limit().strict())));
}
