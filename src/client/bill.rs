//! What a call uses, and what its tenant is charged.

use smallvec::SmallVec;

use crate::outcome::Charge;
use crate::quota::{Amounts, Dimension, Reservation};
use crate::request::ChatRequest;
use crate::time::Instant;
use crate::usage::{Cost, Price, Usage};

/// Bytes of an output token, where the server does not count: what the common tokenisers come to.
const BYTES_PER_TOKEN: usize = 4;

/// Output that was streamed is counted against the reservation in such steps: counting every chunk
/// would cost a clock read each.
const STEP: u64 = 64;

/// The bill of a call. Charges of its attempts add up; a call that was charged for nothing gives its
/// whole reservation back.
#[derive(Debug, Default)]
pub(super) struct Bill {
    reservation: Option<Reservation>,
    /// Input tokens of an attempt, as far as they are known before it is made.
    input: u64,
    /// Of attempts that have ended.
    used: Amounts,
    /// Attempts that have not, by number.
    running: SmallVec<[(u32, Option<Price>); 1]>,
    /// Bytes of content the call has received.
    received: usize,
    /// What the server has counted of the attempt that is streaming. Most calls end without, and all would
    /// carry the room.
    counted: Option<Box<Usage>>,
    /// Whether an attempt with a price was charged for anything.
    priced: bool,
}

/// What an attempt is charged for. Tokens that the server did not count make it an estimate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Billed {
    pub(super) usage: Usage,
    pub(super) cost: Option<Cost>,
}

impl Billed {
    fn new(usage: Usage, price: Option<Price>) -> Self {
        Self { usage, cost: price.map(|price| price.of(&usage)) }
    }

    /// Of an attempt that was dropped before any content: so much input.
    pub(super) fn unanswered(input: u64, price: Option<Price>) -> Self {
        Self::new(Usage::counted(input, 0).as_estimate(), price)
    }
}

impl Bill {
    pub(super) fn of(request: &ChatRequest) -> Self {
        Self { input: request.content_bytes() as u64 / BYTES_PER_TOKEN as u64, ..Self::default() }
    }

    /// The call has a reservation. What it was made for is the better estimate, unless the call is
    /// charged afterwards.
    pub(super) fn hold(&mut self, reservation: Reservation) {
        match reservation.reserved().input_tokens {
            0 => {}
            tokens => self.input = tokens,
        }
        self.reservation = Some(reservation);
    }

    /// The tokens the call has reserved; `None` where it has no reservation.
    pub(super) fn reserved(&self) -> Option<u64> {
        let reserved = self.reservation.as_ref()?.reserved();
        Some(reserved.of(Dimension::Tokens))
    }

    /// Input tokens of an attempt, as far as they are known before it is made.
    pub(super) const fn input(&self) -> u64 {
        self.input
    }

    /// Attempt `number` starts.
    pub(super) fn open(&mut self, number: u32, price: Option<Price>) {
        self.running.push((number, price));
    }

    /// So many bytes of content have arrived.
    #[inline]
    pub(super) fn receive(&mut self, bytes: usize) {
        let before = self.streamed() / STEP;
        self.received = self.received.saturating_add(bytes);
        if self.streamed() / STEP > before
            && let Some(reservation) = &mut self.reservation
        {
            let counted = self.received.div_ceil(BYTES_PER_TOKEN) as u64;
            reservation.extend(counted - reservation.streamed());
        }
    }

    /// The server has counted so much of the attempt that is streaming.
    pub(super) fn count(&mut self, usage: &Usage) {
        self.counted.get_or_insert_default().update(usage);
    }

    /// What the server has counted of the attempt that is streaming.
    pub(super) fn counted(&self) -> Usage {
        self.counted.as_deref().copied().unwrap_or_default()
    }

    /// Output tokens that have been streamed.
    const fn streamed(&self) -> u64 {
        self.received.div_ceil(BYTES_PER_TOKEN) as u64
    }

    /// Attempt `number` has ended, and is charged so; `usage` is what the server said of it.
    pub(super) fn close(&mut self, number: u32, charge: Charge, usage: Option<&Usage>) -> Billed {
        let Some(at) = self.running.iter().position(|(running, _)| *running == number) else {
            return Billed::default();
        };
        let (_, price) = self.running.swap_remove(at);
        self.charge(charge, usage, price)
    }

    fn charge(&mut self, charge: Charge, usage: Option<&Usage>, price: Option<Price>) -> Billed {
        let streamed = self.streamed();
        let usage = usage.copied().unwrap_or_default();
        let input = usage.input_tokens.unwrap_or(self.input);
        let output = match charge {
            Charge::Refund => return Billed::default(),
            Charge::Input => 0,
            Charge::Actual => usage.output_tokens.unwrap_or(streamed),
            // A count that came with the first chunks knows nothing of the later ones.
            Charge::Streamed => usage.output_tokens.unwrap_or(0).max(streamed),
        };
        let mut charged = Usage { input_tokens: Some(input), output_tokens: Some(output), ..usage };
        let counted = usage.input_tokens.is_some() && usage.output_tokens == Some(output);
        charged.estimated |= !counted;
        let billed = Billed::new(charged, price);
        self.priced |= billed.cost.is_some();
        self.used = Amounts::tokens(
            self.used.input_tokens.saturating_add(input),
            self.used.output_tokens.saturating_add(output),
        )
        .with_cost(self.used.cost.saturating_add(billed.cost.unwrap_or_default()));
        billed
    }

    /// What the call is charged for so far, its attempts together.
    pub(super) fn used(&self) -> Usage {
        let Amounts { requests, input_tokens, output_tokens, .. } = self.used;
        if requests == 0 { Usage::new() } else { Usage::counted(input_tokens, output_tokens) }
    }

    /// What the call has cost so far; `None` where no price is known.
    pub(super) fn cost(&self) -> Option<Cost> {
        self.priced.then_some(self.used.cost)
    }

    /// The tokens it comes to so far.
    pub(super) const fn tokens(&self) -> u64 {
        self.used.input_tokens.saturating_add(self.used.output_tokens)
    }

    /// Ends the bill: attempts that have not ended were abandoned. Returns the tokens it comes to.
    pub(super) fn settle(&mut self, now: Instant) -> u64 {
        for (_, price) in std::mem::take(&mut self.running) {
            let counted = self.counted();
            self.charge(Charge::Streamed, Some(&counted), price);
        }
        if let Some(reservation) = self.reservation.take() {
            reservation.settle_at(&self.used, now);
        }
        self.tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill() -> Bill {
        Bill::of(&ChatRequest::new("m").user("x".repeat(400)))
    }

    #[test]
    fn charges_of_several_attempts_add_up() {
        let mut bill = bill();
        let price = Some(Price::new(2, 10));
        for number in 1..=4 {
            bill.open(number, price);
        }
        bill.close(1, Charge::Refund, None);
        bill.close(2, Charge::Input, None);
        bill.close(3, Charge::Actual, Some(&Usage::counted(90, 7)));
        bill.receive(40);
        assert_eq!(bill.settle(crate::time::now()), 100 + 97 + 110);
        assert_eq!(bill.cost(), Some(Cost::from_nano_dollars(200 + 250 + 300)));
    }

    #[test]
    fn what_the_server_counted_stands_except_where_more_was_received() {
        let mut bill = bill();
        bill.open(1, None);
        bill.open(2, None);
        bill.receive(4_000);
        bill.close(1, Charge::Streamed, Some(&Usage::counted(80, 1)));
        assert_eq!((bill.used.input_tokens, bill.used.output_tokens), (80, 1_000));
        bill.close(2, Charge::Actual, Some(&Usage::counted(80, 900)));
        assert_eq!(bill.used.output_tokens, 1_900);
        assert_eq!(bill.cost(), None, "no price was known");
    }

    #[test]
    fn a_call_that_was_charged_for_nothing_has_made_no_request() {
        let mut bill = bill();
        bill.open(1, None);
        bill.close(1, Charge::Refund, None);
        bill.settle(crate::time::now());
        assert_eq!(bill.used, Amounts::NONE);
    }
}
