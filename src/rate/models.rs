//! What several threads may do to a bucket at once, in every order.

use super::*;
use loom::thread;
use std::sync::Arc;

/// A unit a nanosecond, ten at once.
fn rate() -> Rate {
    Rate::new(1, Duration::from_nanos(1), 10).unwrap()
}

/// A bucket of which `amounts` are taken, at time zero.
fn taken<const N: usize>(amounts: [u64; N]) -> (Arc<Bucket>, [Taken; N]) {
    let bucket = Arc::new(Bucket::new());
    let taken = amounts.map(|amount| bucket.charge(&rate(), amount, 0));
    (bucket, taken)
}

fn used(bucket: &Bucket, now: u64) -> u64 {
    bucket.level(&rate(), now) >> rate().shift
}

/// What is used at `now` when `a` and `b` run at once, and what they returned.
fn at_once<A: Send + 'static, B>(
    bucket: &Arc<Bucket>,
    a: impl FnOnce(&Bucket) -> A + Send + 'static,
    b: impl FnOnce(&Bucket) -> B,
) -> (A, B) {
    let other = Arc::clone(bucket);
    let other = thread::spawn(move || a(&other));
    let b = b(bucket);
    (other.join().unwrap(), b)
}

#[test]
fn loom_two_that_do_not_fit_together_are_not_both_let_in() {
    loom::model(|| {
        let (bucket, []) = taken([]);
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 6, 0).is_ok();
        let (a, b) = at_once(&bucket, take, take);
        assert!(a != b, "one of them fits");
        assert_eq!(used(&bucket, 0), 6);
    });
}

#[test]
fn loom_what_a_refund_frees_is_taken_once() {
    loom::model(|| {
        let (bucket, [first]) = taken([6]);
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 6, 0).is_ok();
        let (_, let_in) = at_once(&bucket, move |it| it.cancel(&rate(), first, 0), take);
        assert_eq!(used(&bucket, 0), if let_in { 6 } else { 0 });
    });
}

#[test]
fn loom_a_clock_that_lags_gives_back_what_drains_meanwhile_and_no_more() {
    const LAG: u64 = 2;
    loom::model(|| {
        let (bucket, [first]) = taken([6]);
        // To the taker the bucket is idle; to the other thread there is a rest to give back.
        let back = move |bucket: &Bucket| bucket.cancel(&rate(), first, 6 - LAG);
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 8, 6).is_ok();
        let (_, let_in) = at_once(&bucket, back, take);
        assert!(let_in);
        assert!(used(&bucket, 6) + LAG >= 8, "{} of 8 are used", used(&bucket, 6));
    });
}

#[test]
fn loom_refunds_in_either_order_come_to_one_of_the_two() {
    const NOW: u64 = 4;
    let settle = |bucket: &Bucket, taken| bucket.settle(&rate(), taken, 1, NOW);
    loom::model(move || {
        let in_turn = |order: [usize; 2]| {
            let (bucket, taken) = taken([5, 5]);
            for at in order {
                let _back = settle(&bucket, taken[at]);
            }
            used(&bucket, NOW)
        };
        let either = [in_turn([0, 1]), in_turn([1, 0])];
        let (bucket, [first, second]) = taken([5, 5]);
        at_once(&bucket, move |it| settle(it, second), |it| settle(it, first));
        let used = used(&bucket, NOW);
        assert!(either.contains(&used), "{used} of {either:?}");
    });
}

#[test]
fn loom_a_refund_and_a_debt_add_up() {
    loom::model(|| {
        let (bucket, [first, second]) = taken([5, 5]);
        let back = move |bucket: &Bucket| bucket.settle(&rate(), first, 2, 0);
        at_once(&bucket, back, |it| it.settle(&rate(), second, 9, 0));
        assert_eq!(used(&bucket, 0), 11);
    });
}

#[test]
fn loom_a_correction_loses_no_reservation() {
    loom::model(|| {
        let (bucket, [_first]) = taken([6]);
        let lower = |bucket: &Bucket| bucket.lower_to(&rate(), 3, 0);
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 3, 0).is_ok();
        let (let_in, ()) = at_once(&bucket, take, lower);
        assert!(let_in, "three are left in either order");
        assert!(bucket.available(&rate(), 0) <= 1, "{}", bucket.available(&rate(), 0));
    });
}

#[test]
fn loom_a_correction_counts_the_refunds_before_the_place_it_sees() {
    loom::model(|| {
        let (bucket, [first]) = taken([6]);
        let swap = move |bucket: &Bucket| {
            bucket.cancel(&rate(), first, 0);
            bucket.reserve(&rate(), 2, 0).is_ok()
        };
        at_once(&bucket, swap, |it| it.lower_to(&rate(), 1, 0));
        let left = bucket.available(&rate(), 0);
        assert!(left <= 5, "{left} left; corrected before the refund, it would be five");
    });
}

#[test]
fn loom_what_fits_beside_a_correction_is_let_in() {
    loom::model(|| {
        let (bucket, [first]) = taken([6]);
        let lower = move |bucket: &Bucket| {
            bucket.cancel(&rate(), first, 0);
            bucket.lower_to(&rate(), 8, 0);
        };
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 4, 0).is_ok();
        assert!(at_once(&bucket, lower, take).1);
    });
}

#[test]
fn loom_whoever_looks_sees_no_refund_without_what_is_refunded() {
    loom::model(|| {
        let (bucket, [_first]) = taken([4]);
        let pass = |bucket: &Bucket| {
            let taken = bucket.charge(&rate(), 6, 0);
            bucket.cancel(&rate(), taken, 0);
        };
        let ((), seen) = at_once(&bucket, pass, |it| it.available(&rate(), 0));
        assert!(seen <= 6, "{seen} left of ten, of which four are used");
    });
}

#[test]
fn loom_what_fits_in_any_order_is_let_in() {
    loom::model(|| {
        let (bucket, [first]) = taken([6]);
        let swap = move |bucket: &Bucket| {
            bucket.cancel(&rate(), first, 0);
            bucket.reserve(&rate(), 2, 0).is_ok()
        };
        let take = |bucket: &Bucket| bucket.reserve(&rate(), 4, 0).is_ok();
        assert_eq!(at_once(&bucket, swap, take), (true, true));
        assert_eq!(used(&bucket, 0), 6);
    });
}

/// Reserve, settle and reserve again at once, for all interleavings: the sum of what is out is
/// never above the burst.
#[test]
fn loom_three_threads_never_go_over_the_burst() {
    loom::model(|| {
        let (bucket, [first]) = taken([4]);
        let take = |amount| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.reserve(&rate(), amount, 0).is_ok())
        };
        let others = [(4, take(4)), (5, take(5))];
        bucket.settle(&rate(), first, 1, 0);
        let out = others.map(|(amount, other)| if other.join().unwrap() { amount } else { 0 });
        let out = 1 + out.iter().sum::<u64>();
        assert!(out <= 10);
        assert_eq!(used(&bucket, 0), out);
    });
}

/// Whoever takes from a bucket that is given up is counted or learns of it.
#[test]
fn loom_a_taking_is_carried_over_or_knows_that_it_is_not() {
    use crate::sync::AtomicBool;
    loom::model(|| {
        let (bucket, []) = taken([]);
        let gone = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&gone);
        let take = move |bucket: &Bucket| {
            let _ = bucket.charge(&rate(), 6, 0);
            seen.load(Ordering::Relaxed)
        };
        let (knows, carried) = at_once(&bucket, take, |before| {
            gone.store(true, Ordering::Relaxed);
            let after = Bucket::new();
            let _ = after.take_over(&rate(), before, &rate(), 0);
            used(&after, 0)
        });
        assert!(knows || carried == 6, "lost");
    });
}
