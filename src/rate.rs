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

/// The largest burst in units.
const MAX_BURST_UNITS: u64 = 1 << 60;

/// A burst of no more than this many units leaves room for a debt of ten thousand bursts and more.
const ROOMY_BURST_UNITS: u64 = 1 << 48;

/// The deepest debt in units, where debts stop growing: differences must fit a signed word, or a
/// bucket that a server's lies have charged eight times over would look empty.
const MAX_LEVEL: u64 = 1 << 62;

/// The slowest drain, in fixed point, whose rounding is below one in a million.
const MIN_DRAIN: u64 = 1 << 20;

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
    /// a burst above 2^60, above 2^7 per nanosecond, or one in some thousand years.
    pub fn new(amount: u64, window: Duration, burst: u64) -> Result<Self, InvalidRate> {
        let nanos = window.as_nanos();
        if amount == 0 || nanos == 0 || burst == 0 {
            return Err(InvalidRate::Zero);
        }
        let roomy = Self::of_units(amount, nanos, burst, ROOMY_BURST_UNITS);
        roomy
            .or_else(|| Self::of_units(amount, nanos, burst, MAX_BURST_UNITS))
            .ok_or(InvalidRate::TooLarge)
    }

    /// In the finest units in which the burst is at most `most` and the drain not too fast, if the
    /// drain is exact enough in them.
    fn of_units(amount: u64, nanos: u128, burst: u64, most: u64) -> Option<Self> {
        let fits = |shift: u32| {
            burst.checked_mul(1 << shift).is_some_and(|units| units <= most)
                && (u128::from(amount) << shift) / nanos < most_drain(shift)
        };
        let shift = (0..=MAX_SHIFT).rev().find(|&shift| fits(shift))?;
        let drain = ((u128::from(amount) << (shift + FRACTION)) / nanos) as u64;
        (drain >= MIN_DRAIN).then_some(Self { drain, shift, burst: burst << shift })
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

/// Where the contents of a bucket went when another took its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    from: u64,
    shift: u32,
    to: u64,
}

impl Moved {
    /// The place in the new bucket of what was taken from the old one. Amounts are rounded so that
    /// less may be refunded, not more. What was taken too late to be carried over has no place there:
    /// nothing of it is to go back.
    pub(crate) const fn place(&self, rate: &Rate, taken: Taken) -> Taken {
        // Whatever is taken moves the end on, so what was taken later ends beyond it.
        if level(taken.end, self.from) > 0 {
            return Taken { end: 0, units: 0 };
        }
        let behind = rate.units(level(self.from, taken.end).div_ceil(1 << self.shift));
        let behind = if behind > MAX_LEVEL { MAX_LEVEL } else { behind };
        let units = rate.units(taken.units >> self.shift);
        Taken { end: self.to.wrapping_sub(behind), units }
    }
}

impl Taken {
    /// As it is once nothing of it is to go back if `actual` was used.
    pub(crate) const fn without_refund(self, rate: &Rate, actual: u64) -> Self {
        let used = rate.units(actual);
        Self { end: self.end, units: if used < self.units { used } else { self.units } }
    }
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

    /// Takes `amount` whether it fits or not; the bucket may go into debt. A debt stops growing at
    /// 2^62 units, which are at least ten thousand bursts unless the burst is above 2^48.
    pub fn charge(&self, rate: &Rate, amount: u64, now: u64) -> Taken {
        let units = rate.units(amount).min(MAX_LEVEL);
        self.take(rate, units, now, u64::MAX).unwrap_or_default()
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
            let next = empty.wrapping_add(after.min(MAX_LEVEL));
            // Release pairs with the Acquire above and in `lower_to`; Acquire pairs with the Release
            // in `take_over`: whoever comes too late for it learns that the bucket is given up.
            match self.end.compare_exchange_weak(end, next, Ordering::AcqRel, Ordering::Acquire) {
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
    /// drained yet is refunded. Says whether anything was.
    pub fn settle(&self, rate: &Rate, taken: Taken, actual: u64, now: u64) -> bool {
        let units = rate.units(actual);
        if units <= taken.units {
            return self.refund(rate, taken, taken.units - units, now);
        }
        let shortfall = (units - taken.units).min(MAX_LEVEL);
        let _debt = self.take(rate, shortfall, now, u64::MAX);
        false
    }

    /// Gives back all of what was taken that has not drained yet. Says whether anything was.
    pub fn cancel(&self, rate: &Rate, taken: Taken, now: u64) -> bool {
        self.refund(rate, taken, taken.units, now)
    }

    fn refund(&self, rate: &Rate, taken: Taken, excess: u64, now: u64) -> bool {
        if excess == 0 {
            return false;
        }
        let drained = rate.drained(now);
        let back = |refunded: u64| {
            let waiting = level(taken.end, drained.wrapping_add(refunded)).min(taken.units);
            let back = excess.min(waiting);
            (back > 0).then(|| refunded.wrapping_add(back))
        };
        // Release pairs with the Acquire in `level`: a refund is seen with its place.
        self.refunded.fetch_update(Ordering::Release, Ordering::Relaxed, back).is_ok()
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

    /// Fills up, from new, as far as `before` is: its limit has changed and this one takes its place.
    /// What is used is at most the burst of either, and a debt stays one.
    ///
    /// Whoever takes from `before` later than this comes too late to be counted, and sees whatever
    /// the caller wrote before.
    pub(crate) fn take_over(&self, rate: &Rate, before: &Self, from: &Rate, now: u64) -> Moved {
        // A write, so that a taking before it is counted and one after it knows. Release pairs with
        // the exchange in `take`, Acquire with its Release.
        let end = before.end.fetch_add(0, Ordering::AcqRel);
        let empty = from.drained(now).wrapping_add(before.refunded.load(Ordering::Acquire));
        let used = level(end, empty).div_ceil(1 << from.shift);
        let (most, debt) = (from.burst(), used.saturating_sub(from.burst()));
        let kept = used.min(most).min(rate.burst()).saturating_add(debt);
        Moved { from: end, shift: from.shift, to: self.charge(rate, kept, now).end }
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

#[cfg(all(test, evenkeel_loom))]
mod models;
#[cfg(test)]
mod tests;
