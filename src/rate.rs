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
//! compare-and-swap.

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

/// A place in a bucket, to be settled once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what was taken is used up until it is settled"]
pub struct Taken {
    /// Where it ends, in the coordinate that refunds do not move.
    end: u64,
    units: u64,
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
        let mut end = self.end.load(Ordering::Relaxed);
        loop {
            // Acquire pairs with the Release in `refund`: a refund that is seen is seen whole.
            let refunded = self.refunded.load(Ordering::Acquire);
            let empty = rate.drained(now).wrapping_add(refunded);
            let level = level(end, empty);
            let after = level.saturating_add(units);
            if after > limit {
                let wait = rate.drain_time(after - limit, now);
                return Err(Refused::NotYet(Duration::from_nanos(wait)));
            }
            let next = empty.wrapping_add(after);
            // Release pairs with the Acquire in `refund`, which must not see a place without it.
            match self.end.compare_exchange_weak(end, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(Taken { end: self.mended(next, refunded, level), units }),
                Err(current) => end = current,
            }
        }
    }

    /// A refund between the two loads of an idle bucket would leave the end too low by as much:
    /// clocks of different threads disagree by that little. Charged on top, so that the error is
    /// never in favour of the taker.
    fn mended(&self, end: u64, refunded: u64, level: u64) -> u64 {
        let missed = self.refunded.load(Ordering::Relaxed).wrapping_sub(refunded);
        if level > 0 || missed == 0 {
            return end;
        }
        self.end.fetch_add(missed, Ordering::Relaxed);
        end.wrapping_add(missed)
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
        // AcqRel: Release pairs with the Acquire in `take`, Acquire with its Release.
        let _ = self.refunded.fetch_update(Ordering::AcqRel, Ordering::Acquire, back);
    }

    /// Lowers what is left to `amount`, where it is more: somebody else used the rest.
    pub fn lower_to(&self, rate: &Rate, amount: u64, now: u64) {
        let used = rate.burst.saturating_sub(rate.units(amount));
        let raise = |end: u64| {
            // Acquire pairs with the Release in `refund`.
            let empty = rate.drained(now).wrapping_add(self.refunded.load(Ordering::Acquire));
            (level(end, empty) < used).then(|| empty.wrapping_add(used))
        };
        // Release pairs with the Acquire in `refund`, as in `take`.
        let _ = self.end.fetch_update(Ordering::Release, Ordering::Relaxed, raise);
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
