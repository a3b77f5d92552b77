//! Limits in the form in which they are kept.

use std::sync::Arc;
use std::time::Duration;

use crate::quota::budget::Budget;
use crate::quota::denied::{Denied, Level, Reason};
use crate::quota::limits::{Dimension, Limits, OnLimit};
use crate::quota::turnstile::Turnstiles;
use crate::rate::{Rate, Refused};
use crate::time::{Instant, now};

/// Limits in the form in which they are kept, shared by all scopes that have them.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) level: Level,
    pub(crate) rates: Box<[Planned]>,
    pub(crate) budgets: Box<[Budget]>,
    pub(crate) concurrency: Option<u32>,
    on_concurrency: OnLimit,
    /// As they were stated.
    pub(crate) limits: Arc<Limits>,
    /// Whether somebody may wait for one of the limits.
    pub(crate) waits: bool,
    /// Here, so that a reservation reaches it without holding the limiter too.
    pub(crate) shared: Arc<Shared>,
}

/// What all scopes of a limiter share.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    pub(crate) turnstiles: Turnstiles,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { epoch: now(), turnstiles: Turnstiles::default() }
    }

    /// Since the limiter was built.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// A limit by rate.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) dimension: Dimension,
    window: Duration,
    pub(crate) rate: Rate,
    on_limit: OnLimit,
}

impl Planned {
    /// Whether both limit the same thing.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        (self.dimension, self.window) == (other.dimension, other.window)
    }
}

impl Plan {
    /// The plan of `limits`, which have been validated; a limit that cannot be kept is left out.
    pub(crate) fn new(level: Level, limits: &Limits, shared: &Arc<Shared>) -> Self {
        let planned = limits.rates.iter().filter_map(|limit| {
            let (dimension, window, on_limit) = (limit.dimension, limit.window, limit.on_limit);
            Some(Planned { dimension, window, rate: limit.rate().ok()?, on_limit })
        });
        Self {
            level,
            rates: planned.collect(),
            budgets: limits.budgets.clone().into(),
            concurrency: limits.concurrency,
            on_concurrency: limits.on_concurrency,
            limits: Arc::new(limits.clone()),
            waits: limits.may_wait(),
            shared: Arc::clone(shared),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.budgets.is_empty() && self.concurrency.is_none()
    }

    pub(crate) fn denied(&self, planned: &Planned, amount: u64, refused: Refused) -> Denied {
        let dimension = planned.dimension;
        match refused {
            Refused::Never { burst } => self.too_large(dimension, amount, burst),
            Refused::NotYet(retry_after) => {
                Denied::new(self.level.clone(), Reason::Rate { dimension, retry_after })
                    .waiting(planned.on_limit)
            }
        }
    }

    pub(crate) fn over_budget(
        &self,
        budget: &Budget,
        amount: u64,
        left: Option<Duration>,
    ) -> Denied {
        let dimension = budget.dimension;
        match left {
            Some(retry_after) => {
                Denied::new(self.level.clone(), Reason::Budget { dimension, retry_after })
            }
            None => self.too_large(dimension, amount, budget.amount),
        }
    }

    pub(crate) fn busy(&self, limit: u32) -> Denied {
        Denied::new(self.level.clone(), Reason::Concurrency { limit }).waiting(self.on_concurrency)
    }

    fn too_large(&self, dimension: Dimension, amount: u64, most: u64) -> Denied {
        Denied::new(self.level.clone(), Reason::TooLarge { dimension, amount, most })
    }
}
