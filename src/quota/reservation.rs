//! What a call has taken from its quota.

use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::held::{CallScopes, Held};
use crate::quota::key::ScopeKey;
use crate::quota::scope::Moment;
use crate::quota::shared::Ticket;
use crate::quota::turnstile::Freed;
use crate::time::{Instant, now};
use crate::usage::Cost;

/// What a call has taken from its quota, to be settled once with what it used.
///
/// A reservation that is dropped settles itself: the input and what was [streamed](Self::extend).
/// It outlives changes of the limits it was taken from: what it used is charged to the new ones.
#[derive(Debug)]
#[must_use = "a reservation that is dropped charges its input and what was streamed"]
pub struct Reservation {
    line: ScopeKey,
    held: Held,
    reserved: Amounts,
    streamed: u64,
    /// Output and money that are charged so far.
    charged: (u64, u64),
    /// What it holds of limits that instances share. Nothing is held beside it.
    ticket: Option<Box<Ticket>>,
}

impl Reservation {
    /// Of a call that is expected to use `expected`, of which `taken` is to be taken.
    #[inline]
    pub(crate) fn new(line: ScopeKey, expected: Amounts, taken: &Amounts) -> Self {
        let charged = (taken.output_tokens, taken.cost.nano_dollars());
        let held = Held::default();
        Self { line, held, reserved: expected, streamed: 0, charged, ticket: None }
    }

    /// Of a call that holds what its ticket says. What it uses beyond is charged when it ends.
    pub(crate) fn of_ticket(
        line: ScopeKey,
        expected: Amounts,
        taken: &Amounts,
        ticket: Ticket,
    ) -> Self {
        let mut reservation = Self::new(line, expected, taken);
        reservation.ticket = Some(Box::new(ticket));
        reservation
    }

    /// Takes `amounts` from the scopes that `find` gives; where that is refused, nothing is left to
    /// settle.
    pub(crate) fn take(
        &mut self,
        find: impl FnOnce(&mut CallScopes) -> Result<(), Denied>,
        amounts: &Amounts,
        now: Moment,
    ) -> Result<(), Denied> {
        let taken = find(self.held.scopes()).and_then(|()| {
            self.held.take(amounts, now).map_err(|(denied, freed)| {
                self.opened(freed);
                denied
            })
        });
        if taken.is_err() {
            self.held.clear();
        }
        taken
    }

    /// What the call was expected to use when it began.
    #[must_use]
    pub const fn reserved(&self) -> &Amounts {
        &self.reserved
    }

    /// So many more output tokens have been streamed. What goes beyond the reservation is charged at
    /// once, money in proportion, so that a long answer shows while it is running.
    ///
    /// Costs nothing while the reservation is enough, and a compare-and-swap a limit beyond it.
    pub fn extend(&mut self, output_tokens: u64) {
        self.streamed = self.streamed.saturating_add(output_tokens);
        let beyond = self.streamed.saturating_sub(self.charged.0);
        if beyond > 0 {
            self.charge_beyond(beyond);
        }
    }

    fn charge_beyond(&mut self, output_tokens: u64) {
        let cost = self.so_far().cost.nano_dollars();
        let beyond = Cost::from_nano_dollars(cost.saturating_sub(self.charged.1));
        self.charged = (self.streamed, self.charged.1.max(cost));
        let more = Amounts { output_tokens, cost: beyond, ..Amounts::NONE };
        if let Some(shared) = self.held.shared() {
            let nanos = shared.nanos(now());
            self.held.extend(&more, nanos);
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
    #[inline]
    pub fn settle_at(mut self, actual: &Amounts, now: Instant) {
        self.end(actual, now);
    }

    /// Gives everything back: nothing was used.
    pub fn cancel(self) {
        self.settle(&Amounts::NONE);
    }

    fn end(&mut self, actual: &Amounts, at: Instant) {
        if let Some(ticket) = self.ticket.take() {
            ticket.end(actual, at);
        }
        if let Some(shared) = self.held.shared() {
            let nanos = shared.nanos(at);
            let freed = self.held.settle(actual, nanos);
            self.opened(freed);
            self.held.clear();
        }
    }

    fn opened(&self, freed: Freed) {
        if let Some(shared) = self.held.shared() {
            shared.turnstiles.opened(freed, self.line);
        }
    }

    /// The input and what was streamed, for a call nobody counted. Money in proportion.
    #[must_use]
    pub fn so_far(&self) -> Amounts {
        let Amounts { requests, input_tokens, output_tokens, cost } = self.reserved;
        let expected = u128::from(input_tokens) + u128::from(output_tokens);
        let used = u128::from(input_tokens) + u128::from(self.streamed);
        let nanos = u128::from(cost.nano_dollars()).saturating_mul(used) / expected.max(1);
        let cost = Cost::from_nano_dollars(u64::try_from(nanos).unwrap_or(u64::MAX));
        Amounts { requests, input_tokens, output_tokens: self.streamed, cost }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.held.shared().is_some() || self.ticket.is_some() {
            let used = self.so_far();
            self.end(&used, now());
        }
    }
}
