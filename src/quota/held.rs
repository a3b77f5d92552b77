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
#[derive(Debug)]
pub(crate) struct Held {
    scopes: CallScopes,
    /// One for each scope. The first are there from the start: to move them here one by one would
    /// cost as much as to fill them in.
    places: SmallVec<[Places; 2]>,
}

impl Default for Held {
    #[inline]
    fn default() -> Self {
        let places = SmallVec::from_buf([Places::default(), Places::default()]);
        Self { scopes: CallScopes::new(), places }
    }
}

impl Held {
    /// One scope more, before anything is taken.
    #[inline]
    pub(crate) fn add(&mut self, scope: Arc<Scope>) {
        self.scopes.push(scope);
        if self.scopes.len() > self.places.len() {
            self.places.push(Places::default());
        }
    }

    /// Takes `amounts` from every scope, or from none; done once, at the start.
    ///
    /// What was taken before another scope refused is given back: whoever waits looks again.
    #[inline]
    pub(crate) fn take(&mut self, amounts: &Amounts, now: Moment) -> Result<(), (Denied, Freed)> {
        for at in 0..self.scopes.len() {
            let (scope, places) = (&mut self.scopes[at], &mut self.places[at]);
            if let Err(refusal) = scope.reserve(amounts, now, places)
                && let Err(denied) = take_elsewhere(scope, places, refusal, amounts, now)
            {
                return Err(self.undo(at, denied, amounts, now));
            }
        }
        Ok(())
    }

    /// Gives back what was taken from the first scopes, as if it had never been. The one that refused
    /// gave its own part back, which counts too.
    #[cold]
    fn undo(
        &self,
        until: usize,
        denied: Denied,
        amounts: &Amounts,
        now: Moment,
    ) -> (Denied, Freed) {
        let freed = self.scopes[until].waited_for();
        let freed = freed.max(self.settle_first(until, &Amounts::NONE, now.nanos));
        (self.longest(denied, amounts, now), freed)
    }

    /// Charges more while the call runs, whether it fits or not.
    pub(crate) fn extend(&mut self, more: &Amounts, nanos: u64) {
        for (scope, places) in self.scopes.iter().zip(&mut self.places) {
            scope.extend(places, more, nanos);
        }
    }

    /// Corrects what was taken to what was used, and ends the call.
    #[inline]
    pub(crate) fn settle(&self, actual: &Amounts, nanos: u64) -> Freed {
        self.settle_first(self.scopes.len(), actual, nanos)
    }

    #[inline]
    fn settle_first(&self, scopes: usize, actual: &Amounts, nanos: u64) -> Freed {
        let held = self.scopes[..scopes].iter().zip(&self.places);
        let freed = held.map(|(scope, places)| scope.settle(places, actual, nanos));
        freed.fold(Freed::Nothing, Freed::max)
    }

    /// Forgets what was taken.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.scopes.clear();
    }

    /// What the scopes share; `None` where nothing is held.
    #[inline]
    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.scopes.first().map(|scope| &scope.plan.shared)
    }

    /// Of several limits that stand against a call, the one that does so longest.
    fn longest(&self, denied: Denied, amounts: &Amounts, now: Moment) -> Denied {
        match objection(self.scopes.iter(), amounts, now) {
            Some(other) => {
                let rejects = [&denied, &other].iter().any(|one| one.on_limit == OnLimit::Reject);
                let longest = denied.longer(other);
                if rejects { longest.waiting(OnLimit::Reject) } else { longest }
            }
            None => denied,
        }
    }
}

/// Takes from the successors of a scope whose limits have changed.
#[cold]
fn take_elsewhere(
    scope: &mut Arc<Scope>,
    places: &mut Places,
    mut refusal: Refusal,
    amounts: &Amounts,
    now: Moment,
) -> Result<(), Denied> {
    loop {
        if let Refusal::Denied(denied) = refusal {
            return Err(denied);
        }
        *scope = scope.successor().scope();
        match scope.reserve(amounts, now, places) {
            Ok(()) => return Ok(()),
            Err(again) => refusal = again,
        }
    }
}

/// What stands against `amounts` longest, if anything does. Waiting is wanted only where every limit
/// that objects wants it: one that rejects is not made to wait by another.
pub(crate) fn objection<'a>(
    scopes: impl Iterator<Item = &'a Arc<Scope>>,
    amounts: &Amounts,
    now: Moment,
) -> Option<Denied> {
    let mut rejects = false;
    let all = scopes.flat_map(|scope| scope.objections(amounts, now));
    let longest = all
        .inspect(|denied| rejects |= denied.on_limit == OnLimit::Reject)
        .reduce(Denied::longer)?;
    Some(if rejects { longest.waiting(OnLimit::Reject) } else { longest })
}
