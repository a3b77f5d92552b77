//! The part of an endpoint that its attempts share.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::balance::balancer::Shared;
use crate::balance::demand::{EndpointKey, seed_of};
use crate::balance::endpoint::Endpoint;
use crate::balance::load::Load;
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::sync::{AtomicBool, AtomicU32, Ordering};
use crate::time::Instant;

/// An endpoint at run time. What changes with every lease lies on cache lines of its own, so that
/// leases do not slow down the picks that read the rest.
pub(crate) struct EndpointCell {
    pub(crate) key: EndpointKey,
    pub(crate) id: EndpointId,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) capabilities: Capabilities,
    /// What its scores for keys depend on: its name, so that instances agree.
    pub(crate) seed: u64,
    pub(crate) balancer: Weak<Shared>,
    live: Live,
    pub(crate) load: Load,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Live {
    in_flight: AtomicU32,
    troubled: AtomicBool,
    on_trial: Trial,
}

impl EndpointCell {
    pub(crate) fn new(
        key: EndpointKey,
        endpoint: &Endpoint,
        balancer: Weak<Shared>,
        epoch: Instant,
    ) -> Self {
        Self {
            key,
            id: endpoint.id().clone(),
            provider: Arc::clone(endpoint.provider()),
            capabilities: endpoint.capabilities(),
            seed: seed_of(endpoint.id().as_str()),
            balancer,
            live: Live::default(),
            load: Load::new(epoch),
        }
    }

    /// Takes a place; whether there was one.
    pub(crate) fn enter(&self, limit: Option<u32>) -> bool {
        // Relaxed: the count alone decides, and it publishes nothing.
        let before = self.live.in_flight.fetch_add(1, Ordering::Relaxed);
        let fits = limit.is_none_or(|limit| before < limit);
        if !fits {
            self.leave();
        }
        fits
    }

    pub(crate) fn leave(&self) {
        self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.live.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn trial(&self) -> &Trial {
        &self.live.on_trial
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

/// At most one attempt at a time finds out whether an endpoint works again.
#[derive(Debug, Default)]
pub(crate) struct Trial(AtomicBool);

impl Trial {
    /// Claims the trial; whether nobody else has.
    pub(crate) fn begin(&self) -> bool {
        // Acquire pairs with the Release in `end`: the next trial sees what the last one learnt.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn end(&self) {
        // Release pairs with the Acquire in `begin`.
        self.0.store(false, Ordering::Release);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for EndpointCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointCell")
            .field("id", &self.id)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
