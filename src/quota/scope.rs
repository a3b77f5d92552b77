//! The state of one scope: a tenant's buckets, counters and budgets.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use crate::quota::amounts::Amounts;
use crate::quota::budget::{Budget, BudgetState};
use crate::quota::denied::{Denied, Level};
use crate::quota::limits::Dimension;
use crate::quota::plan::{Plan, Planned};
use crate::quota::succession::Successor;
use crate::quota::turnstile::Freed;
use crate::rate::{Bucket, Refused, Taken};
use crate::sync::{AtomicU32, Mutex, Ordering};

/// The state of one scope. Up to two limits by rate lie in it: such a tenant costs one allocation.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) plan: Arc<Plan>,
    /// Calls that are running, and [`RETIRED`].
    running: AtomicU32,
    buckets: [Bucket; 2],
    /// Where its contents went when its limits changed.
    successor: ArcSwapOption<Successor>,
    /// Behind a pointer: few have more, and all pay for its size.
    more: Option<Box<More>>,
}

/// What only some scopes have.
#[derive(Debug)]
struct More {
    buckets: Box<[Bucket]>,
    budgets: Box<[Mutex<BudgetState>]>,
}

/// Set in `running` once there is a successor.
const RETIRED: u32 = 1 << 31;

/// What a call took of the limits of its scopes, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) taken: SmallVec<[Taken; 4]>,
    pub(crate) budgeted: SmallVec<[Budgeted; 1]>,
}

/// What a call took of a budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgeted {
    pub(crate) period: u32,
    pub(crate) amount: u64,
}

impl Budgeted {
    pub(crate) const NONE: Self = Self { period: 0, amount: 0 };
}

/// The two clocks a limit may go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since the limiter was built.
    pub(crate) nanos: u64,
    /// For budgets.
    pub(crate) wall: SystemTime,
}

/// Why a scope was not reserved from.
#[derive(Debug)]
pub(crate) enum Refusal {
    Denied(Denied),
    /// Its limits have changed: its successor is to be asked.
    Retired,
}

impl Scope {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self {
            more: More::of(&plan).map(Box::new),
            successor: ArcSwapOption::empty(),
            plan,
            running: AtomicU32::new(0),
            buckets: std::array::from_fn(|_| Bucket::new()),
        }
    }

    /// Takes `amounts` from every limit, or from none.
    pub(crate) fn reserve(
        &self,
        amounts: &Amounts,
        now: Moment,
        places: &mut Places,
    ) -> Result<(), Refusal> {
        self.enter()?;
        let before = (places.taken.len(), places.budgeted.len());
        let taken = self.take_all(amounts, now, places);
        // Asked once more: what was taken after the limits changed was not carried over.
        if taken.is_ok() && !self.is_retired() {
            return Ok(());
        }
        let (taken_here, budgeted_here) = places.split_off(before);
        let _freed = self.settle(&taken_here, &budgeted_here, &Amounts::NONE, now.nanos);
        taken.and(Err(Refusal::Retired))
    }

    fn enter(&self) -> Result<(), Refusal> {
        let full = |running: u32| running & RETIRED != 0 || self.is_full(running);
        let enter = |running: u32| (!full(running)).then_some(running + 1);
        // Relaxed: the count alone decides, and it publishes nothing.
        let entered = self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter);
        match (entered, self.plan.concurrency) {
            (Ok(_), _) => Ok(()),
            (Err(running), Some(limit)) if running & RETIRED == 0 => {
                Err(Refusal::Denied(self.plan.busy(limit)))
            }
            (Err(_), _) => Err(Refusal::Retired),
        }
    }

    fn is_full(&self, running: u32) -> bool {
        self.plan.concurrency.is_some_and(|limit| running >= limit)
    }

    fn take_all(&self, amounts: &Amounts, now: Moment, places: &mut Places) -> Result<(), Refusal> {
        let plan = &self.plan;
        for (planned, bucket) in self.rates() {
            let amount = amounts.of(planned.dimension);
            let taken = bucket.reserve(&planned.rate, amount, now.nanos);
            let denied = |refused| Refusal::Denied(plan.denied(planned, amount, refused));
            places.taken.push(taken.map_err(denied)?);
        }
        for (budget, state) in plan.budgets.iter().zip(self.budgets()) {
            let amount = amounts.of(budget.dimension);
            let period = {
                let mut state = state.lock();
                if state.is_moved() {
                    return Err(Refusal::Retired);
                }
                state.reserve(budget, amount, now.wall)
            };
            let denied = |left| Refusal::Denied(plan.over_budget(budget, amount, left));
            let period = period.map_err(denied)?;
            places.budgeted.push(Budgeted { period, amount });
        }
        Ok(())
    }

    /// Charges more while the call runs, whether it fits or not. What is charged to limits that have
    /// changed is left to the call's end.
    pub(crate) fn extend(
        &self,
        taken: &mut [Taken],
        budgeted: &mut [Budgeted],
        more: &Amounts,
        nanos: u64,
    ) {
        let before: SmallVec<[Taken; 4]> = SmallVec::from_slice(taken);
        for ((planned, bucket), place) in self.rates().zip(&mut *taken) {
            let more = more.of(planned.dimension);
            if more > 0 {
                *place = bucket.grow(&planned.rate, *place, more, nanos);
            }
        }
        if self.is_retired() {
            taken.copy_from_slice(&before);
            return;
        }
        for ((budget, state), held) in self.plan.budgets.iter().zip(self.budgets()).zip(budgeted) {
            let grown = held.amount.saturating_add(more.of(budget.dimension));
            let mut state = state.lock();
            if !state.is_moved() {
                state.settle(held.period, held.amount, grown);
                held.amount = grown;
            }
        }
    }

    /// Corrects what was taken to what was used, and ends the call here.
    pub(crate) fn settle(
        &self,
        taken: &[Taken],
        budgeted: &[Budgeted],
        actual: &Amounts,
        nanos: u64,
    ) -> Freed {
        let mut freed = match self.settle_here(taken, budgeted, actual, nanos) {
            Settled::Here(freed) => return freed,
            Settled::Moved(moved) => moved,
        };
        // A loop: limits may change very often while a long call runs.
        loop {
            let (scope, places) = freed;
            match scope.settle_here(&places.taken, &places.budgeted, actual, nanos) {
                Settled::Here(here) => return here,
                Settled::Moved(moved) => freed = moved,
            }
        }
    }

    fn settle_here(
        &self,
        taken: &[Taken],
        budgeted: &[Budgeted],
        actual: &Amounts,
        nanos: u64,
    ) -> Settled {
        let late = self.is_retired();
        let refunded = !late && self.correct(taken, budgeted, actual, nanos);
        // Acquire pairs with the Release in `retire`: the successor is there. Release pairs with the
        // Acquire there and in `is_idle`: a call that has left has charged what it used.
        if self.running.fetch_sub(1, Ordering::AcqRel) & RETIRED == 0 {
            return Settled::Here(self.freed(refunded));
        }
        let successor = self.successor();
        // What was corrected here just when the limits changed may be charged twice, but not lost.
        Settled::Moved(successor.places(&self.plan, taken, budgeted, actual, late))
    }

    fn correct(
        &self,
        taken: &[Taken],
        budgeted: &[Budgeted],
        actual: &Amounts,
        nanos: u64,
    ) -> bool {
        let mut refunded = false;
        for ((planned, bucket), taken) in self.rates().zip(taken) {
            refunded |= bucket.settle(&planned.rate, *taken, actual.of(planned.dimension), nanos);
        }
        for ((budget, state), held) in self.plan.budgets.iter().zip(self.budgets()).zip(budgeted) {
            state.lock().settle(held.period, held.amount, actual.of(budget.dimension));
        }
        refunded
    }

    /// Who may want to look again when a call has ended here.
    fn freed(&self, refunded: bool) -> Freed {
        let something = refunded || self.plan.concurrency.is_some();
        if something { self.waited_for() } else { Freed::Nothing }
    }

    /// Who may be waiting for something here.
    pub(crate) fn waited_for(&self) -> Freed {
        match self.plan.level {
            _ if !self.plan.waits => Freed::Nothing,
            Level::Tenant | Level::TenantModel => Freed::Own,
            Level::Global | Level::Key(_) => Freed::Shared,
        }
    }

    /// What stands against `amounts` right now.
    pub(crate) fn objections(
        &self,
        amounts: &Amounts,
        now: Moment,
    ) -> impl Iterator<Item = Denied> {
        let plan = &self.plan;
        let rates = self.rates().filter_map(move |(planned, bucket)| {
            let amount = amounts.of(planned.dimension);
            let refused = match bucket.wait_for(&planned.rate, amount, now.nanos) {
                Ok(wait) if wait.is_zero() => return None,
                Ok(wait) => Refused::NotYet(wait),
                Err(never) => never,
            };
            Some(plan.denied(planned, amount, refused))
        });
        let budgets = plan.budgets.iter().zip(self.budgets()).filter_map(move |(budget, state)| {
            let amount = amounts.of(budget.dimension);
            let left = state.lock().objection(budget, amount, now.wall)?;
            Some(plan.over_budget(budget, amount, left))
        });
        let busy = plan.concurrency.filter(|limit| self.running() >= *limit);
        busy.map(|limit| plan.busy(limit)).into_iter().chain(rates).chain(budgets)
    }

    /// Whether it is as good as a new one. Nobody else may hold it.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let mut budgets = self.budgets().iter().zip(&self.plan.budgets);
        // Acquire pairs with the Release in `settle_here`: what the calls used that have left is seen.
        self.running.load(Ordering::Acquire) == 0
            && self.rates().all(|(planned, bucket)| bucket.is_idle(&planned.rate, now.nanos))
            && budgets.all(|(state, budget)| state.lock().used(budget, now.wall) == 0)
    }

    /// Calls that are running.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed) & !RETIRED
    }

    /// What is left of each limit by rate.
    pub(crate) fn available(&self, now: Moment) -> impl Iterator<Item = (Dimension, u64)> {
        self.rates().map(move |(planned, bucket)| {
            (planned.dimension, bucket.available(&planned.rate, now.nanos))
        })
    }

    /// What is used of each budget in its present period.
    pub(crate) fn budgets_used(&self, now: Moment) -> impl Iterator<Item = (Budget, u64)> {
        let budgets = self.plan.budgets.iter().zip(self.budgets());
        budgets.map(move |(budget, state)| (*budget, state.lock().used(budget, now.wall)))
    }

    /// Whether its limits have changed, so that its successor counts.
    pub(crate) fn is_retired(&self) -> bool {
        // Acquire pairs with the Release in `retire`: the successor is there.
        self.running.load(Ordering::Acquire) & RETIRED != 0
    }

    pub(crate) fn successor(&self) -> Arc<Successor> {
        self.successor.load_full().expect("there is a successor before a scope is retired")
    }

    /// Hands over to `successor`; from now on nobody enters here. How many calls are running.
    pub(crate) fn retire(&self, successor: Arc<Successor>) -> u32 {
        self.successor.store(Some(successor));
        // Release pairs with the Acquire in `is_retired` and `settle_here`, Acquire with its Release.
        self.running.fetch_or(RETIRED, Ordering::AcqRel)
    }

    /// Starts with calls that began with its predecessor.
    pub(crate) fn adopt(&self, running: u32) {
        // Relaxed: the successor's lock publishes it.
        self.running.fetch_add(running, Ordering::Relaxed);
    }

    /// Each limit by rate, with its bucket.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (&Planned, &Bucket)> {
        self.plan.rates.iter().enumerate().map(|(at, planned)| (planned, self.bucket(at)))
    }

    /// Of the limit by rate at that place of the plan.
    #[inline]
    pub(crate) fn bucket(&self, at: usize) -> &Bucket {
        match (self.buckets.get(at), &self.more) {
            (Some(bucket), _) => bucket,
            (None, Some(more)) => &more.buckets[at - self.buckets.len()],
            (None, None) => unreachable!("a scope has a bucket for every limit of its plan"),
        }
    }

    pub(crate) fn budgets(&self) -> &[Mutex<BudgetState>] {
        self.more.as_ref().map_or(&[], |more| &more.budgets)
    }
}

impl More {
    fn of(plan: &Plan) -> Option<Self> {
        let buckets = plan.rates.iter().skip(2).map(|_| Bucket::new()).collect();
        let budgets = plan.budgets.iter().map(|_| Mutex::default()).collect();
        let needed = plan.rates.len() > 2 || !plan.budgets.is_empty();
        needed.then_some(Self { buckets, budgets })
    }
}

/// Where a call was settled.
enum Settled {
    Here(Freed),
    /// Not all here: the limits have changed.
    Moved((Arc<Scope>, Places)),
}

impl Places {
    fn split_off(
        &mut self,
        (taken, budgeted): (usize, usize),
    ) -> (SmallVec<[Taken; 4]>, SmallVec<[Budgeted; 1]>) {
        (self.taken.drain(taken..).collect(), self.budgeted.drain(budgeted..).collect())
    }
}

impl Drop for Scope {
    /// One after the other: limits that changed very often leave a long chain to whoever held the
    /// first of them, and dropping it by recursion would need as much stack.
    fn drop(&mut self) {
        let mut next = self.successor.swap(None).and_then(Arc::into_inner);
        while let Some(successor) = next {
            let scope = Arc::into_inner(successor.into_scope());
            next = scope.and_then(|scope| scope.successor.swap(None)).and_then(Arc::into_inner);
        }
    }
}
