//! Why a call does not wait, or no longer.

use std::convert::Infallible;
use std::time::Duration;

/// Why a call was not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused<E> {
    /// The queue is as long as it may be.
    #[error("the queue is full: {depth} calls wait {scope}")]
    Full {
        /// Whose bound it is.
        scope: Scope,
        /// How many wait.
        depth: usize,
    },
    /// It would wait for longer than it has; said at once, not after waiting.
    #[error("the wait would be about {eta:?}, longer than the call has")]
    WouldMissDeadline {
        /// About how long it would wait.
        eta: Duration,
    },
    /// It waited for as long as it had.
    #[error("waited {waited:?} without being let through")]
    TimedOut {
        /// How long.
        waited: Duration,
    },
    /// The queue takes no more calls, or has given up those that waited.
    #[error("the queue is closed")]
    Closed,
    /// The gate can never let it through.
    #[error("can never pass")]
    Never(E),
}

impl Refused<Infallible> {
    /// The same, of a gate that may also say never.
    pub(crate) fn into_any<E>(self) -> Refused<E> {
        match self {
            Self::Full { scope, depth } => Refused::Full { scope, depth },
            Self::WouldMissDeadline { eta } => Refused::WouldMissDeadline { eta },
            Self::TimedOut { waited } => Refused::TimedOut { waited },
            Self::Closed => Refused::Closed,
            Self::Never(never) => match never {},
        }
    }
}

/// Whose bound a full queue has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// All callers together.
    Global,
    /// One tenant.
    Tenant,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Global => "in all",
            Self::Tenant => "of the tenant",
        })
    }
}
