//! The part of an endpoint that its attempts share.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::balance::balancer::Shared;
use crate::balance::demand::EndpointKey;
use crate::balance::endpoint::Endpoint;
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// An endpoint at run time. What changes with every lease lies on cache lines of its own, so that
/// leases do not slow down the picks that read the rest.
pub(crate) struct EndpointCell {
    pub(crate) key: EndpointKey,
    pub(crate) id: EndpointId,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) capabilities: Capabilities,
    pub(crate) weight: u32,
    pub(crate) balancer: Weak<Shared>,
    live: Live,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Live {
    in_flight: AtomicU32,
    troubled: AtomicBool,
}

impl EndpointCell {
    pub(crate) fn new(key: EndpointKey, endpoint: &Endpoint, balancer: Weak<Shared>) -> Self {
        Self {
            key,
            id: endpoint.id().clone(),
            provider: Arc::clone(endpoint.provider()),
            capabilities: endpoint.capabilities(),
            weight: endpoint.share(),
            balancer,
            live: Live::default(),
        }
    }

    pub(crate) fn enter(&self) {
        // Relaxed: a count that is read for reports and comparisons, not to publish anything.
        self.live.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.live.in_flight.load(Ordering::Relaxed)
    }

    /// Whether there is something a success would clear. Spares successes the lock; written under
    /// it. A success that reads a stale `false` overlapped the failure it would have cleared, and
    /// the next success clears it.
    pub(crate) fn is_troubled(&self) -> bool {
        self.live.troubled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_troubled(&self, troubled: bool) {
        self.live.troubled.store(troubled, Ordering::Relaxed);
    }
}

impl fmt::Debug for EndpointCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointCell")
            .field("id", &self.id)
            .field("weight", &self.weight)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
