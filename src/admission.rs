//! Calls that were not let in: by a quota, or by the queue.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::options::TenantId;
use crate::report::Trail;

/// A quota stands against a call. Nothing was sent and nothing is charged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OverQuota {
    /// Whose limit it is: `"global"`, `"tenant"`, `"tenant and model"`, or the name of a key.
    pub level: Cow<'static, str>,
    /// What the limit counts, such as `"tokens"`.
    pub limit: &'static str,
    /// The tenant that was denied, when the call had one.
    pub tenant: Option<TenantId>,
    /// Exactly when the call fits, if nothing else happens meanwhile; `None` for never, and where
    /// only the end of a running call tells.
    pub retry_after: Option<Duration>,
    denial: Arc<dyn std::error::Error + Send + Sync>,
}

impl OverQuota {
    /// A limit on `limit` of `level` stands against the call, in the words of `denial`.
    #[must_use]
    pub fn new(
        level: impl Into<Cow<'static, str>>,
        limit: &'static str,
        denial: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            level: level.into(),
            limit,
            tenant: None,
            retry_after: None,
            denial: Arc::new(denial),
        }
    }

    /// With the tenant that was denied.
    #[must_use]
    pub fn of(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant = tenant;
        self
    }

    /// With the time after which the call fits.
    #[must_use]
    pub const fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// What denied the call: a [`Denied`](crate::quota::Denied) where a
    /// [`QuotaLimiter`](crate::quota::QuotaLimiter) did.
    #[must_use]
    pub fn denial(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.denial
    }
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.denial.fmt(f)
    }
}

/// A call that was not let wait, or that has waited for as long as it might.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotQueued {
    /// Why.
    pub why: QueueRefusal,
    /// The model that was asked for.
    pub model: Option<String>,
    /// What was tried before.
    pub trail: Trail,
}

impl NotQueued {
    /// A call for `model` was refused for `why`.
    #[must_use]
    pub const fn new(why: QueueRefusal, model: Option<String>, trail: Trail) -> Self {
        Self { why, model, trail }
    }
}

impl fmt::Display for NotQueued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            Some(model) => write!(f, "the call for model {model:?} {}", self.why),
            None => write!(f, "the call {}", self.why),
        }
    }
}

/// Why a queue did not let a call wait, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueRefusal {
    /// As many calls wait as may.
    Full {
        /// How many wait.
        depth: usize,
        /// Whether the tenant's own bound was met, not everybody's.
        of_tenant: bool,
    },
    /// It would wait for longer than it has; said at once, not after waiting.
    WouldMissDeadline {
        /// About how long it would wait.
        eta: Duration,
    },
    /// It has waited for as long as the queue lets calls wait.
    TimedOut {
        /// How long.
        waited: Duration,
    },
}

impl QueueRefusal {
    /// When the call may be made again, as far as that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::WouldMissDeadline { eta } => Some(eta),
            Self::Full { .. } | Self::TimedOut { .. } => None,
        }
    }

    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Full { .. } => "queue_full",
            Self::WouldMissDeadline { .. } => "would_miss_deadline",
            Self::TimedOut { .. } => "queue_timeout",
        }
    }
}

impl fmt::Display for QueueRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { depth, of_tenant: false } => {
                write!(f, "may not wait: {depth} calls wait already")
            }
            Self::Full { depth, of_tenant: true } => {
                write!(f, "may not wait: {depth} calls of its tenant wait already")
            }
            Self::WouldMissDeadline { eta } => {
                write!(f, "would wait for about {eta:?}, longer than it has")
            }
            Self::TimedOut { waited } => write!(f, "has waited for {waited:?} in vain"),
        }
    }
}
