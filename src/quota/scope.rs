//! The state of one scope: a tenant's buckets, counters and budgets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use crate::quota::amounts::Amounts;
use crate::quota::budget::{Budget, BudgetState};
use crate::quota::denied::{Denied, Level, Reason};
use crate::quota::limits::{Dimension, Limits, OnLimit};
use crate::rate::{Bucket, Rate, Refused, Taken};
use crate::sync::{AtomicU32, Mutex, Ordering};

/// Limits in the form in which they are kept, shared by all scopes that have them.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) level: Level,
    rates: Box<[Planned]>,
    budgets: Box<[Budget]>,
    concurrency: Option<u32>,
}

#[derive(Debug)]
struct Planned {
    dimension: Dimension,
    rate: Rate,
    on_limit: OnLimit,
}

impl Plan {
    /// The plan of `limits`, which have been validated; a limit that cannot be kept is left out.
    pub(crate) fn new(level: Level, limits: &Limits) -> Self {
        let planned = limits.rates.iter().filter_map(|limit| {
            let (dimension, on_limit) = (limit.dimension, limit.on_limit);
            Some(Planned { dimension, rate: limit.rate().ok()?, on_limit })
        });
        Self {
            level,
            rates: planned.collect(),
            budgets: limits.budgets.clone().into(),
            concurrency: limits.concurrency,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.budgets.is_empty() && self.concurrency.is_none()
    }
}

/// The state of one scope. Its buckets lie in the same allocation: a tenant costs one.
#[derive(Debug)]
pub(crate) struct Scope<B: ?Sized = [Bucket]> {
    plan: Arc<Plan>,
    budgets: Option<Box<[Mutex<BudgetState>]>>,
    running: AtomicU32,
    buckets: B,
}

/// What a call holds of one scope.
#[derive(Debug)]
pub(crate) struct Held {
    scope: Arc<Scope>,
    taken: SmallVec<[(Taken, u64); 2]>,
    budgets: SmallVec<[(u32, u64); 1]>,
}

/// The two clocks a limit may go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since the limiter was built.
    pub(crate) nanos: u64,
    /// For budgets.
    pub(crate) wall: SystemTime,
}

impl Scope {
    pub(crate) fn new(plan: Arc<Plan>) -> Arc<Self> {
        match plan.rates.len() {
            0 => sized::<0>(plan),
            1 => sized::<1>(plan),
            2 => sized::<2>(plan),
            3 => sized::<3>(plan),
            4 => sized::<4>(plan),
            _ => sized::<8>(plan),
        }
    }

    /// Takes `amounts` from every limit of the scope, or from none.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        amounts: &Amounts,
        now: Moment,
    ) -> Result<Held, Denied> {
        self.enter()?;
        let mut held =
            Held { scope: Arc::clone(self), taken: SmallVec::new(), budgets: SmallVec::new() };
        match held.take_all(amounts, now) {
            Ok(()) => Ok(held),
            Err(denied) => {
                held.cancel(now);
                Err(denied)
            }
        }
    }

    fn enter(&self) -> Result<(), Denied> {
        // Relaxed: the count alone decides, and it publishes nothing.
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        match self.plan.concurrency {
            Some(limit) if before >= limit => {
                self.running.fetch_sub(1, Ordering::Relaxed);
                Err(Denied::new(self.plan.level.clone(), Reason::Concurrency { limit }))
            }
            _ => Ok(()),
        }
    }

    /// What stands longest against `amounts` right now, if anything does.
    pub(crate) fn objection(&self, amounts: &Amounts, now: Moment) -> Option<Denied> {
        let rates = self.plan.rates.iter().zip(&self.buckets).filter_map(|(planned, bucket)| {
            let amount = amounts.of(planned.dimension);
            match bucket.wait_for(&planned.rate, amount, now.nanos) {
                Ok(wait) if wait.is_zero() => None,
                Ok(wait) => Some(self.plan.denied(planned, amount, Refused::NotYet(wait))),
                Err(never) => Some(self.plan.denied(planned, amount, never)),
            }
        });
        let budgets = self.plan.budgets.iter().zip(self.budgets.iter().flatten());
        let budgets = budgets.filter_map(|(budget, state)| {
            let amount = amounts.of(budget.dimension);
            let left = state.lock().objection(budget, amount, now.wall)?;
            Some(self.plan.over_budget(budget, amount, left))
        });
        rates.chain(budgets).reduce(Denied::longer)
    }

    /// Whether it is as good as a new one.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let rates = self.plan.rates.iter().zip(&self.buckets);
        let budgets = self.budgets.iter().flatten().zip(&self.plan.budgets);
        self.running.load(Ordering::Relaxed) == 0
            && rates.into_iter().all(|(planned, bucket)| bucket.is_idle(&planned.rate, now.nanos))
            && budgets.into_iter().all(|(state, budget)| state.lock().used(budget, now.wall) == 0)
    }

    /// Calls that are running.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// What is left of each limit by rate.
    pub(crate) fn available(&self, now: Moment) -> impl Iterator<Item = (Dimension, u64)> {
        self.plan.rates.iter().zip(&self.buckets).map(move |(planned, bucket)| {
            (planned.dimension, bucket.available(&planned.rate, now.nanos))
        })
    }

    /// Takes over how full another scope's limits of the same dimension are: limits that change do
    /// not start anybody over.
    pub(crate) fn inherit(&self, before: &Self, now: Moment) {
        for (planned, bucket) in self.plan.rates.iter().zip(&self.buckets) {
            let same = |other: &&(&Planned, &Bucket)| other.0.dimension == planned.dimension;
            let others: Vec<_> = before.plan.rates.iter().zip(&before.buckets).collect();
            if let Some((other, full)) = others.iter().find(same) {
                let used =
                    other.rate.burst().saturating_sub(full.available(&other.rate, now.nanos));
                bucket.lower_to(
                    &planned.rate,
                    planned.rate.burst().saturating_sub(used),
                    now.nanos,
                );
            }
        }
    }
}

fn sized<const N: usize>(plan: Arc<Plan>) -> Arc<Scope> {
    let budgets = plan.budgets.iter().map(|_| Mutex::default()).collect();
    let budgets = (!plan.budgets.is_empty()).then_some(budgets);
    let buckets: [Bucket; N] = std::array::from_fn(|_| Bucket::new());
    Arc::new(Scope { plan, budgets, running: AtomicU32::new(0), buckets })
}

impl Held {
    fn take_all(&mut self, amounts: &Amounts, now: Moment) -> Result<(), Denied> {
        let scope = Arc::clone(&self.scope);
        let plan = &scope.plan;
        for (planned, bucket) in plan.rates.iter().zip(&scope.buckets) {
            let amount = amounts.of(planned.dimension);
            let taken = bucket.reserve(&planned.rate, amount, now.nanos);
            let taken = taken.map_err(|refused| plan.denied(planned, amount, refused))?;
            self.taken.push((taken, amount));
        }
        for (budget, state) in plan.budgets.iter().zip(scope.budgets.iter().flatten()) {
            let amount = amounts.of(budget.dimension);
            let period = state.lock().reserve(budget, amount, now.wall);
            let period = period.map_err(|left| plan.over_budget(budget, amount, left))?;
            self.budgets.push((period, amount));
        }
        Ok(())
    }

    /// Charges more while the call runs, whether it fits or not.
    pub(crate) fn extend(&mut self, amounts: &Amounts, now: Moment) {
        let scope = Arc::clone(&self.scope);
        let rates = scope.plan.rates.iter().zip(&scope.buckets).zip(&mut self.taken);
        for ((planned, bucket), (taken, reserved)) in rates {
            let more = amounts.of(planned.dimension);
            if more > 0 {
                let grown = reserved.saturating_add(more);
                *taken = bucket.grow(&planned.rate, *taken, more, now.nanos);
                *reserved = grown;
            }
        }
    }

    /// Corrects what was taken to what was used, and ends the call here.
    pub(crate) fn settle(self, actual: &Amounts, now: Moment) {
        let Self { scope, taken, budgets } = self;
        let rates = scope.plan.rates.iter().zip(&scope.buckets).zip(taken);
        for ((planned, bucket), (taken, _)) in rates {
            bucket.settle(&planned.rate, taken, actual.of(planned.dimension), now.nanos);
        }
        let states = scope.plan.budgets.iter().zip(scope.budgets.iter().flatten()).zip(budgets);
        for ((budget, state), (period, reserved)) in states {
            state.lock().settle(period, reserved, actual.of(budget.dimension));
        }
        scope.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives back everything, as if it had never been taken.
    pub(crate) fn cancel(self, now: Moment) {
        self.settle(&Amounts::NONE, now);
    }
}

impl Plan {
    fn denied(&self, planned: &Planned, amount: u64, refused: Refused) -> Denied {
        let dimension = planned.dimension;
        match refused {
            Refused::Never { burst } => {
                Denied::new(self.level.clone(), Reason::TooLarge { dimension, amount, most: burst })
            }
            Refused::NotYet(retry_after) => {
                Denied::new(self.level.clone(), Reason::Rate { dimension, retry_after })
                    .waiting(planned.on_limit)
            }
        }
    }

    fn over_budget(&self, budget: &Budget, amount: u64, left: Option<Duration>) -> Denied {
        let dimension = budget.dimension;
        let reason = match left {
            Some(retry_after) => Reason::Budget { dimension, retry_after },
            None => Reason::TooLarge { dimension, amount, most: budget.amount },
        };
        Denied::new(self.level.clone(), reason)
    }
}
