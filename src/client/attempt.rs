//! One try of a call on one endpoint, as a guard.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::{EndpointKey, Lease};
use crate::client::terms::Terms;
use crate::error::ProviderError;
use crate::event::{Emitter, Event};
use crate::outcome::{End, Outcome};
use crate::report::{AttemptReport, EndpointId};
use crate::time::{Instant, now};
use crate::usage::Usage;

/// A running attempt, to be settled with how it ended. One that is dropped counts as abandoned.
///
/// It owns all it needs to end by itself, so that a call may have two of them.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as abandoned"]
pub(super) struct Attempt {
    /// `None` once settled.
    lease: Option<Lease>,
    number: u32,
    /// Whether it was started beside another one.
    hedge: bool,
    /// Whether it is a hedge of which nobody knows yet whether it wins.
    undecided: bool,
    /// The fallback model it is made for.
    fallback: Option<Arc<str>>,
    first_content: Option<Instant>,
    /// How long it has to its first content.
    timeout: Duration,
    call_start: Instant,
    emitter: Emitter,
}

impl Attempt {
    /// Starts attempt `number` of a call.
    pub(super) fn start(
        terms: &Terms,
        lease: Lease,
        number: u32,
        fallback: Option<Arc<str>>,
    ) -> Self {
        let emitter = terms.client.emitter.clone();
        emitter.emit(|| Event::AttemptStarted { endpoint: lease.endpoint().as_str(), number });
        Self {
            lease: Some(lease),
            number,
            hedge: false,
            undecided: false,
            fallback,
            first_content: None,
            timeout: terms.timeouts.first_content,
            call_start: terms.start,
            emitter,
        }
    }

    /// As [`start`](Self::start), beside an attempt that has shown no content for `after`.
    pub(super) fn start_hedge(
        terms: &Terms,
        lease: Lease,
        number: u32,
        fallback: Option<Arc<str>>,
        after: Duration,
    ) -> Self {
        let endpoint = lease.endpoint().as_str();
        terms.client.emitter.emit(|| Event::Hedge { endpoint, after });
        let mut attempt = Self::start(terms, lease, number, fallback);
        (attempt.hedge, attempt.undecided) = (true, true);
        attempt
    }

    /// The lease the attempt is made with.
    pub(super) fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("an attempt holds its lease until it is settled")
    }

    pub(super) fn endpoint(&self) -> &EndpointId {
        self.lease().endpoint()
    }

    pub(super) fn key(&self) -> EndpointKey {
        self.lease().key()
    }

    pub(super) fn started(&self) -> Instant {
        self.lease().started()
    }

    /// From its start to its first content, once the call is committed to it.
    pub(super) fn ttft(&self) -> Option<Duration> {
        self.first_content.map(|at| at.saturating_duration_since(self.started()))
    }

    /// 1 for the first attempt of a call.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) const fn is_hedge(&self) -> bool {
        self.hedge
    }

    /// The call is committed to this attempt, whose content began to arrive at `first_content`.
    pub(super) fn commit(&mut self, first_content: Option<Instant>) {
        self.first_content = first_content;
        if let Some(lease) = &mut self.lease {
            lease.first_content();
        }
        self.decide("won");
    }

    /// Ends it as successful.
    pub(super) fn succeed(mut self, outcome: &Outcome, now: Instant) -> AttemptReport {
        self.end(outcome, None, now)
    }

    /// The outcome of failing with `error`.
    pub(super) fn failure(&self, error: &ProviderError, usage: Option<Usage>) -> Outcome {
        let committed = self.first_content.is_some();
        let mut outcome = Outcome::failed(error, committed).with_timeout(self.timeout);
        outcome.usage = usage;
        outcome
    }

    /// Ends it as failed.
    pub(super) fn fail(
        mut self,
        outcome: &Outcome,
        error: &ProviderError,
        now: Instant,
    ) -> AttemptReport {
        self.end(outcome, Some(error), now)
    }

    /// Ends it because the call is committed to another one.
    pub(super) fn lose(mut self, now: Instant) -> AttemptReport {
        self.decide("lost");
        self.end(&Outcome::new(End::Abandoned), None, now)
    }

    /// Ends it because the call ends.
    pub(super) fn abandon(mut self, outcome: &Outcome, now: Instant) -> AttemptReport {
        self.end(outcome, None, now)
    }

    fn end(
        &mut self,
        outcome: &Outcome,
        error: Option<&ProviderError>,
        now: Instant,
    ) -> AttemptReport {
        self.decide(if error.is_some() { "failed" } else { "cancelled" });
        let report = self.report(error, now);
        self.emitter.emit(|| Event::AttemptEnded {
            endpoint: report.endpoint.as_str(),
            number: self.number,
            outcome: outcome.label(),
            elapsed: report.elapsed,
            ttft: report.ttft,
        });
        if let Some(lease) = self.lease.take() {
            lease.settle(&outcome.clone().with_ttft(report.ttft), now);
        }
        report
    }

    fn report(&self, error: Option<&ProviderError>, now: Instant) -> AttemptReport {
        let began = self.started();
        let started = began.saturating_duration_since(self.call_start);
        let elapsed = now.saturating_duration_since(began);
        let mut report = AttemptReport::new(self.endpoint().clone(), started, elapsed);
        report.ttft = self.ttft();
        report.error = error.map(ProviderError::kind);
        report.status = error.and_then(ProviderError::status);
        report.hedge = self.hedge;
        report.fallback = self.fallback.as_deref().map(str::to_owned);
        report
    }

    /// Says what became of a hedge, once.
    fn decide(&mut self, outcome: &'static str) {
        if std::mem::take(&mut self.undecided) {
            let endpoint = self.endpoint().as_str();
            self.emitter.emit(|| Event::HedgeEnded { endpoint, outcome });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.lease.is_some() {
            self.end(&Outcome::new(End::Abandoned), None, now());
        }
    }
}
