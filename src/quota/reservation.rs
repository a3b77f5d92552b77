//! What a call has taken from its quota.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::quota::amounts::Amounts;
use crate::quota::limiter::Inner;
use crate::quota::scope::Held;
use crate::time::{Instant, now};
use crate::usage::Cost;

/// What a call has taken from its quota, to be settled once with what it used.
///
/// A reservation that is dropped settles itself: the input and what was [streamed](Self::extend).
#[derive(Debug)]
#[must_use = "a reservation that is dropped charges its input and what was streamed"]
pub struct Reservation {
    limiter: Arc<Inner>,
    held: SmallVec<[Held; 3]>,
    reserved: Amounts,
    streamed: u64,
    /// Output tokens that are charged so far.
    charged: u64,
}

impl Reservation {
    pub(crate) fn new(limiter: Arc<Inner>, held: SmallVec<[Held; 3]>, reserved: Amounts) -> Self {
        Self { limiter, held, reserved, streamed: 0, charged: reserved.output_tokens }
    }

    /// What was reserved when the call began.
    #[must_use]
    pub const fn reserved(&self) -> &Amounts {
        &self.reserved
    }

    /// So many more output tokens have been streamed. What goes beyond the reservation is charged at
    /// once, so that a long answer shows while it is running.
    pub fn extend(&mut self, output_tokens: u64) {
        self.streamed = self.streamed.saturating_add(output_tokens);
        let beyond = self.streamed.saturating_sub(self.charged);
        if beyond > 0 {
            self.charged = self.streamed;
            let now = self.limiter.moment(now());
            let more = Amounts { output_tokens: beyond, ..Amounts::NONE };
            self.held.iter_mut().for_each(|held| held.extend(&more, now));
        }
    }

    /// Output tokens that were streamed so far.
    #[must_use]
    pub const fn streamed(&self) -> u64 {
        self.streamed
    }

    /// Settles with what was used. A shortfall is charged; of an excess, what has not drained yet
    /// goes back.
    pub fn settle(self, actual: &Amounts) {
        self.settle_at(actual, now());
    }

    /// As [`settle`](Self::settle), at an instant the caller has read already.
    pub fn settle_at(mut self, actual: &Amounts, now: Instant) {
        self.end(actual, now);
    }

    /// Gives everything back: nothing was used.
    pub fn cancel(self) {
        self.settle(&Amounts::NONE);
    }

    fn end(&mut self, actual: &Amounts, at: Instant) {
        let now = self.limiter.moment(at);
        for held in std::mem::take(&mut self.held) {
            held.settle(actual, now);
        }
        self.limiter.turnstiles.opened();
    }

    /// The input and what was streamed, for a call nobody counted. Money in proportion.
    #[must_use]
    pub fn so_far(&self) -> Amounts {
        let Amounts { requests, input_tokens, output_tokens, cost } = self.reserved;
        let expected = u128::from(input_tokens) + u128::from(output_tokens);
        let used = u128::from(input_tokens) + u128::from(self.streamed);
        let nanos = u128::from(cost.nano_dollars()) * used / expected.max(1);
        let cost = Cost::from_nano_dollars(u64::try_from(nanos).unwrap_or(u64::MAX));
        Amounts { requests, input_tokens, output_tokens: self.streamed, cost }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let used = self.so_far();
            self.end(&used, now());
        }
    }
}
