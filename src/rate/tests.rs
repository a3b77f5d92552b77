//! What one thread sees of a bucket.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn rate(amount: u64, burst: u64) -> Rate {
    Rate::new(amount, MINUTE, burst).unwrap()
}

#[test]
fn a_bucket_holds_its_burst_and_refills_at_its_rate() {
    let rate = rate(60, 10);
    let bucket = Bucket::new();
    let taken = bucket.reserve(&rate, 10, 0).unwrap();
    // The drain is kept a hair low, which the wait shows as one nanosecond.
    let Err(Refused::NotYet(wait)) = bucket.reserve(&rate, 1, 0) else { panic!("it is full") };
    assert!((SECOND..=SECOND + 1).contains(&(wait.as_nanos() as u64)), "{wait:?}");
    assert_eq!(bucket.available(&rate, 3 * SECOND + 1), 3);
    assert_eq!(bucket.reserve(&rate, 11, 0), Err(Refused::Never { burst: 10 }));
    bucket.settle(&rate, taken, 10, 0);
    assert!(!bucket.is_idle(&rate, 9 * SECOND) && bucket.is_idle(&rate, 10 * SECOND + 1));
}

#[test]
fn what_has_drained_is_not_refunded_again() {
    let rate = rate(60, 60);
    let bucket = Bucket::new();
    let taken = bucket.reserve(&rate, 60, 0).unwrap();
    // After 45 seconds a quarter is left of it.
    bucket.settle(&rate, taken, 0, 45 * SECOND);
    assert_eq!(bucket.available(&rate, 45 * SECOND), 60);
    let all = bucket.reserve(&rate, 60, 45 * SECOND).unwrap();
    bucket.cancel(&rate, all, 45 * SECOND);
    assert_eq!(bucket.available(&rate, 45 * SECOND), 60);
}

#[test]
fn a_refund_moves_later_reservations_forward() {
    let rate = rate(60, 60);
    let bucket = Bucket::new();
    let first = bucket.reserve(&rate, 30, 0).unwrap();
    let second = bucket.reserve(&rate, 30, 0).unwrap();
    bucket.cancel(&rate, first, 0);
    // The second one now drains from 0 to 30 s; at 30 s nothing of it is left to refund.
    bucket.cancel(&rate, second, 30 * SECOND);
    assert_eq!(bucket.refunded.load(Ordering::Relaxed) >> rate.shift, 30);
}

#[test]
fn an_idle_bucket_equals_a_new_one_however_long_it_lies() {
    for amount in [1, 60, 100_000, 1_000_000_000] {
        let rate = rate(amount, amount);
        let bucket = Bucket::new();
        for years in [0u64, 1, 2, 30] {
            let now = years * 365 * 86_400 * SECOND;
            assert!(bucket.is_idle(&rate, now), "{amount} a minute after {years} years");
            assert_eq!(bucket.available(&rate, now), amount);
        }
    }
}

#[test]
fn debts_are_paid_before_anything_else() {
    let rate = rate(60, 10);
    let bucket = Bucket::new();
    let taken = bucket.reserve(&rate, 5, 0).unwrap();
    bucket.settle(&rate, taken, 40, 0);
    assert_eq!(bucket.wait_for(&rate, 1, 0).unwrap().as_secs(), 31);
}

#[test]
fn a_correction_lowers_and_never_raises() {
    let rate = rate(60, 60);
    let bucket = Bucket::new();
    bucket.lower_to(&rate, 7, 0);
    assert_eq!(bucket.available(&rate, 0), 7);
    bucket.lower_to(&rate, 50, 0);
    assert_eq!(bucket.available(&rate, 0), 7);
}

#[test]
fn a_late_reading_counts_what_has_drained_since_to_the_last_unit() {
    const NOW: u64 = 3 * SECOND + 1;
    let rate = rate(60, 60);
    let read = |bucket: &Bucket, taken_since, held_back, now| {
        bucket.lower_by(&rate, &Reading { left: 7, at: 0, taken_since, held_back }, now);
    };
    let (early, late) = (Bucket::new(), Bucket::new());
    read(&early, 0, 0, 0);
    read(&late, 0, 0, 2 * SECOND + SECOND / 2);
    assert_eq!(early.level(&rate, NOW), late.level(&rate, NOW));
    read(&late, 4, 0, NOW);
    assert_eq!(late.available(&rate, NOW), 6);
    read(&late, 4, 2, NOW);
    assert_eq!(late.available(&rate, NOW), 4);
    // What was taken beyond what was left was refused, and is no debt; what is held back is one.
    read(&late, 100, 2, NOW);
    assert_eq!(late.wait_for(&rate, 1, NOW).unwrap().as_secs(), 3);
}

#[test]
fn absurd_limits_are_refused_and_absurd_amounts_contained() {
    assert_eq!(Rate::new(0, MINUTE, 1), Err(InvalidRate::Zero));
    assert_eq!(Rate::new(1, Duration::ZERO, 1), Err(InvalidRate::Zero));
    assert_eq!(Rate::new(u64::MAX, Duration::from_nanos(1), 1), Err(InvalidRate::TooLarge));
    assert_eq!(Rate::new(1, MINUTE, u64::MAX), Err(InvalidRate::TooLarge));
    assert!(Rate::new(1, Duration::MAX, 1).is_err());

    let rate = rate(1_000, 1_000);
    let bucket = Bucket::new();
    assert!(matches!(bucket.reserve(&rate, u64::MAX, 0), Err(Refused::Never { .. })));
    let taken = bucket.reserve(&rate, 1, 0).unwrap();
    bucket.settle(&rate, taken, u64::MAX, 0);
    assert!(matches!(bucket.reserve(&rate, 1, 0), Err(Refused::NotYet(_))));
    bucket.lower_to(&rate, u64::MAX, 0);
}

#[test]
fn a_debt_is_never_so_deep_that_it_is_forgotten() {
    let rate = rate(1_000, 1_000);
    let bucket = Bucket::new();
    for _ in 0..20 {
        let taken = bucket.charge(&rate, 1, 0);
        bucket.settle(&rate, taken, u64::MAX, 0);
        assert_eq!(bucket.available(&rate, 0), 0);
    }
}

#[test]
fn a_debt_of_thousands_of_bursts_is_charged_whole() {
    // Amounts of tokens and of nano-dollars.
    for burst in [10, 100_000, 1_000_000_000] {
        let rate = rate(burst, burst);
        let bucket = Bucket::new();
        let taken = bucket.reserve(&rate, 1, 0).unwrap();
        bucket.settle(&rate, taken, 5_000 * burst, 0);
        let minutes = bucket.wait_for(&rate, burst, 0).unwrap().as_secs_f64() / 60.0;
        assert!((minutes - 5_000.0).abs() < 0.01, "{minutes} for {burst}");
    }
}

#[test]
fn a_rate_that_could_not_be_exact_is_refused() {
    let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
    assert!(Rate::new(1, years(10), 1_000_000).is_ok());
    assert_eq!(Rate::new(1, years(10_000), 1), Err(InvalidRate::TooLarge));
}

#[test]
fn a_bucket_that_takes_the_place_of_another_is_as_full_and_refunds_as_much() {
    let (old, new) = (rate(60, 60), rate(6_000_000, 6_000_000));
    let (before, after) = (Bucket::new(), Bucket::new());
    let first = before.reserve(&old, 20, 0).unwrap();
    let second = before.reserve(&old, 30, 0).unwrap();
    let moved = after.take_over(&new, &before, &old, 0);
    assert_eq!(after.available(&new, 0), 6_000_000 - 50);
    after.settle(&new, moved.place(&new, second), 5, 0);
    assert_eq!(after.available(&new, 0), 6_000_000 - 25);
    after.settle(&new, moved.place(&new, first), 21, 0);
    assert_eq!(after.available(&new, 0), 6_000_000 - 26);
}

#[test]
fn nothing_is_refunded_to_a_new_bucket_that_had_drained_from_the_old_one() {
    let rate = rate(60, 60);
    let (before, after) = (Bucket::new(), Bucket::new());
    let taken = before.reserve(&rate, 60, 0).unwrap();
    let moved = after.take_over(&rate, &before, &rate, 45 * SECOND);
    after.cancel(&rate, moved.place(&rate, taken), 45 * SECOND);
    assert_eq!(after.available(&rate, 45 * SECOND), 60);
    let idle = Bucket::new();
    let moved = idle.take_over(&rate, &before, &rate, 90 * SECOND);
    assert!(!idle.cancel(&rate, moved.place(&rate, taken), 90 * SECOND));
}

#[test]
fn what_was_taken_from_the_old_bucket_too_late_has_no_place_in_the_new_one() {
    let (old, new) = (rate(60, 10), rate(6_000_000, 10));
    let (before, after) = (Bucket::new(), Bucket::new());
    let early = before.reserve(&old, 6, 0).unwrap();
    let moved = after.take_over(&new, &before, &old, 0);
    let late = before.reserve(&old, 4, 0).unwrap();
    assert_eq!(moved.place(&new, late), Taken::default());
    assert!(!after.cancel(&new, moved.place(&new, late), 0));
    assert_eq!(after.available(&new, 0), 4);
    // Nor in one after that, where what came in time still has its own.
    let last = Bucket::new();
    let again = last.take_over(&old, &after, &new, 0);
    assert!(!last.cancel(&old, again.place(&old, moved.place(&new, late)), 0));
    assert!(last.cancel(&old, again.place(&old, moved.place(&new, early)), 0));
    assert_eq!(last.available(&old, 0), 10);
}

#[test]
fn a_smaller_bucket_is_full_and_no_debt_is_forgiven() {
    let (old, small) = (rate(1_000, 1_000), rate(100, 100));
    let (before, after) = (Bucket::new(), Bucket::new());
    let _ = before.charge(&old, 800, 0);
    let _ = after.take_over(&small, &before, &old, 0);
    assert_eq!(after.wait_for(&small, 100, 0).unwrap().as_secs(), 60);
    let _ = before.charge(&old, 300, 0);
    let indebted = Bucket::new();
    let _ = indebted.take_over(&small, &before, &old, 0);
    assert_eq!(indebted.wait_for(&small, 100, 0).unwrap().as_secs(), 120);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_wait_is_exact_to_the_nanosecond(amount in 1u64..1_000_000_000, burst in 1u64..1_000_000, first in 1u64..1_000_000, second in 1u64..1_000_000, start in 0u64..(1 << 50)) {
        let rate = rate(amount, burst);
        let (first, second) = (first.min(burst), second.min(burst));
        let bucket = Bucket::new();
        let _ = bucket.charge(&rate, first, start);
        if let Err(Refused::NotYet(wait)) = bucket.reserve(&rate, second, start) {
            let at = start + wait.as_nanos() as u64;
            prop_assert!(bucket.reserve(&rate, second, at - 1).is_err());
            prop_assert!(bucket.reserve(&rate, second, at).is_ok());
        }
    }

    #[test]
    fn the_rate_is_exact_to_one_in_a_million(amount in 1u64..10_000_000_000, seconds in 1u64..86_400) {
        let rate = Rate::new(amount, Duration::from_secs(seconds), amount).unwrap();
        let years = 1u64 << 57;
        let exact = u128::from(years) * (u128::from(amount) << rate.shift) / (u128::from(seconds) * u128::from(SECOND));
        let kept = (u128::from(years) * u128::from(rate.drain)) >> FRACTION;
        prop_assert!(exact.abs_diff(kept) <= exact / 1_000_000, "{exact} {kept}");
    }

    /// Reservations, settlements in any order, and refusals: no window ever lets through more
    /// than its burst, its refill and what calls used beyond their reservations.
    #[test]
    fn no_window_is_ever_over_its_bound(seed in any::<u64>(), overrun in 0u64..2) {
        let rng = Rng::from_seed(seed);
        let rate = rate(600, 200);
        let bucket = Bucket::new();
        let mut open: Vec<(Taken, u64, u64)> = Vec::new();
        let mut used: Vec<(u64, u64)> = Vec::new();
        let mut excess = 0;
        let mut now = 0;
        for _ in 0..400 {
            now += rng.below(2 * SECOND);
            if rng.below(2) == 0 || open.is_empty() {
                let amount = 1 + rng.below(200);
                if let Ok(taken) = bucket.reserve(&rate, amount, now) {
                    open.push((taken, amount, now));
                }
            } else {
                let (taken, amount, since) = open.swap_remove(rng.below(open.len() as u64) as usize);
                let actual = rng.below(amount + 1) + overrun * rng.below(50);
                excess += actual.saturating_sub(amount);
                bucket.settle(&rate, taken, actual, now);
                used.push((since, actual));
            }
        }
        used.sort_unstable();
        for (i, &(start, _)) in used.iter().enumerate() {
            let mut sum = 0;
            for &(at, amount) in &used[i..] {
                sum += amount;
                let refill = (at - start) / (SECOND / 10);
                prop_assert!(sum <= 200 + refill + 1 + excess, "{sum} in {} ns", at - start);
            }
        }
    }
}
