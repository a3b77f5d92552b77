//! What a call holds of all its scopes.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::limits::OnLimit;
use crate::quota::plan::Shared;
use crate::quota::scope::{Moment, Places, Refusal, Scope};
use crate::quota::turnstile::Freed;

/// The scopes of one call, in the order in which they are reserved from.
pub(crate) type CallScopes = SmallVec<[Arc<Scope>; 2]>;

/// What a call holds of all its scopes.
#[derive(Debug, Default)]
pub(crate) struct Held {
    scopes: CallScopes,
    places: Places,
}

impl Held {
    /// The scopes, to be filled in before anything is taken.
    pub(crate) const fn scopes(&mut self) -> &mut CallScopes {
        &mut self.scopes
    }

    /// Takes `amounts` from every scope, or from none; done once, at the start.
    ///
    /// What was taken before another scope refused is given back: whoever waits looks again.
    #[inline]
    pub(crate) fn take(&mut self, amounts: &Amounts, now: Moment) -> Result<(), (Denied, Freed)> {
        for at in 0..self.scopes.len() {
            if let Err(refusal) = self.scopes[at].reserve(amounts, now, &mut self.places) {
                self.take_elsewhere(at, refusal, amounts, now)?;
            }
        }
        Ok(())
    }

    /// Takes from the successors of a scope whose limits have changed.
    #[cold]
    fn take_elsewhere(
        &mut self,
        at: usize,
        mut refusal: Refusal,
        amounts: &Amounts,
        now: Moment,
    ) -> Result<(), (Denied, Freed)> {
        loop {
            if let Refusal::Denied(denied) = refusal {
                let freed = self.undo(at, now);
                return Err((longest(&self.scopes, denied, amounts, now), freed));
            }
            self.scopes[at] = self.scopes[at].successor().scope();
            match self.scopes[at].reserve(amounts, now, &mut self.places) {
                Ok(()) => return Ok(()),
                Err(again) => refusal = again,
            }
        }
    }

    /// Gives back what was taken from the first scopes, as if it had never been. The one that refused
    /// gave its own part back, which counts too.
    fn undo(&self, until: usize, now: Moment) -> Freed {
        let freed = self.scopes[until].waited_for();
        freed.max(self.settle_first(until, &Amounts::NONE, now.nanos))
    }

    /// Charges more while the call runs, whether it fits or not.
    pub(crate) fn extend(&mut self, more: &Amounts, nanos: u64) {
        let (mut taken, mut budgeted) = (&mut self.places.taken[..], &mut self.places.budgeted[..]);
        for scope in &self.scopes {
            let (taken_here, taken_after) = taken.split_at_mut(scope.plan.rates.len());
            let (budgeted_here, budgeted_after) = budgeted.split_at_mut(scope.plan.budgets.len());
            scope.extend(taken_here, budgeted_here, more, nanos);
            (taken, budgeted) = (taken_after, budgeted_after);
        }
    }

    /// Corrects what was taken to what was used, and ends the call.
    #[inline]
    pub(crate) fn settle(&self, actual: &Amounts, nanos: u64) -> Freed {
        self.settle_first(self.scopes.len(), actual, nanos)
    }

    #[inline]
    fn settle_first(&self, scopes: usize, actual: &Amounts, nanos: u64) -> Freed {
        let (mut taken, mut budgeted) = (&self.places.taken[..], &self.places.budgeted[..]);
        let mut freed = Freed::Nothing;
        for scope in &self.scopes[..scopes] {
            let (taken_here, taken_after) = taken.split_at(scope.plan.rates.len());
            let (budgeted_here, budgeted_after) = budgeted.split_at(scope.plan.budgets.len());
            freed = freed.max(scope.settle(taken_here, budgeted_here, actual, nanos));
            (taken, budgeted) = (taken_after, budgeted_after);
        }
        freed
    }

    /// Forgets what was taken.
    pub(crate) fn clear(&mut self) {
        self.scopes.clear();
    }

    /// What the scopes share; `None` where nothing is held.
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.scopes.first().map(|scope| &scope.plan.shared)
    }
}

/// What stands against `amounts` longest, if anything does. Waiting is wanted only where every limit
/// that objects wants it: one that rejects is not made to wait by another.
pub(crate) fn objection(scopes: &[Arc<Scope>], amounts: &Amounts, now: Moment) -> Option<Denied> {
    let mut rejects = false;
    let all = scopes.iter().flat_map(|scope| scope.objections(amounts, now));
    let longest = all
        .inspect(|denied| rejects |= denied.on_limit == OnLimit::Reject)
        .reduce(Denied::longer)?;
    Some(if rejects { longest.waiting(OnLimit::Reject) } else { longest })
}

/// Of several limits that stand against a call, the one that does so longest.
#[cold]
fn longest(scopes: &[Arc<Scope>], denied: Denied, amounts: &Amounts, now: Moment) -> Denied {
    match objection(scopes, amounts, now) {
        Some(other) => {
            let rejects = [&denied, &other].iter().any(|one| one.on_limit == OnLimit::Reject);
            let longest = denied.longer(other);
            if rejects { longest.waiting(OnLimit::Reject) } else { longest }
        }
        None => denied,
    }
}
