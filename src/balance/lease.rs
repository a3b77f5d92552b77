//! The right to make one attempt on one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::calls::Running;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::{Chooser, millis};
use crate::balance::demand::EndpointKey;
use crate::balance::member::Member;
use crate::balance::mirror::{Mirror, Sent, Spend, Spent};
use crate::error::ErrorKind;
use crate::outcome::{End, Outcome};
use crate::provider::{Capabilities, Provider};
use crate::rate_limits::RateLimits;
use crate::report::EndpointId;
use crate::time::{Instant, now};
use crate::usage::{Price, Usage};

/// The right to make one attempt, to be [settled](Self::settle) with how it ended.
///
/// A lease that is dropped unsettled counts as abandoned: its place is freed, a trial it was is
/// free for the next one, and nothing is learnt about the endpoint.
#[must_use = "a lease that is dropped counts as an abandoned attempt"]
pub struct Lease {
    member: Arc<Member>,
    /// When it was given, in nanoseconds since the balancer's epoch.
    at: u64,
    /// Taken when the lease ends.
    running: Option<Running>,
    spent: Option<Spent>,
}

impl Lease {
    /// A lease on `member`, which has let the attempt in.
    #[inline]
    pub(crate) fn new(
        member: &Arc<Member>,
        running: Running,
        spent: Option<Spent>,
        at: u64,
    ) -> Self {
        // Where nothing is limited there is nothing to copy, which spares a hundred bytes.
        let spent = if member.mirror.is_some() { spent } else { None };
        Self { member: Arc::clone(member), at, running: Some(running), spent }
    }

    fn cell(&self) -> &Arc<EndpointCell> {
        &self.member.cell
    }

    /// The endpoint's id.
    #[must_use]
    pub fn endpoint(&self) -> &EndpointId {
        &self.cell().id
    }

    /// The endpoint's key, for [`Demand::exclude`](super::Demand::exclude).
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        self.cell().key
    }

    /// The provider to make the attempt with.
    #[must_use]
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.cell().provider
    }

    /// The provider's own id, as it said when the endpoint was built.
    #[must_use]
    pub fn provider_id(&self) -> &Arc<str> {
        &self.cell().provider_id
    }

    /// What the provider can do, as it said when the endpoint was built.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.cell().capabilities
    }

    /// The backend's name for the model, where the endpoint has one.
    #[must_use]
    pub fn upstream_model(&self) -> Option<&Arc<str>> {
        self.member.upstream.as_ref()
    }

    /// What its tokens cost, where the endpoint has a price.
    #[must_use]
    pub fn price(&self) -> Option<Price> {
        self.member.price
    }

    /// When the lease was given.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.cell().chooser.instant(self.at)
    }

    /// Whether this attempt finds out if an unhealthy or disabled endpoint works again.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.member.trial
    }

    /// Tells the endpoint's limits what the response's headers say of them before the attempt ends;
    /// `None` where no limits are declared.
    pub(crate) fn headers(&self) -> Option<Headers> {
        let (mirror, spent) = (self.member.mirror.as_ref()?, self.spent.as_ref()?);
        let (mirror, chooser) = (Arc::clone(mirror), Arc::clone(&self.cell().chooser));
        Some(Headers { mirror, chooser, sent: spent.sent, at: self.at })
    }

    /// Content has arrived: the attempt no longer counts as waiting for it.
    pub fn first_content(&mut self) {
        if let Some(running) = &mut self.running {
            self.member.cell.calls.first_content(running);
        }
    }

    /// Ends the lease with how the attempt ended. Takes no lock where that changes nothing.
    pub fn settle(mut self, outcome: &Outcome, now: Instant) {
        if let Some(running) = self.running.take() {
            self.end(running, outcome, now);
        }
    }

    #[inline]
    fn end(&self, running: Running, outcome: &Outcome, now: Instant) {
        let (cell, chooser) = (self.cell(), &self.cell().chooser);
        let at = chooser.nanos(now);
        let (elapsed, millis) = (Duration::from_nanos(at.saturating_sub(self.at)), millis(at));
        cell.load.learn(outcome, elapsed, millis);
        if outcome.end == End::Success {
            chooser.typical.learn(outcome, elapsed, millis);
        }
        if let (Some(mirror), Some(spent)) = (&self.member.mirror, &self.spent) {
            settle_limits(mirror, spent, outcome, (self.at, at));
        }
        if self.is_remarkable(outcome) {
            self.note(outcome, now);
        }
        // The trial and the place are free only once what they taught is known.
        if self.member.trial {
            cell.trial().end();
        }
        cell.calls.leave(running);
        chooser.listeners.tell();
    }

    #[cold]
    fn note(&self, outcome: &Outcome, now: Instant) {
        // The balancer may be gone while the last attempts end; then nobody needs to know.
        if let Some(balancer) = self.cell().balancer.upgrade() {
            let outcome = outcome.clone().with_rate_limits(self.unmetered(outcome));
            balancer.note(&self.member, &outcome, (self.started(), now));
        }
    }

    fn is_remarkable(&self, outcome: &Outcome) -> bool {
        match outcome.end {
            End::Success => {
                let limits = self.unmetered(outcome);
                self.cell().trouble().is_for(self.member.slot)
                    || limits.is_some_and(|it| it.exhausted_reset().is_some())
            }
            End::Abandoned => false,
            End::Failed(_) | End::Broken(_) => true,
        }
    }

    /// The response's windows that the mirror does not keep.
    fn unmetered(&self, outcome: &Outcome) -> Option<RateLimits> {
        let limits = outcome.rate_limits?;
        Some(self.member.mirror.as_ref().map_or(limits, |mirror| mirror.unmetered(limits)))
    }
}

/// What an attempt's headers are told to. They come with the first byte, and what they say of other
/// users of the same key is the older the longer they are kept.
#[derive(Debug)]
pub(crate) struct Headers {
    mirror: Arc<Mirror>,
    chooser: Arc<Chooser>,
    sent: Sent,
    /// When the lease was given.
    at: u64,
}

impl Headers {
    pub(crate) fn arrived(&self, limits: &RateLimits, now: Instant) {
        self.mirror.correct(&self.sent, limits, (self.at, self.chooser.nanos(now)));
    }
}

/// When the limit that a successful response used up is whole again.
pub(crate) fn exhausted(outcome: &Outcome) -> Option<Duration> {
    outcome.rate_limits.as_ref().and_then(|limits| limits.exhausted_reset())
}

fn settle_limits(mirror: &Mirror, spent: &Spent, outcome: &Outcome, (then, now): (u64, u64)) {
    let used = outcome.usage.as_ref().and_then(spend);
    mirror.settle(spent, outcome.end.row().charge, used, now);
    if let Some(limits) = &outcome.rate_limits {
        if outcome.end == End::Failed(ErrorKind::RateLimited) {
            mirror.refused(spent, limits, now);
        }
        mirror.correct(&spent.sent, limits, (then, now));
    }
}

fn spend(usage: &Usage) -> Option<Spend> {
    Some(Spend { input: usage.input_tokens?, output: usage.output_tokens? })
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.end(running, &Outcome::new(End::Abandoned), now());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", &self.cell().id)
            .field("upstream_model", &self.member.upstream)
            .field("trial", &self.member.trial)
            .finish_non_exhaustive()
    }
}
