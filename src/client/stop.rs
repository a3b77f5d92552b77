//! Why a call does not go on with the model it is at.

use std::time::Duration;

use crate::admission::{NotQueued, OverQuota, QueueRefusal};
use crate::balance::NoLease;
use crate::client::fallback::FallbackOn;
use crate::client::settlement::Settlement;
use crate::error::{Error, NoEndpoint, ProviderError};
use crate::outcome::Retry;
use crate::queue::{Refused, Scope};
use crate::quota::Denied;
use crate::report::{EndpointId, Phase};
use crate::time::Instant;

/// An attempt that failed before content.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) endpoint: EndpointId,
    pub(super) error: ProviderError,
    pub(super) at: Instant,
}

impl Failed {
    /// Whether the failure is the request's own, so that no other endpoint would change it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.retry(), Retry::No | Retry::FallbackModel)
    }

    pub(super) fn retry(&self) -> Retry {
        self.error.kind().row().retry
    }
}

/// Why no attempt may follow with this model.
#[derive(Debug)]
pub(super) enum Stop {
    /// The backend refused it in a way no other endpoint would change.
    Refused(Failed),
    /// It failed, and no further attempt is allowed.
    Exhausted(Failed),
    /// No endpoint can ever serve it.
    NoEndpoint(NoEndpoint),
    /// No endpoint can serve it before so much time has passed, if that is known.
    Unavailable(Option<Duration>),
    /// A quota stands against it.
    Denied(Box<Denied>),
    /// The queue did not let it wait, or no longer.
    NotQueued(QueueRefusal),
    /// The call's deadline has passed.
    Deadline(Phase),
    /// The client ends its running calls.
    CutOff,
}

impl Stop {
    /// There is no lease at `now`.
    pub(super) fn without_lease(refusal: NoLease, now: Instant) -> Self {
        match refusal {
            NoLease::Never(never) => Self::NoEndpoint(never),
            NoLease::NotBefore(at) => {
                Self::Unavailable(at.map(|at| at.saturating_duration_since(now)))
            }
        }
    }

    /// The queue gave up on it, for a reason that is neither the gate's nor the call's end.
    pub(super) fn not_queued<E>(refused: &Refused<E>) -> Self {
        Self::NotQueued(match *refused {
            Refused::Full { scope, depth } => {
                QueueRefusal::Full { depth, of_tenant: scope == Scope::Tenant }
            }
            Refused::WouldMissDeadline { eta } => QueueRefusal::WouldMissDeadline { eta },
            Refused::TimedOut { waited } => QueueRefusal::TimedOut { waited },
            Refused::Closed | Refused::Never(_) => return Self::CutOff,
        })
    }

    /// The reason this gives for going on with another model; `None` where the call is over.
    pub(super) fn reason_to_fall_back(&self) -> Option<FallbackOn> {
        match self {
            Self::Refused(failed) => match failed.retry() {
                Retry::FallbackModel => FallbackOn::of(failed.error.kind()),
                // Another endpoint might have done, but there is none.
                Retry::OtherEndpoint | Retry::Budgeted => Some(FallbackOn::Unavailable),
                Retry::No => None,
            },
            Self::Exhausted(_) | Self::NoEndpoint(_) | Self::Unavailable(_) => {
                Some(FallbackOn::Unavailable)
            }
            // A full queue is full for all models.
            Self::NotQueued(QueueRefusal::Full { .. }) => None,
            Self::NotQueued(_) => Some(FallbackOn::Unavailable),
            Self::Denied(_) | Self::Deadline(_) | Self::CutOff => None,
        }
    }

    /// Ends the call, which asked for `model` last.
    pub(super) fn end(self, settlement: Box<Settlement>, model: Option<&str>) -> Error {
        match self {
            Self::Refused(Failed { endpoint, error, .. }) => {
                settlement.fail(|trail| Error::Refused { endpoint, error, trail })
            }
            Self::Exhausted(Failed { endpoint, error, .. }) => {
                settlement.fail(|trail| Error::Exhausted { endpoint, error, trail })
            }
            Self::NoEndpoint(never) => settlement.fail(|_| Error::NoEndpoint(never)),
            Self::Unavailable(retry_after) => settlement.unavailable(model, retry_after),
            Self::Denied(denied) => settlement.fail(|_| over_quota(*denied)),
            Self::NotQueued(why) => {
                let model = model.map(str::to_owned);
                settlement.fail(|trail| Error::Queue(Box::new(NotQueued::new(why, model, *trail))))
            }
            Self::Deadline(phase) => settlement.deadline_passed(phase, None),
            Self::CutOff => settlement.fail(|trail| Error::Closed { trail }),
        }
    }
}

pub(super) fn over_quota(denied: Denied) -> Error {
    let never = denied.is_never();
    let over = Box::new(OverQuota::from(denied));
    if never { Error::LargerThanQuota(over) } else { Error::Quota(over) }
}
