//! A call that passed.

use std::sync::Arc;
use std::time::Duration;

use crate::queue::gate::Gate;
use crate::queue::inner::Inner;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::state::Account;
use crate::queue::waiter::Waiter;
use crate::time::{Instant, now};

/// A call's place while it runs, to be held until it ends. Dropping it frees what it takes; what the
/// gate gave is to be dropped before, so that the next waiter finds the gate open.
#[must_use = "a slot that is dropped lets the next call pass"]
pub struct Slot {
    inner: Arc<Inner>,
    place: Place,
    /// When the call asked to pass.
    since: Instant,
    /// `None` for a call that passed without waiting.
    account: Option<Account>,
    over: bool,
}

impl Slot {
    /// Of a call that has room, and is counted as running.
    pub(super) fn new(
        inner: &Arc<Inner>,
        place: Place,
        since: Instant,
        account: Option<Account>,
    ) -> Self {
        Self { inner: Arc::clone(inner), place, since, account, over: false }
    }

    /// Waits for another pass, at the place the call has: it goes before all calls that have not
    /// passed yet, and its tenant is not charged again. What was passed before is to be dropped
    /// first.
    ///
    /// # Errors
    /// [`Refused::TimedOut`], [`Refused::WouldMissDeadline`] where the gate itself names a later
    /// instant, [`Refused::Never`], and [`Refused::Closed`] once the queue has been drained. No bound
    /// refuses a call that has a place, and no other call takes it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the slot as it is, without a pass.
    ///
    /// # Panics
    /// As [`RequestQueue::acquire`](super::RequestQueue::acquire).
    pub async fn acquire_again<G: Gate>(
        &mut self,
        gate: &Arc<G>,
        demand: G::Demand,
    ) -> Result<G::Pass, Refused<G::Never>> {
        let now = now();
        if let Some(pass) = self.inner.pass_by_again(&**gate, &demand, now)? {
            return Ok(pass);
        }
        let waiter = Arc::new(Waiter::new(Arc::clone(gate), demand));
        let line = Inner::line_up_again(&self.inner, waiter, &self.place, self.since, now)?;
        let (again, pass) = line.wait().await?;
        if let Some(again) = again {
            self.inner.passed_again(&again);
        }
        Ok(pass)
    }

    /// The call has its first content so long after it was made: what an adaptive limit goes by.
    pub fn first_content(&self, ttft: Duration) {
        self.inner.first_content(ttft);
    }

    /// When the call must have passed.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.place.deadline
    }

    /// The call has used so many tokens, and will use no more: its tenant's account is corrected
    /// while the call still runs. To be said before what the gate gave is dropped, since whose turn it
    /// is then depends on it.
    pub fn used(&mut self, tokens: u64) {
        if let Some(account) = self.account.take() {
            self.inner.settle(&account, tokens);
        }
    }

    /// Ends the call with the tokens it really used: its tenant's account is corrected.
    pub fn settle(mut self, tokens: u64) {
        self.end(Some(tokens));
    }

    fn end(&mut self, tokens: Option<u64>) {
        self.over = true;
        self.inner.ended(self.account.take(), tokens);
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
