//! A token bucket that can be reserved from, settled and refunded, by many threads without a lock.
//!
//! A [`Rate`] is what a limit allows; a [`Bucket`] is how much of it is used. The bucket is the
//! generic cell rate algorithm (ITU-T I.371) in units of the limited amount instead of time, which
//! makes charges exact integers: only the present is rounded, once and never cumulatively.
//!
//! **Refunds are first in, first out.** Of a reservation that turns out smaller, only the part that
//! has not drained yet goes back. The drained part has been replaced by the passing of time already;
//! giving it back again would hand the same tokens out twice. A refund also moves every later
//! reservation forward, and the bucket accounts for that.
//!
//! **Two words, one write each.** `end` is where the bucket would be used up to had nothing ever
//! been refunded, and `refunded` is the sum of all refunds; the bucket is really used up to their
//! difference. A reservation remembers its place in the first coordinate, which no refund moves.
//! So a reservation writes `end` alone, a refund writes `refunded` alone, and each is a single
//! compare-and-swap. Reservations, refunds and corrections come to what they would one after the
//! other.
//!
//! **Lagging clocks.** `now` is what the caller's clock said a moment ago. A refund whose `now` lies
//! behind that of a reservation that came before it gives back what has drained in between as well:
//! the bucket is then over its burst by what drains in the time by which the clocks disagree.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Fractional bits of the drain per nanosecond.
const FRACTION: u32 = 40;

/// The largest burst in units, so that differences fit a signed word with room to spare.
const MAX_BURST_UNITS: u64 = 1 << 60;

/// The fastest drain in units per nanosecond. Differences are signed words, so that a bucket which
/// was not touched for 2^63 units would look full: at this rate after two years without use.
const MAX_DRAIN: u128 = 1 << 7;

/// The finest unit, as a power of two of the amount.
const MAX_SHIFT: u32 = 40;

/// What a limit allows: so much per time, and so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units drained per nanosecond, in fixed point.
    drain: u64,
    /// One amount is `1 << shift` units.
    shift: u32,
    /// Units that fit at once.
    burst: u64,
}

/// Finer units are worth having only where the bucket can then lie idle for centuries.
const fn most_drain(shift: u32) -> u128 {
    if shift == 0 { MAX_DRAIN } else { 1 }
}

/// Why a rate cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRate {
    /// Nothing would ever pass.
    #[error("the amount, its window and the burst must be above zero")]
    Zero,
    /// The arithmetic has no room for it.
    #[error("the limit is too large to be kept exactly")]
    TooLarge,
}

impl Rate {
    /// `amount` per `window`, with at most `burst` at once.
    ///
    /// # Errors
    /// When one of them is zero, or more than the arithmetic can keep exact to one in a million:
    /// a burst above 2^60, or above 2^7 per nanosecond.
    pub fn new(amount: u64, window: Duration, burst: u64) -> Result<Self, InvalidRate> {
        let nanos = window.as_nanos();
        if amount == 0 || nanos == 0 || burst == 0 {
            return Err(InvalidRate::Zero);
        }
        let fits = |shift: u32| {
            burst.checked_mul(1 << shift).is_some_and(|units| units <= MAX_BURST_UNITS)
                && (u128::from(amount) << shift) / nanos < most_drain(shift)
        };
        let shift =
            (0..=MAX_SHIFT).rev().find(|&shift| fits(shift)).ok_or(InvalidRate::TooLarge)?;
        let drain = ((u128::from(amount) << (shift + FRACTION)) / nanos) as u64;
        if drain == 0 {
            return Err(InvalidRate::TooLarge);
        }
        Ok(Self { drain, shift, burst: burst << shift })
    }

    /// The most that can be had at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst >> self.shift
    }

    /// `amount` in units; saturating, which is above any burst.
    const fn units(&self, amount: u64) -> u64 {
        if amount > u64::MAX >> self.shift { u64::MAX } else { amount << self.shift }
    }

    /// What has drained since the epoch. Wraps; only differences are ever looked at.
    const fn drained(&self, at: u64) -> u64 {
        ((at as u128 * self.drain as u128) >> FRACTION) as u64
    }

    /// The first nanosecond after `at` at which `units` more have drained.
    fn drain_time(&self, units: u64, at: u64) -> u64 {
        let drain = u128::from(self.drain);
        let sofar = u128::from(at) * drain;
        let needed = ((sofar >> FRACTION) + u128::from(units)) << FRACTION;
        u64::try_from((needed - sofar).div_ceil(drain)).unwrap_or(u64::MAX)
    }
}

/// Why nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Never: the amount is larger than the burst.
    #[error("more than the burst of {burst}")]
    Never {
        /// The most that can be had at once.
        burst: u64,
    },
    /// Not yet: it fits after this time, if nothing else is reserved meanwhile.
    #[error("not before another {0:?}")]
    NotYet(Duration),
}

/// How much of a [`Rate`] is used. Starts unused. Every method takes `now` in nanoseconds since an
/// epoch that all users of the bucket share.
#[derive(Debug, Default)]
pub struct Bucket {
    end: AtomicU64,
    refunded: AtomicU64,
}

/// A place in a bucket, to be settled once. The default is a place of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "what was taken is used up until it is settled"]
pub struct Taken {
    /// Where it ends, in the coordinate that refunds do not move.
    end: u64,
    units: u64,
}

/// What somebody else counted in a bucket. It is true of an earlier time: since then some was taken,
/// and some has drained. Whoever is told ten times a second what was left some seconds ago would
/// never find anything left without the latter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) left: u64,
    pub(crate) at: u64,
    pub(crate) taken_since: u64,
    /// Is not to be touched, even if it is there.
    pub(crate) held_back: u64,
}

impl Bucket {
    /// An unused bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `amount` if it fits now.
    ///
    /// # Errors
    /// [`Refused::Never`] when it is larger than the burst; [`Refused::NotYet`] with the exact time
    /// after which it fits, when nothing else is taken or refunded meanwhile.
    pub fn reserve(&self, rate: &Rate, amount: u64, now: u64) -> Result<Taken, Refused> {
        let units = rate.units(amount);
        if units > rate.burst {
            return Err(Refused::Never { burst: rate.burst() });
        }
        self.take(rate, units, now, rate.burst)
    }

    /// Takes `amount` if it fits now, or, where it is larger than the burst, if the whole burst is
    /// there; the rest is then a debt that later ones wait for.
    ///
    /// # Errors
    /// [`Refused::NotYet`], as [`reserve`](Self::reserve).
    pub fn reserve_beyond(&self, rate: &Rate, amount: u64, now: u64) -> Result<Taken, Refused> {
        let units = rate.units(amount).min(MAX_BURST_UNITS);
        self.take(rate, units, now, rate.burst.max(units))
    }

    /// Takes `amount` whether it fits or not; the bucket may go into debt.
    pub fn charge(&self, rate: &Rate, amount: u64, now: u64) -> Taken {
        // One charge cannot be larger than what differences can express; debts add up to less than
        // that for any amount a call can use.
        let units = rate.units(amount).min(MAX_BURST_UNITS);
        self.take(rate, units, now, u64::MAX).unwrap_or(Taken { end: 0, units: 0 })
    }

    fn take(&self, rate: &Rate, units: u64, now: u64, limit: u64) -> Result<Taken, Refused> {
        // Acquire, here and where the exchange fails, pairs with its Release: a place is seen with
        // every refund that came before it, or what fits in any order could be refused.
        let mut end = self.end.load(Ordering::Acquire);
        loop {
            // Relaxed: a refund without its place makes the exchange fail, for the place moved `end`.
            let refunded = self.refunded.load(Ordering::Relaxed);
            let empty = rate.drained(now).wrapping_add(refunded);
            let after = level(end, empty).saturating_add(units);
            if after > limit {
                let wait = rate.drain_time(after - limit, now);
                return Err(Refused::NotYet(Duration::from_nanos(wait)));
            }
            let next = empty.wrapping_add(after);
            // Release pairs with the Acquire above and in `lower_to`.
            match self.end.compare_exchange_weak(end, next, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Ok(Taken { end: next, units }),
                Err(current) => end = current,
            }
        }
    }

    /// Charges `more` to what was taken, whether it fits or not.
    ///
    /// The result keeps the place of the first part, so that a later refund is at most what has not
    /// drained of that: never too much.
    pub fn grow(&self, rate: &Rate, taken: Taken, more: u64, now: u64) -> Taken {
        let added = self.charge(rate, more, now);
        Taken { end: taken.end, units: taken.units.saturating_add(added.units) }
    }

    /// Corrects what was taken to what was used. A shortfall is charged; of an excess, what has not
    /// drained yet is refunded.
    pub fn settle(&self, rate: &Rate, taken: Taken, actual: u64, now: u64) {
        let units = rate.units(actual);
        if units <= taken.units {
            self.refund(rate, taken, taken.units - units, now);
        } else {
            let shortfall = (units - taken.units).min(MAX_BURST_UNITS);
            let _debt = self.take(rate, shortfall, now, u64::MAX);
        }
    }

    /// Gives back all of what was taken that has not drained yet.
    pub fn cancel(&self, rate: &Rate, taken: Taken, now: u64) {
        self.refund(rate, taken, taken.units, now);
    }

    fn refund(&self, rate: &Rate, taken: Taken, excess: u64, now: u64) {
        let drained = rate.drained(now);
        let back = |refunded: u64| {
            let waiting = level(taken.end, drained.wrapping_add(refunded)).min(taken.units);
            let back = excess.min(waiting);
            (back > 0).then(|| refunded.wrapping_add(back))
        };
        // Release pairs with the Acquire in `level`: a refund is seen with its place.
        let _ = self.refunded.fetch_update(Ordering::Release, Ordering::Relaxed, back);
    }

    /// Lowers what is left to `amount`, where it is more: somebody else used the rest.
    pub fn lower_to(&self, rate: &Rate, amount: u64, now: u64) {
        self.lower_by(rate, &Reading { left: amount, at: now, taken_since: 0, held_back: 0 }, now);
    }

    /// Lowers what is left to what comes of `reading` by now, where it is more.
    pub(crate) fn lower_by(&self, rate: &Rate, reading: &Reading, now: u64) {
        let Reading { left, at, taken_since, held_back } = *reading;
        let drained = rate.drained(now.max(at)).wrapping_sub(rate.drained(at));
        let left = rate.units(left).saturating_add(drained);
        let left = left.saturating_sub(rate.units(taken_since));
        let held_back = rate.units(held_back).min(rate.burst);
        let used = rate.burst.saturating_sub(left).saturating_add(held_back);
        let raise = |end: u64| {
            let empty = rate.drained(now).wrapping_add(self.refunded.load(Ordering::Relaxed));
            (level(end, empty) < used).then(|| empty.wrapping_add(used))
        };
        // Release and Acquire, as in `take`.
        let _ = self.end.fetch_update(Ordering::Release, Ordering::Acquire, raise);
    }

    /// How much could be taken now.
    #[must_use]
    pub fn available(&self, rate: &Rate, now: u64) -> u64 {
        rate.burst.saturating_sub(self.level(rate, now)) >> rate.shift
    }

    /// How long until `amount` fits, when nothing else happens meanwhile.
    ///
    /// # Errors
    /// [`Refused::Never`] when it is larger than the burst.
    pub fn wait_for(&self, rate: &Rate, amount: u64, now: u64) -> Result<Duration, Refused> {
        let units = rate.units(amount);
        if units > rate.burst {
            return Err(Refused::Never { burst: rate.burst() });
        }
        let after = self.level(rate, now) + units;
        let over = after.saturating_sub(rate.burst);
        let wait = if over == 0 { 0 } else { rate.drain_time(over, now) };
        Ok(Duration::from_nanos(wait))
    }

    /// Whether everything has drained, so that the bucket is as good as a new one.
    #[must_use]
    pub fn is_idle(&self, rate: &Rate, now: u64) -> bool {
        self.level(rate, now) == 0
    }

    fn level(&self, rate: &Rate, now: u64) -> u64 {
        // Acquire pairs with the Release in `refund`.
        let refunded = self.refunded.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Relaxed);
        level(end, rate.drained(now).wrapping_add(refunded))
    }
}

/// How far `end` lies ahead of `empty`; zero when it does not. Both wrap, so their difference is
/// taken as signed: the two are never half a range apart.
const fn level(end: u64, empty: u64) -> u64 {
    let ahead = end.wrapping_sub(empty) as i64;
    if ahead > 0 { ahead as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
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
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
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
            let ((), let_in) = at_once(&bucket, move |it| it.cancel(&rate(), first, 0), take);
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
            let ((), let_in) = at_once(&bucket, back, take);
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
                order.into_iter().for_each(|at| settle(&bucket, taken[at]));
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
}
