//! Why a call may not go on, and when it may.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::OverQuota;
use crate::options::TenantId;
use crate::quota::limits::{Dimension, OnLimit};

/// How many letters of a tenant's name a refusal repeats, those of escapes counted.
const LONGEST_NAME: usize = 64;

/// Which kind of scope a limit belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// The whole service.
    Global,
    /// One tenant.
    Tenant,
    /// One tenant on one model.
    TenantModel,
    /// A key of the application's own, by the name it was configured under.
    Key(Arc<str>),
}

impl Level {
    /// Its name: for a key, the one it was configured under.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Global => "global",
            Self::Tenant => "tenant",
            Self::TenantModel => "tenant and model",
            Self::Key(name) => name,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Which limit stands against a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Never: the call is larger than the limit allows at once.
    TooLarge {
        /// What the limit counts.
        dimension: Dimension,
        /// How much the call needs.
        amount: u64,
        /// The most that is possible.
        most: u64,
    },
    /// Not yet: the limit by rate is used up.
    Rate {
        /// What the limit counts.
        dimension: Dimension,
        /// Exactly when the call fits, if nothing else happens meanwhile.
        retry_after: Duration,
    },
    /// Not yet: the budget of the period is used up.
    Budget {
        /// What the budget counts.
        dimension: Dimension,
        /// Until the period ends.
        retry_after: Duration,
    },
    /// Not yet: as many calls as may are running. It ends when one of them does.
    Concurrency {
        /// Calls that may run at once.
        limit: u32,
    },
    /// Not yet: more scopes are in use than the limiter keeps.
    Saturated {
        /// How many it keeps.
        most: usize,
    },
    /// Not in time: others of the tenant were waiting first, and still are.
    InLine,
    /// Not now: the store that keeps the limit does not answer, and the limit is one that is
    /// [closed](crate::quota::store::OnStoreFailure::Closed) then, or of which the share of one
    /// instance is smaller than the call.
    StoreAway {
        /// What the limit counts: a dimension's label, or `"concurrency"`.
        limit: &'static str,
        /// When the store is asked again.
        retry_after: Duration,
    },
    /// The limit is kept in a store that instances share, which only
    /// [`QuotaLimiter::reserve`](crate::quota::QuotaLimiter::reserve) asks.
    Unasked,
}

impl Reason {
    /// What the limit counts: a dimension's label, `"concurrency"`, `"scopes"`, `"line"` for a
    /// place behind others, or `"store"` where a store was to be asked and was not.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { dimension, .. }
            | Self::Rate { dimension, .. }
            | Self::Budget { dimension, .. } => dimension.label(),
            Self::Concurrency { .. } => "concurrency",
            Self::Saturated { .. } => "scopes",
            Self::InLine => "line",
            Self::StoreAway { limit, .. } => limit,
            Self::Unasked => "store",
        }
    }
}

/// A call that does not fit its quota. Its words name the limit and the tenant, as errors do; its
/// `Debug` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denied {
    /// Whose limit it is.
    pub level: Level,
    /// Which limit.
    pub reason: Reason,
    /// The tenant that was denied, when the call had one.
    pub tenant: Option<TenantId>,
    /// What the limit wants to happen.
    pub(crate) on_limit: OnLimit,
}

impl Denied {
    /// A refusal by a limit that rejects calls; for a store of one's own.
    #[must_use]
    pub const fn new(level: Level, reason: Reason) -> Self {
        Self { level, reason, tenant: None, on_limit: OnLimit::Reject }
    }

    /// With the tenant that was denied.
    pub(crate) fn of(mut self, tenant: Option<&TenantId>) -> Self {
        self.tenant = tenant.cloned();
        self
    }

    /// The one of two that stands longer: never over not yet, later over sooner; the first where they
    /// are even.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let rank = |denied: &Self| (denied.is_never(), denied.retry_after());
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// With what the limit wants to happen.
    #[must_use]
    pub const fn waiting(mut self, on_limit: OnLimit) -> Self {
        self.on_limit = on_limit;
        self
    }

    /// When the call may be made again: `None` for never, and where only the end of a running call
    /// tells.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.reason {
            Reason::Rate { retry_after, .. }
            | Reason::Budget { retry_after, .. }
            | Reason::StoreAway { retry_after, .. } => Some(retry_after),
            Reason::TooLarge { .. }
            | Reason::Concurrency { .. }
            | Reason::Saturated { .. }
            | Reason::InLine
            | Reason::Unasked => None,
        }
    }

    /// Whether waiting can never help.
    #[must_use]
    pub const fn is_never(&self) -> bool {
        matches!(self.reason, Reason::TooLarge { .. })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} limit", self.level)?;
        if let Some(tenant) = &self.tenant {
            f.write_str(" of ")?;
            write_name(tenant.as_str(), f)?;
        }
        match self.reason {
            Reason::TooLarge { dimension, amount, most } => {
                write!(f, " allows {most} {} at once, not {amount}", dimension.label())
            }
            Reason::Rate { dimension, retry_after } => {
                write!(f, " on {} is reached, retry after {retry_after:?}", dimension.label())
            }
            Reason::Budget { dimension, retry_after } => {
                write!(f, "'s {} budget is used up for {retry_after:?}", dimension.label())
            }
            Reason::Concurrency { limit } => write!(f, " of {limit} running calls is reached"),
            Reason::InLine => f.write_str(" is waited for by others that came first"),
            Reason::StoreAway { limit, retry_after } => {
                write!(
                    f,
                    " on {limit} cannot be asked: its store is away, retry after {retry_after:?}"
                )
            }
            Reason::Unasked => f.write_str(" is kept in a store, which only `reserve` asks"),
            Reason::Saturated { most } => {
                write!(f, " is not kept: {most} others are, and all of them are in use")
            }
        }
    }
}

/// On one line and not too long, whatever somebody is called.
fn write_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut room = LONGEST_NAME;
    for letter in name.chars().map(char::escape_debug) {
        let Some(left) = room.checked_sub(letter.len()) else { return f.write_str("..") };
        room = left;
        write!(f, "{letter}")?;
    }
    Ok(())
}

impl std::error::Error for Denied {}

impl From<Denied> for OverQuota {
    fn from(denied: Denied) -> Self {
        let (level, limit) = (denied.level.label().to_owned(), denied.reason.label());
        let (tenant, after) = (denied.tenant.clone(), denied.retry_after());
        Self::new(level, limit, denied).of(tenant).retry_after(after)
    }
}
