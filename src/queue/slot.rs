//! A call that passed.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::gate::Gate;
use crate::queue::lane::Waiting;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::request_queue::Inner;
use crate::queue::state::LaneKey;
use crate::queue::waiter::Waiter;
use crate::time::{Instant, now};

/// A call's place while it runs, to be held until it ends. Dropping it frees what it takes; what the
/// gate gave is to be dropped before, so that the next waiter finds the gate open.
#[must_use = "a slot that is dropped lets the next call pass"]
pub struct Slot {
    inner: Arc<Inner>,
    place: Place,
    /// `None` for a call that passed without waiting.
    account: Option<Account>,
    over: bool,
}

/// What a call that waited is booked as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) lane: LaneKey,
    pub(crate) waiting: Waiting,
}

impl Slot {
    pub(super) fn unqueued(inner: &Arc<Inner>, place: Place) -> Self {
        Self::queued(inner, place, None)
    }

    pub(super) fn queued(inner: &Arc<Inner>, place: Place, account: Option<Account>) -> Self {
        inner.began();
        Self { inner: Arc::clone(inner), place, account, over: false }
    }

    /// Waits for another pass, at the place the call has: it goes before its tenant's other calls,
    /// and its tenant is not charged again. What was passed before is to be dropped first.
    ///
    /// # Errors
    /// [`Refused::TimedOut`] and [`Refused::Never`]; no bound refuses a call that has a place.
    ///
    /// # Cancellation
    /// Dropping the future leaves the slot as it is, without a pass.
    pub async fn acquire_again<G: Gate>(
        &mut self,
        gate: &Arc<G>,
        demand: G::Demand,
    ) -> Result<G::Pass, Refused<G::Never>> {
        let waiter = Arc::new(Waiter::new(Arc::clone(gate), demand));
        let (place, account) = (self.place.clone(), self.account.take());
        let line = Inner::line_up_again(&self.inner, waiter, place, account, now());
        let (mut slot, pass) = line.await?;
        self.account = slot.account.take();
        Ok(pass)
    }

    /// The call has its first content so long after it was made: what an adaptive limit goes by.
    pub fn first_content(&self, ttft: Duration) {
        if let Some(limit) = &self.inner.adaptive {
            limit.observe(ttft, self.inner.running(), now());
        }
    }

    /// When the call must have passed.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.place.deadline
    }

    /// Ends the call with the tokens it really used: its tenant's account is corrected.
    pub fn settle(mut self, tokens: u64) {
        self.end(Some(tokens));
    }

    fn end(&mut self, tokens: Option<u64>) {
        self.over = true;
        if let Some(Account { lane, waiting }) = self.account.take() {
            let tokens = tokens.unwrap_or(waiting.cost);
            self.inner.at_desk(|desk| desk.state.settle(&lane, &waiting, tokens));
        }
        self.inner.ended();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.over {
            self.end(None);
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("waited", &self.account.is_some()).finish_non_exhaustive()
    }
}
