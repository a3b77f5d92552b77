//! What a call holds of all its scopes.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::limits::OnLimit;
use crate::quota::plan::Shared;
use crate::quota::scope::{Budgeted, Moment, Places, Refusal, Scope};
use crate::quota::turnstile::Freed;
use crate::rate::Taken;

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
    pub(crate) fn take(&mut self, amounts: &Amounts, now: Moment) -> Result<(), (Denied, Freed)> {
        for at in 0..self.scopes.len() {
            if let Err(denied) = self.take_one(at, amounts, now) {
                let freed = self.undo(at, now);
                return Err((longest(&self.scopes, denied, amounts, now), freed));
            }
        }
        Ok(())
    }

    fn take_one(&mut self, at: usize, amounts: &Amounts, now: Moment) -> Result<(), Denied> {
        loop {
            match self.scopes[at].reserve(amounts, now, &mut self.places) {
                Ok(()) => return Ok(()),
                Err(Refusal::Denied(denied)) => return Err(denied),
                Err(Refusal::Retired) => self.scopes[at] = self.scopes[at].successor().scope(),
            }
        }
    }

    /// Gives back what was taken from the first scopes, as if it had never been. The one that refused
    /// gave its own part back, which counts too.
    #[cold]
    fn undo(&mut self, until: usize, now: Moment) -> Freed {
        let mut freed = self.scopes[until].waited_for();
        self.each(until, |scope, places| {
            let Parts { taken, budgeted } = places;
            freed = freed.max(scope.settle(taken, budgeted, &Amounts::NONE, now.nanos));
        });
        freed
    }

    /// Charges more while the call runs, whether it fits or not.
    pub(crate) fn extend(&mut self, more: &Amounts, nanos: u64) {
        self.each(usize::MAX, |scope, Parts { taken, budgeted }| {
            scope.extend(taken, budgeted, more, nanos);
        });
    }

    /// Corrects what was taken to what was used, and ends the call.
    pub(crate) fn settle(&mut self, actual: &Amounts, nanos: u64) -> Freed {
        let mut freed = Freed::Nothing;
        self.each(usize::MAX, |scope, Parts { taken, budgeted }| {
            freed = freed.max(scope.settle(taken, budgeted, actual, nanos));
        });
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

    /// The first scopes, each with what was taken from it.
    fn each(&mut self, scopes: usize, mut visit: impl FnMut(&Scope, Parts<'_>)) {
        let (mut taken, mut budgeted) = (&mut self.places.taken[..], &mut self.places.budgeted[..]);
        for scope in self.scopes.iter().take(scopes) {
            let (taken_here, taken_after) = taken.split_at_mut(scope.plan.rates.len());
            let (budgeted_here, budgeted_after) = budgeted.split_at_mut(scope.plan.budgets.len());
            visit(scope, Parts { taken: taken_here, budgeted: budgeted_here });
            (taken, budgeted) = (taken_after, budgeted_after);
        }
    }
}

struct Parts<'a> {
    taken: &'a mut [Taken],
    budgeted: &'a mut [Budgeted],
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
