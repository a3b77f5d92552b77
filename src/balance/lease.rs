//! The right to make one attempt on one endpoint.

use std::fmt;
use std::sync::Arc;

use crate::balance::cell::EndpointCell;
use crate::balance::demand::EndpointKey;
use crate::balance::snapshot::Member;
use crate::outcome::{End, Outcome};
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::time::{Instant, now};

/// The right to make one attempt, to be [settled](Self::settle) with how it ended.
///
/// A lease that is dropped unsettled counts as abandoned: its place is freed, and nothing is learnt
/// about the endpoint.
#[must_use = "a lease that is dropped counts as an abandoned attempt"]
pub struct Lease {
    cell: Arc<EndpointCell>,
    slot: Option<usize>,
    upstream: Option<Arc<str>>,
    started: Instant,
    settled: bool,
}

impl Lease {
    pub(crate) fn new(member: &Member, started: Instant) -> Self {
        member.cell.enter();
        Self {
            cell: Arc::clone(&member.cell),
            slot: member.slot,
            upstream: member.upstream.clone(),
            started,
            settled: false,
        }
    }

    /// The endpoint's id.
    #[must_use]
    pub fn endpoint(&self) -> &EndpointId {
        &self.cell.id
    }

    /// The endpoint's key, for [`Demand::exclude`](super::Demand::exclude).
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        self.cell.key
    }

    /// The provider to make the attempt with.
    #[must_use]
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.cell.provider
    }

    /// What the provider can do, as it said when the endpoint was built.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.cell.capabilities
    }

    /// The backend's name for the model, where the endpoint has one.
    #[must_use]
    pub fn upstream_model(&self) -> Option<&Arc<str>> {
        self.upstream.as_ref()
    }

    /// When the lease was given.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Ends the lease with how the attempt ended. Takes no lock where that changes nothing.
    pub fn settle(mut self, outcome: &Outcome, now: Instant) {
        self.end(outcome, now);
    }

    fn end(&mut self, outcome: &Outcome, now: Instant) {
        self.settled = true;
        self.cell.leave();
        let unremarkable = match outcome.end {
            End::Success => !self.cell.is_troubled(),
            End::Abandoned => true,
            End::Failed(_) | End::Broken(_) => false,
        };
        if unremarkable {
            return;
        }
        // The balancer may be gone while the last attempts end; then nobody needs to know.
        if let Some(balancer) = self.cell.balancer.upgrade() {
            balancer.note(&self.cell, self.slot, outcome, now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.end(&Outcome::new(End::Abandoned), now());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", &self.cell.id)
            .field("upstream_model", &self.upstream)
            .finish_non_exhaustive()
    }
}
