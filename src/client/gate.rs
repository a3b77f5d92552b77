//! The balancer as what a queue stands in front of.
//!
//! A call waits for the first endpoint that can serve it, whichever that is, and not for one it was
//! pinned to: the queue asks for a lease whenever anything may have changed, and hands it over.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::balance::{Balancer, Demand, EndpointKey, Lease, NoLease, Subscription};
use crate::client::opening::Ask;
use crate::error::NoEndpoint;
use crate::provider::Capabilities;
use crate::queue::{Gate, Passage, RequestQueue};
use crate::request::ChatRequest;
use crate::time::Instant;

/// A client's queue, which is told whenever its balancer may have something to give.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) queue: RequestQueue,
    pub(super) gate: Arc<LeaseGate>,
    _subscription: Subscription,
}

impl Waiting {
    pub(super) fn new(queue: RequestQueue, balancer: &Balancer) -> Self {
        let told = queue.clone();
        let subscription = balancer.subscribe(move || told.reopen());
        let gate = Arc::new(LeaseGate(balancer.clone()));
        Self { queue, gate, _subscription: subscription }
    }
}

/// Lets calls pass with a lease.
#[derive(Debug)]
pub(super) struct LeaseGate(Balancer);

impl Gate for LeaseGate {
    type Demand = Wanted;
    type Pass = Lease;
    type Never = NoEndpoint;

    fn try_pass(&self, wanted: &Wanted, now: Instant) -> Passage<Lease, NoEndpoint> {
        let fresh = self.0.try_lease(&wanted.demand().excluding(&wanted.tried), now);
        let lease = match (fresh, wanted.again) {
            (Err(NoLease::NotBefore(opens)), Some(again)) => self.again(wanted, again, opens, now),
            (fresh, _) => fresh,
        };
        match lease {
            Err(NoLease::NotBefore(Some(at))) if self.may_open_before(at, wanted, now) => {
                Passage::NotBefore(None)
            }
            lease => passage(lease),
        }
    }
}

impl LeaseGate {
    /// Whether the clock opens too late for the call, and the end of another one may be in time: it
    /// must not be turned away for a window while it waits for a place.
    fn may_open_before(&self, at: Instant, wanted: &Wanted, now: Instant) -> bool {
        let returns = wanted.again.is_some_and(|again| again <= now);
        let demand = wanted.demand().excluding(if returns { &[] } else { &wanted.tried });
        at >= wanted.deadline && self.0.waits_for_an_end(&demand, now)
    }

    /// A lease on an endpoint that was tried before, the last one last, from `again` on. Until then
    /// one on an endpoint that was not, which opens at `opens`.
    fn again(
        &self,
        wanted: &Wanted,
        again: Instant,
        opens: Option<Instant>,
        now: Instant,
    ) -> Result<Lease, NoLease> {
        if now < again {
            return Err(NoLease::NotBefore(Some(opens.map_or(again, |opens| opens.min(again)))));
        }
        let demand = wanted.demand();
        let newest = &wanted.tried[wanted.tried.len().saturating_sub(1)..];
        self.0.try_lease(&demand.excluding(newest), now).or_else(|_| self.0.try_lease(&demand, now))
    }
}

fn passage(lease: Result<Lease, NoLease>) -> Passage<Lease, NoEndpoint> {
    match lease {
        Ok(lease) => Passage::Pass(lease),
        Err(NoLease::NotBefore(at)) => Passage::NotBefore(at),
        Err(NoLease::Never(never)) => Passage::Never(never),
    }
}

/// What a waiting call asks of the balancer. It owns what it needs: it is looked at while others are
/// polled.
#[derive(Debug)]
pub(super) struct Wanted {
    request: Arc<ChatRequest>,
    fallback: Option<Arc<str>>,
    needs: Capabilities,
    input_tokens: u64,
    output_tokens: Option<u64>,
    affinity: Option<u64>,
    /// Endpoints the call has tried, the one tried last at the end.
    tried: SmallVec<[EndpointKey; 4]>,
    /// From when on it may try one of them again; `None` where that would not help.
    again: Option<Instant>,
    /// When it must have passed.
    deadline: Instant,
}

impl Wanted {
    pub(super) fn new(
        ask: Ask<'_>,
        demand: &Demand<'_>,
        tried: &[EndpointKey],
        again: Option<Instant>,
        deadline: Instant,
    ) -> Self {
        Self {
            request: Arc::clone(&ask.call.request),
            deadline,
            fallback: ask.fallback.cloned(),
            needs: demand.needs,
            input_tokens: demand.input_tokens,
            output_tokens: demand.output_tokens,
            affinity: demand.affinity,
            tried: tried.into(),
            again,
        }
    }

    fn demand(&self) -> Demand<'_> {
        let model = self.fallback.as_deref().or(self.request.model.as_deref());
        let mut demand = Demand::new(model);
        demand.needs = self.needs;
        demand.input_tokens = self.input_tokens;
        demand.output_tokens = self.output_tokens;
        demand.affinity = self.affinity;
        demand
    }
}
