//! Who waits, for what, and until when.

use std::sync::Arc;

use crate::options::{Priority, TenantId};
use crate::time::Instant;

/// A call's place in the queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Place {
    /// Who waits: the unit of fairness. `None` is the anonymous tenant.
    pub tenant: Option<TenantId>,
    /// How urgent it is.
    pub priority: Priority,
    /// What it waits for, such as the model: lanes do not hold one another up.
    pub lane: Option<Arc<str>>,
    /// What it is expected to use, in tokens: the measure of fairness. Zero counts as one.
    pub cost: u64,
    /// When it must have passed.
    pub deadline: Instant,
}

impl Place {
    /// A place until `deadline`.
    #[must_use]
    pub const fn new(deadline: Instant) -> Self {
        Self { tenant: None, priority: Priority::Normal, lane: None, cost: 1, deadline }
    }

    /// Of a tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<TenantId>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Of a class.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// In a lane.
    #[must_use]
    pub fn lane(mut self, lane: impl Into<Arc<str>>) -> Self {
        self.lane = Some(lane.into());
        self
    }

    /// For so many tokens.
    #[must_use]
    pub const fn cost(mut self, tokens: u64) -> Self {
        self.cost = tokens;
        self
    }
}
