//! The local mirror of a backend's rate limits.
//!
//! Each limit is a bucket that calls spend from before they are sent. It cannot know what others
//! spend on the same account, so every response's headers correct it: what the backend says is left,
//! less what was sent since that call and with what came back since, is an upper bound.
//!
//! What others spend between two such answers nobody can know. Where a call is refused although it
//! fitted here, so much is held back for them; that is given up again so slowly that about one call in
//! a hundred finds out in this way whether they are still there.

use std::time::Duration;

use crate::balance::limits::{EndpointLimits, MINUTE};
use crate::outcome::Charge;
use crate::rate::{Bucket, Rate, Reading, Refused, Taken};
use crate::rate_limits::{LimitWindow, RateLimits};
use crate::sync::{AtomicU32, Ordering};

/// What a limit counts, in the order of [`EndpointLimits::per_minute`].
const DIMENSIONS: usize = 4;

/// What a call is expected to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spend {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

impl Spend {
    const fn amounts(self) -> [u64; DIMENSIONS] {
        [1, self.input.saturating_add(self.output), self.input, self.output]
    }
}

/// What a call wants to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) expected: Spend,
    /// The part of it that is demanded and not a guess. Only this can be too much for ever.
    pub(crate) certain: Spend,
}

impl Want {
    #[cfg(test)]
    const fn certainly(spend: Spend) -> Self {
        Self { expected: spend, certain: spend }
    }

    /// Of each dimension the expected and the certain amount.
    fn amounts(self) -> [(u64, u64); DIMENSIONS] {
        let (expected, certain) = (self.expected.amounts(), self.certain.amounts());
        std::array::from_fn(|dimension| (expected[dimension], certain[dimension]))
    }
}

/// The limits of one endpoint and model.
#[derive(Debug)]
pub(crate) struct Mirror {
    meters: Box<[Meter]>,
}

#[derive(Debug)]
struct Meter {
    dimension: usize,
    /// Per minute: more than this never fits.
    limit: u64,
    rate: Rate,
    bucket: Bucket,
    /// All that was ever taken and not given back unsent; wraps. Tells how much was sent after a call.
    sent: AtomicU32,
    others: Others,
}

/// What is held back for others who spend the same limit: a bucket that refusals fill, and that
/// drains by the hundredth of what the limit refills.
#[derive(Debug)]
struct Others {
    rate: Rate,
    bucket: Bucket,
}

/// Of what the limit refills, the part by which what is held back for others shrinks.
const GIVEN_UP: u32 = 100;

/// Of what the limit allows at once, the part that is held back for others at the most.
const MOST_HELD_BACK: u64 = 4;

/// What a call took from each of a mirror's meters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    expected: Spend,
    /// In the order of the meters; nothing beyond their number.
    taken: [Taken; DIMENSIONS],
    pub(crate) sent: Sent,
}

/// All that each meter ever took when a call was made, the call included. Wraps, but not within one
/// call: that would be four billion tokens. Leases are copied about, so they had better be small.
pub(crate) type Sent = [u32; DIMENSIONS];

impl Mirror {
    /// `None` where no rate is limited.
    pub(crate) fn new(limits: &EndpointLimits) -> Option<Self> {
        let meters: Box<[Meter]> = (0..)
            .zip(limits.per_minute())
            .filter_map(|(dimension, (_, limit))| Meter::new(dimension, limit?, limits))
            .collect();
        (!meters.is_empty()).then_some(Self { meters })
    }

    /// Takes what is wanted from every meter, or from none.
    pub(crate) fn reserve(&self, want: Want, now: u64) -> Result<Spent, Refused> {
        let (taken, sent) = ([Taken::default(); DIMENSIONS], [0; DIMENSIONS]);
        let mut spent = Spent { expected: want.expected, taken, sent };
        let amounts = want.amounts();
        for (index, meter) in self.meters.iter().enumerate() {
            match meter.reserve(amounts[meter.dimension], now) {
                Ok((taken, sent)) => {
                    spent.taken[index] = taken;
                    spent.sent[index] = sent;
                }
                Err(refused) => {
                    self.give_back_first(index, &spent, now);
                    return Err(refused);
                }
            }
        }
        Ok(spent)
    }

    /// Gives all of it back: the call was not sent.
    pub(crate) fn give_back(&self, spent: &Spent, now: u64) {
        self.give_back_first(self.meters.len(), spent, now);
    }

    /// The same for so many meters.
    fn give_back_first(&self, count: usize, spent: &Spent, now: u64) {
        let amounts = spent.expected.amounts();
        for (meter, &taken) in self.meters.iter().zip(&spent.taken).take(count) {
            meter.bucket.cancel(&meter.rate, taken, now);
            let amount = amounts[meter.dimension].min(meter.limit);
            meter.sent.fetch_sub(amount as u32, Ordering::Relaxed);
        }
    }

    /// How long until what is wanted fits all meters; `Err` where it never does.
    pub(crate) fn wait_for(&self, want: Want, now: u64) -> Result<Duration, Refused> {
        let amounts = want.amounts();
        let wait = |meter: &Meter| meter.wait_for(amounts[meter.dimension], now);
        self.meters
            .iter()
            .map(wait)
            .try_fold(Duration::ZERO, |longest, wait| Ok(longest.max(wait?)))
    }

    /// Corrects what was taken to what the outcome's row says was used. A request that was sent
    /// counts as one whatever came of it: backends count failed and refused ones too.
    pub(crate) fn settle(&self, spent: &Spent, charge: Charge, usage: Option<Spend>, now: u64) {
        let Spend { input, .. } = spent.expected;
        let used = match (charge, usage) {
            (Charge::Refund, _) => Spend { input: 0, output: 0 },
            (Charge::Input, _) => Spend { input, output: 0 },
            (Charge::Actual | Charge::Streamed, Some(usage)) => usage,
            (Charge::Actual | Charge::Streamed, None) => spent.expected,
        };
        let amounts = used.amounts();
        for (meter, taken) in self.meters.iter().zip(spent.taken) {
            meter.bucket.settle(&meter.rate, taken, amounts[meter.dimension], now);
        }
    }

    /// Lowers each meter to what the headers of a response leave room for. It is that to a call made
    /// at `then`, up to which so much was `sent`.
    pub(crate) fn correct(&self, sent: &Sent, limits: &RateLimits, (then, now): (u64, u64)) {
        let RateLimits { requests, tokens, input_tokens, output_tokens } = *limits;
        let windows = [requests, tokens, input_tokens, output_tokens];
        for (meter, &sent_then) in self.meters.iter().zip(sent) {
            let window: Option<LimitWindow> = windows[meter.dimension];
            if let Some(left) = window.and_then(|window| window.remaining) {
                let since = meter.sent.load(Ordering::Relaxed).wrapping_sub(sent_then) as i32;
                // Below zero where `sent_then` counts what somebody else has given back.
                let (taken_since, held_back) = (since.max(0) as u64, meter.others.held_back(now));
                let reading = Reading { left, at: then, taken_since, held_back };
                meter.bucket.lower_by(&meter.rate, &reading, now);
            }
        }
    }

    /// The call was refused for its rate, with `limits` in the refusal. It fitted here, so others
    /// have spent of what is left too little of.
    pub(crate) fn refused(&self, spent: &Spent, limits: &RateLimits, now: u64) {
        let RateLimits { requests, tokens, input_tokens, output_tokens } = *limits;
        let windows = [requests, tokens, input_tokens, output_tokens];
        let amounts = spent.expected.amounts();
        for meter in &self.meters {
            let left = windows[meter.dimension].and_then(|window| window.remaining);
            let amount = amounts[meter.dimension];
            if left.is_some_and(|left| left < amount) {
                meter.others.hold_back(amount, now);
            }
        }
    }

    /// `limits` without the windows that are metered here. Of those it is known when the next call
    /// fits, which is long before they are whole.
    pub(crate) fn unmetered(&self, mut limits: RateLimits) -> RateLimits {
        let RateLimits { requests, tokens, input_tokens, output_tokens } = &mut limits;
        let windows = [requests, tokens, input_tokens, output_tokens];
        for (dimension, window) in windows.into_iter().enumerate() {
            if self.meters.iter().any(|meter| meter.dimension == dimension) {
                *window = None;
            }
        }
        limits
    }
}

impl Meter {
    fn new(dimension: usize, limit: u64, limits: &EndpointLimits) -> Option<Self> {
        let (bucket, sent) = (Bucket::new(), AtomicU32::new(0));
        let rate = limits.rate(limit).ok()?;
        let others = Others::new(&rate, limit)?;
        Some(Self { dimension, limit, rate, bucket, sent, others })
    }

    /// What was taken, and all that was ever sent, this included.
    fn reserve(&self, amounts: (u64, u64), now: u64) -> Result<(Taken, u32), Refused> {
        let amount = self.most_of(amounts)?;
        let taken = self.bucket.reserve_beyond(&self.rate, amount, now)?;
        // Relaxed: the sum is compared with itself, and a correction is an upper bound anyhow.
        let sent = self.sent.fetch_add(amount as u32, Ordering::Relaxed);
        let sent = sent.wrapping_add(amount as u32);
        Ok((taken, sent))
    }

    fn wait_for(&self, amounts: (u64, u64), now: u64) -> Result<Duration, Refused> {
        let amount = self.most_of(amounts)?;
        self.bucket.wait_for(&self.rate, amount.min(self.rate.burst()), now)
    }

    /// What is expected, or all there is in a minute where that is less: a guess must not keep a
    /// call out for ever.
    fn most_of(&self, (expected, certain): (u64, u64)) -> Result<u64, Refused> {
        match certain > self.limit {
            true => Err(Refused::Never { burst: self.limit }),
            false => Ok(expected.min(self.limit)),
        }
    }
}

impl Others {
    fn new(rate: &Rate, limit: u64) -> Option<Self> {
        let most = (rate.burst() / MOST_HELD_BACK).max(1);
        let rate = Rate::new(limit, MINUTE.saturating_mul(GIVEN_UP), most).ok()?;
        Some(Self { rate, bucket: Bucket::new() })
    }

    fn held_back(&self, now: u64) -> u64 {
        self.rate.burst() - self.bucket.available(&self.rate, now)
    }

    fn hold_back(&self, amount: u64, now: u64) {
        // Where that would be too much, there is enough.
        let _ = self.bucket.reserve(&self.rate, amount, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn mirror(limits: EndpointLimits) -> Mirror {
        Mirror::new(&limits).unwrap()
    }

    const fn spend(input: u64, output: u64) -> Spend {
        Spend { input, output }
    }

    const fn want(input: u64, output: u64) -> Want {
        Want::certainly(spend(input, output))
    }

    fn minute() -> EndpointLimits {
        EndpointLimits::new().burst(Duration::from_secs(60))
    }

    #[test]
    fn a_refusal_takes_nothing_from_any_meter() {
        let mirror = mirror(minute().requests_per_minute(60).output_tokens_per_minute(100));
        let _all = mirror.reserve(want(5, 100), 0).unwrap();
        assert!(mirror.reserve(want(5, 1), 0).is_err());
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 59);
    }

    #[test]
    fn a_call_larger_than_the_burst_waits_for_all_of_it_and_leaves_a_debt() {
        let limits = EndpointLimits::new().tokens_per_minute(6_000).burst(Duration::from_secs(1));
        let mirror = mirror(limits);
        assert!(mirror.reserve(want(300, 0), 0).is_ok());
        let wait = mirror.wait_for(want(1, 0), 0).unwrap();
        assert!(wait > Duration::from_secs(2) && wait < Duration::from_millis(2_100), "{wait:?}");
        assert!(matches!(mirror.wait_for(want(7_000, 0), 0), Err(Refused::Never { burst: 6_000 })));
    }

    #[test]
    fn a_guess_alone_is_never_too_much_and_takes_what_there_is() {
        let mirror = mirror(minute().tokens_per_minute(200));
        let guessed = |input| Want { expected: spend(input, 256), certain: spend(input, 0) };
        assert_eq!(mirror.wait_for(guessed(10), 0), Ok(Duration::ZERO));
        assert!(mirror.reserve(guessed(10), 0).is_ok());
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 0);
        assert!(matches!(mirror.wait_for(guessed(201), 0), Err(Refused::Never { burst: 200 })));
    }

    #[test]
    fn headers_lower_the_count_by_what_was_not_sent_since() {
        let mirror = mirror(minute().requests_per_minute(100));
        let first = mirror.reserve(want(1, 1), 0).unwrap();
        let _second = mirror.reserve(want(1, 1), 0).unwrap();
        let _third = mirror.reserve(want(1, 1), 0).unwrap();
        let window = LimitWindow::new().with_remaining(10);
        mirror.correct(&first.sent, &RateLimits::new().with_requests(window), (0, 0));
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 8);
        let generous = LimitWindow::new().with_remaining(u64::MAX);
        mirror.correct(&first.sent, &RateLimits::new().with_requests(generous), (0, 0));
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 8);
    }

    #[test]
    fn what_was_refused_was_not_sent() {
        let mirror = mirror(minute().requests_per_minute(100).tokens_per_minute(50));
        let first = mirror.reserve(want(10, 30), 0).unwrap();
        for _ in 0..200 {
            assert!(mirror.reserve(want(50, 0), 0).is_err());
        }
        let second = mirror.reserve(want(1, 0), 0).unwrap();
        mirror.give_back(&second, 0);
        let said = RateLimits::new().with_requests(LimitWindow::new().with_remaining(40));
        mirror.correct(&second.sent, &said, (0, 0));
        mirror.correct(&first.sent, &said, (0, 0));
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 40);
    }

    #[test]
    fn what_was_not_used_is_given_back() {
        let mirror = mirror(minute().tokens_per_minute(1_000));
        let spent = mirror.reserve(want(100, 900), 0).unwrap();
        assert!(mirror.reserve(want(1, 0), 0).is_err());
        mirror.settle(&spent, Charge::Actual, Some(spend(100, 50)), 0);
        assert_eq!(mirror.meters[0].bucket.available(&mirror.meters[0].rate, 0), 850);
        let wait = mirror.wait_for(want(900, 0), SECOND).unwrap();
        assert!(wait > Duration::ZERO);
    }
}
