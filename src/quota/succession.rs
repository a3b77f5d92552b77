//! Limits that change while calls are running.
//!
//! A scope whose limits change is succeeded by another that starts as full and with the calls that
//! are running. Those still settle with the old one, which passes them on: nothing that was used is
//! lost, and what was reserved goes back as if nothing had changed.

use std::sync::Arc;

use crate::quota::amounts::Amounts;
use crate::quota::plan::Plan;
use crate::quota::scope::{Budgeted, Moment, Places, Scope};
use crate::rate::{Moved, Taken};
use crate::sync::Mutex;

/// What took the place of a scope.
#[derive(Debug)]
pub(crate) struct Successor {
    scope: Arc<Scope>,
    /// Locked until everything is carried over: who meets the change waits that long.
    moves: Mutex<Moves>,
}

/// Where the contents of each limit went, in the order of the old plan.
#[derive(Debug, Default)]
struct Moves {
    rates: Vec<Option<(usize, Moved)>>,
    budgets: Vec<Option<usize>>,
}

/// Puts a scope of `plan` in the place of `before`, as full as that is and with its calls. Only one
/// succession of a scope may be under way; the map's lock sees to that.
pub(crate) fn succeed(before: &Scope, plan: Arc<Plan>, now: Moment) -> Arc<Scope> {
    let scope = Arc::new(Scope::new(plan));
    let successor = Arc::new(Successor { scope: Arc::clone(&scope), moves: Mutex::default() });
    let mut moves = successor.moves.lock();
    scope.adopt(before.retire(Arc::clone(&successor)));
    // After the retirement: whoever takes something later than this learns of it.
    *moves = Moves::carry_over(before, &scope, now);
    scope
}

impl Successor {
    /// The scope, once it is as full as its predecessor was.
    pub(crate) fn scope(&self) -> Arc<Scope> {
        let _carried_over = self.moves.lock();
        Arc::clone(&self.scope)
    }

    pub(crate) fn into_scope(self) -> Arc<Scope> {
        self.scope
    }

    /// What was taken from the old limits, as places in the new. A limit that was not there before
    /// charges what was used.
    pub(crate) fn places(
        &self,
        old: &Plan,
        taken: &[Taken],
        budgeted: &[Budgeted],
        actual: &Amounts,
        may_refund: bool,
    ) -> (Arc<Scope>, Places) {
        let moves = self.moves.lock();
        let mut places = Places::default();
        places.taken.resize(self.scope.plan.rates.len(), Taken::default());
        for ((taken, planned), to) in taken.iter().zip(&old.rates).zip(&moves.rates) {
            let Some((to, moved)) = to else { continue };
            let used = actual.of(planned.dimension);
            let kept = if may_refund { *taken } else { taken.without_refund(&planned.rate, used) };
            places.taken[*to] = moved.place(&self.scope.plan.rates[*to].rate, kept);
        }
        places.budgeted.resize(self.scope.plan.budgets.len(), Budgeted::NONE);
        for ((held, budget), to) in budgeted.iter().zip(&old.budgets).zip(&moves.budgets) {
            let Some(to) = to else { continue };
            let used = if may_refund { u64::MAX } else { actual.of(budget.dimension) };
            places.budgeted[*to] = Budgeted { amount: held.amount.min(used), ..*held };
        }
        (Arc::clone(&self.scope), places)
    }
}

impl Moves {
    fn carry_over(before: &Scope, after: &Scope, now: Moment) -> Self {
        let (old, new) = (&before.plan, &after.plan);
        let rates = before.rates().map(|(planned, bucket)| {
            let to = new.rates.iter().position(|other| other.matches(planned))?;
            let (rate, into) = (&new.rates[to].rate, after.bucket(to));
            Some((to, into.take_over(rate, bucket, &planned.rate, now.nanos)))
        });
        let budgets = old.budgets.iter().zip(before.budgets()).map(|(budget, state)| {
            let handed_over = state.lock().hand_over();
            let same = |other: &crate::quota::budget::Budget| {
                (other.dimension, other.period) == (budget.dimension, budget.period)
            };
            let to = new.budgets.iter().position(same)?;
            *after.budgets()[to].lock() = handed_over;
            Some(to)
        });
        Self { rates: rates.collect(), budgets: budgets.collect() }
    }
}
