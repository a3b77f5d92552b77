//! The right to make one attempt on one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::cell::EndpointCell;
use crate::balance::demand::EndpointKey;
use crate::balance::load::Waiting;
use crate::balance::mirror::{Mirror, Spend, Spent};
use crate::balance::snapshot::Member;
use crate::outcome::{End, Outcome};
use crate::provider::{Capabilities, Provider};
use crate::report::EndpointId;
use crate::time::{Instant, now};
use crate::usage::{Price, Usage};

/// The right to make one attempt, to be [settled](Self::settle) with how it ended.
///
/// A lease that is dropped unsettled counts as abandoned: its place is freed, a trial it was is
/// free for the next one, and nothing is learnt about the endpoint.
#[must_use = "a lease that is dropped counts as an abandoned attempt"]
pub struct Lease {
    cell: Arc<EndpointCell>,
    slot: Option<usize>,
    upstream: Option<Arc<str>>,
    price: Option<Price>,
    started: Instant,
    trial: bool,
    waiting: Option<Waiting>,
    spent: Option<(Arc<Mirror>, Spent)>,
    settled: bool,
}

impl Lease {
    /// A lease on `member`, which has let the attempt in.
    pub(crate) fn new(
        member: &Member,
        spent: Option<(Arc<Mirror>, Spent)>,
        started: Instant,
    ) -> Self {
        Self {
            cell: Arc::clone(&member.cell),
            slot: member.slot,
            upstream: member.upstream.clone(),
            price: member.price,
            started,
            trial: member.trial,
            waiting: member.cell.load.begin(started),
            spent,
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

    /// What its tokens cost, where the endpoint has a price.
    #[must_use]
    pub const fn price(&self) -> Option<Price> {
        self.price
    }

    /// When the lease was given.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Whether this attempt finds out if an unhealthy or disabled endpoint works again.
    #[must_use]
    pub const fn is_trial(&self) -> bool {
        self.trial
    }

    /// Content has arrived: the attempt no longer counts as waiting for it.
    pub fn first_content(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.cell.load.end(waiting);
        }
    }

    /// Ends the lease with how the attempt ended. Takes no lock where that changes nothing.
    pub fn settle(mut self, outcome: &Outcome, now: Instant) {
        self.end(outcome, now);
    }

    fn end(&mut self, outcome: &Outcome, now: Instant) {
        self.settled = true;
        self.first_content();
        let elapsed = now.saturating_duration_since(self.started);
        self.cell.load.learn(outcome, elapsed, now);
        // The balancer may be gone while the last attempts end; then nobody needs to know.
        if let Some(balancer) = self.cell.balancer.upgrade() {
            if outcome.end == End::Success {
                balancer.typical().learn(outcome, elapsed, now);
            }
            self.settle_limits(outcome, balancer.nanos(now));
            if self.is_remarkable(outcome) {
                balancer.note(&self.cell, self.slot, outcome, (self.started, now));
            }
        }
        // The trial and the place are free only once what they taught is known.
        if self.trial {
            self.cell.trial().end();
        }
        self.cell.leave();
    }

    fn settle_limits(&self, outcome: &Outcome, now: u64) {
        if let Some((mirror, spent)) = &self.spent {
            let used = outcome.usage.as_ref().and_then(spend);
            mirror.settle(spent, outcome.end.row().charge, used, now);
            if let Some(limits) = &outcome.rate_limits {
                mirror.correct(spent, limits, now);
            }
        }
    }

    fn is_remarkable(&self, outcome: &Outcome) -> bool {
        match outcome.end {
            End::Success => self.cell.is_troubled() || exhausted(outcome).is_some(),
            End::Abandoned => false,
            End::Failed(_) | End::Broken(_) => true,
        }
    }
}

/// When the limit that a successful response used up is whole again.
pub(crate) fn exhausted(outcome: &Outcome) -> Option<Duration> {
    outcome.rate_limits.as_ref().and_then(|limits| limits.exhausted_reset())
}

fn spend(usage: &Usage) -> Option<Spend> {
    Some(Spend { input: usage.input_tokens?, output: usage.output_tokens? })
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
            .field("trial", &self.trial)
            .finish_non_exhaustive()
    }
}
