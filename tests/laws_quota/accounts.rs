//! What was used is charged: all of it, once, in whatever order calls end.

use std::time::Duration;

use evenkeel::quota::{
    Amounts, Budget, Dimension, Estimate, Limit, Limits, Period, QuotaLimiter, Reservation, Whose,
};
use evenkeel::rng::Rng;
use evenkeel::time::now;
use evenkeel::{Cost, TenantId};
use proptest::prelude::*;

use crate::support::{MINUTE, SECOND, left, per_tenant, tokens, tokens_per_minute};

const LIMIT: u64 = 100_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A budget is the sum to the token, whatever the order; so is a rate at which nothing has
    /// drained, if calls end in the order they began, and it is never less.
    #[test]
    fn the_account_is_the_sum_of_what_was_used(seed in any::<u64>(), in_order in any::<bool>()) {
        let rng = Rng::from_seed(seed);
        let tenant = TenantId::new("t");
        let budget = per_tenant(Limits::new().budget(Budget::new(Dimension::Tokens, LIMIT, Period::Month)));
        let rate = per_tenant(tokens_per_minute(LIMIT));
        let start = now();
        let reserve = |_| {
            let amount = 1 + rng.below(3_000);
            let of = |quota: &QuotaLimiter| {
                quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(amount), start).unwrap()
            };
            ([of(&budget), of(&rate)], rng.below(2 * amount))
        };
        let mut open: Vec<_> = (0..30).map(reserve).collect();
        let sum: u64 = open.iter().map(|(_, actual)| actual).sum();
        while !open.is_empty() {
            let next = if in_order { 0 } else { rng.below(open.len() as u64) as usize };
            let (reservations, actual) = open.remove(next);
            for one in reservations {
                one.settle_at(&tokens(actual), start);
            }
        }
        let expected = LIMIT - sum.min(LIMIT);
        prop_assert_eq!(left(&budget, &tenant, start), expected);
        let left = left(&rate, &tenant, start);
        prop_assert!(if in_order { left == expected } else { left <= expected }, "{} of {}", left, expected);
    }

    /// Settled later, at least that much is charged.
    #[test]
    fn no_order_of_settling_charges_less_than_was_used(seed in any::<u64>()) {
        let rng = Rng::from_seed(seed);
        let (quota, tenant) = (per_tenant(tokens_per_minute(LIMIT)), TenantId::new("t"));
        let start = now();
        let mut open: Vec<(Reservation, u64)> = (0..20)
            .map(|_| {
                let whose = Whose::tenant(&tenant);
                let amount = 3_000 + rng.below(2_000);
                let reservation = quota.try_reserve_at(&whose, &tokens(amount), start).unwrap();
                (reservation, rng.below(amount))
            })
            .collect();
        let sum: u64 = open.iter().map(|(_, actual)| actual).sum();
        let mut at = start;
        while !open.is_empty() {
            at += Duration::from_millis(rng.below(2_000));
            let (reservation, actual) = open.swap_remove(rng.below(open.len() as u64) as usize);
            reservation.settle_at(&tokens(actual), at);
        }
        let drained = LIMIT * (at - start).as_millis() as u64 / 60_000 + 1;
        let used = LIMIT - left(&quota, &tenant, at);
        prop_assert!(used + drained >= sum, "{used} of {sum}, {drained} drained");
    }
}

#[test]
fn each_end_of_a_reservation_settles_once() {
    let start = now();
    type End = fn(Reservation);
    let ends: [(End, u64); 4] = [
        (|r| r.settle(&Amounts::tokens(100, 50)), 150),
        (|r| r.cancel(), 0),
        (drop, 100),
        (
            |mut r| {
                r.extend(30);
                r.extend(10);
            },
            140,
        ),
    ];
    for (end, used) in ends {
        let limits = tokens_per_minute(1_000_000_000_000).concurrency(1);
        let (quota, tenant) = (per_tenant(limits), TenantId::new("t"));
        let reserve =
            || quota.try_reserve_at(&Whose::tenant(&tenant), &Amounts::tokens(100, 900), start);
        end(reserve().unwrap());
        // It ended at a later instant than it began, so that a little may have drained.
        let usage = quota.usage(&tenant).unwrap();
        assert_eq!(usage.running, 0);
        assert!(usage.available[0].1 >= 1_000_000_000_000 - used, "{used}");
        assert!(reserve().is_ok(), "its place is free");
    }
}

#[test]
fn what_streams_beyond_its_reservation_is_charged_while_it_streams() {
    let limits = Limits::new()
        .tokens_per_minute(1_000)
        .output_tokens_per_minute(1_000)
        .cost_per(MINUTE, Cost::from_nano_dollars(1_000_000));
    let (quota, tenant) = (per_tenant(limits), TenantId::new("t"));
    let whose = Whose::tenant(&tenant);
    let expected = Amounts::tokens(100, 100).with_cost(Cost::from_nano_dollars(200_000));
    let mut stream = quota.try_reserve(&whose, &expected).unwrap();
    stream.extend(100);
    assert_eq!(available(&quota, &tenant), [800, 900, 800_000]);
    stream.extend(300);
    assert_eq!(available(&quota, &tenant), [500, 600, 500_000]);
    stream.extend(900);
    assert_eq!(available(&quota, &tenant), [0, 0, 0]);
    // What was charged is not charged again: four hundred tokens of debt, and one more.
    stream.settle(&Amounts::tokens(100, 1_300).with_cost(Cost::from_nano_dollars(1_400_000)));
    let denied = quota.try_reserve(&whose, &tokens(1)).unwrap_err();
    let wait = denied.retry_after().unwrap().as_secs_f64();
    assert!((wait - 24.0).abs() < 0.5, "{wait}");
}

/// What is left at the moment, to the nearest hundredth of a window: a little drains meanwhile.
fn available(quota: &QuotaLimiter, tenant: &TenantId) -> Vec<u64> {
    let usage = quota.usage(tenant).unwrap();
    usage
        .available
        .iter()
        .map(|(dimension, left)| match dimension {
            Dimension::Cost => left / 10_000 * 10_000,
            _ => left / 10 * 10,
        })
        .collect()
}

#[test]
fn a_post_paid_call_passes_while_the_limit_is_not_exceeded_and_pays_for_its_input_too() {
    let builder = QuotaLimiter::builder().per_tenant(tokens_per_minute(1_000));
    let quota = builder.estimate(Estimate::PostPaid).build().unwrap();
    let tenant = TenantId::new("t");
    let whose = Whose::tenant(&tenant);
    let start = now();
    let large = quota.try_reserve_at(&whose, &tokens(5_000), start).unwrap();
    let other = quota.try_reserve_at(&whose, &tokens(600), start).unwrap();
    large.settle_at(&tokens(900), start);
    assert!(quota.try_reserve_at(&whose, &tokens(1), start).is_ok());
    // Dropped with no word from the server: its input was sent.
    drop(other);
    let denied = quota.try_reserve_at(&whose, &tokens(1), start).unwrap_err();
    let wait = denied.retry_after().unwrap();
    assert!(wait > 29 * SECOND && wait < 31 * SECOND, "{wait:?}");
}

#[test]
fn money_is_exact_to_a_millionth() {
    let dollar = 1_000_000_000;
    let limits = Limits::new().limit(Limit::new(Dimension::Cost, dollar, 24 * 60 * MINUTE));
    let (quota, tenant) = (per_tenant(limits), TenantId::new("t"));
    let (whose, start) = (Whose::tenant(&tenant), now());
    let cost = |nanos| tokens(0).with_cost(Cost::from_nano_dollars(nanos));
    quota.try_reserve_at(&whose, &cost(dollar), start).unwrap().settle_at(&cost(dollar), start);
    let denied = quota.try_reserve_at(&whose, &cost(dollar), start).unwrap_err();
    let exact = 24.0 * 3_600.0;
    let wait = denied.retry_after().unwrap().as_secs_f64();
    assert!((wait - exact).abs() / exact <= 1e-6, "{wait}");
}
