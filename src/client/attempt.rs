//! One try of a call on one endpoint, as a guard.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::{EndpointKey, Lease};
use crate::client::bill::Billed;
use crate::client::pace::Pace;
use crate::client::terms::Terms;
use crate::error::ProviderError;
use crate::event::{Emitter, Event};
use crate::outcome::{End, Outcome};
use crate::report::{AttemptReport, EndpointId};
use crate::request::ChatRequest;
use crate::response::ChatResponse;
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
    /// When its chunks arrived, as far as that is known by now.
    pace: Pace,
    /// Input tokens it is charged for where nobody counts them.
    input: u64,
    call: u64,
    call_start: Instant,
    /// `None` where nobody listens.
    request: Option<Arc<ChatRequest>>,
    emitter: Emitter,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Close<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) error: Option<&'a ProviderError>,
    pub(super) response: Option<&'a ChatResponse>,
    pub(super) billed: Billed,
}

impl Attempt {
    /// Starts attempt `number` of a call, which is charged for so much `input` where nobody counts it.
    pub(super) fn start(
        terms: &Terms,
        lease: Lease,
        (number, input): (u32, u64),
        fallback: Option<Arc<str>>,
    ) -> Self {
        let attempt = Self::new(terms, lease, (number, input), fallback);
        attempt.tell_start();
        attempt
    }

    /// As [`start`](Self::start), beside an attempt that has shown no content for `after`.
    pub(super) fn start_hedge(
        terms: &Terms,
        lease: Lease,
        (number, input): (u32, u64),
        fallback: Option<Arc<str>>,
        after: Duration,
    ) -> Self {
        let (call, endpoint) = (terms.caller.call, lease.endpoint().as_str());
        terms.client.tally.hedges.one();
        terms.client.emitter.emit(|| Event::Hedge { call, endpoint, after });
        let mut attempt = Self::new(terms, lease, (number, input), fallback);
        (attempt.hedge, attempt.undecided) = (true, true);
        attempt.tell_start();
        attempt
    }

    fn new(
        terms: &Terms,
        lease: Lease,
        (number, input): (u32, u64),
        fallback: Option<Arc<str>>,
    ) -> Self {
        let emitter = &terms.client.emitter;
        Self {
            lease: Some(lease),
            number,
            hedge: false,
            undecided: false,
            fallback,
            first_content: None,
            timeout: terms.timeouts.first_content,
            pace: Pace::default(),
            input,
            call: terms.caller.call,
            call_start: terms.start,
            request: emitter.is_observed().then(|| Arc::clone(&terms.caller.request)),
            emitter: emitter.clone(),
        }
    }

    fn tell_start(&self) {
        let lease = self.lease();
        self.emitter.emit(|| Event::AttemptStarted {
            call: self.call,
            endpoint: lease.endpoint().as_str(),
            number: self.number,
            provider: lease.provider_id(),
            model: self.model(),
            upstream_model: lease.upstream_model().map(|model| &**model),
            hedge: self.hedge,
            trial: lease.is_trial(),
        });
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

    /// The fallback model it is made for.
    pub(super) const fn fallback(&self) -> Option<&Arc<str>> {
        self.fallback.as_ref()
    }

    /// The model that is asked for, for whoever listens.
    fn model(&self) -> Option<&str> {
        self.fallback.as_deref().or(self.request.as_ref()?.model.as_deref())
    }

    /// Its chunks have arrived so.
    pub(super) const fn paced(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The call is committed to this attempt, whose content began to arrive at `first_content`.
    pub(super) fn commit(&mut self, first_content: Option<Instant>) {
        self.first_content = first_content;
        if let Some(lease) = &mut self.lease {
            lease.first_content();
        }
        self.decide("won");
    }

    /// The outcome of failing with `error`.
    pub(super) fn failure(&self, error: &ProviderError, usage: Option<Usage>) -> Outcome {
        let committed = self.first_content.is_some();
        let mut outcome = Outcome::failed(error, committed).with_timeout(self.timeout);
        outcome.usage = usage;
        outcome
    }

    /// The call is committed to another one.
    pub(super) fn lose(&mut self) {
        self.decide("lost");
    }

    /// Ends it.
    pub(super) fn close(mut self, close: &Close<'_>, now: Instant) -> AttemptReport {
        self.end(close, now)
    }

    fn end(&mut self, close: &Close<'_>, now: Instant) -> AttemptReport {
        self.decide(if close.error.is_some() { "failed" } else { "cancelled" });
        let report = self.report(close.error, now);
        let tally = self.lease().tally();
        tally.ended(close.outcome.end, report.ttft, report.elapsed);
        tally.charged(&close.billed.usage, close.billed.cost);
        self.tell_end(close, &report);
        if let Some(lease) = self.lease.take() {
            lease.settle(&close.outcome.clone().with_ttft(report.ttft), now);
        }
        report
    }

    fn tell_end(&self, close: &Close<'_>, report: &AttemptReport) {
        let lease = self.lease();
        let since_start = |at: Instant| at.saturating_duration_since(lease.started());
        self.emitter.emit(|| Event::AttemptEnded {
            call: self.call,
            endpoint: report.endpoint.as_str(),
            number: self.number,
            provider: lease.provider_id(),
            model: self.model(),
            response_model: close.response.and_then(|response| response.model.as_deref()),
            outcome: close.outcome.label(),
            status: report.status,
            elapsed: report.elapsed,
            first_chunk: self.pace.first_chunk.map(since_start),
            ttft: report.ttft,
            chunks: self.pace.chunks,
            longest_gap: self.pace.longest_gap,
            usage: close.billed.usage,
            cost: close.billed.cost,
            rate_limits: close.outcome.rate_limits.as_ref(),
        });
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
            let (call, endpoint) = (self.call, self.endpoint().as_str());
            self.emitter.emit(|| Event::HedgeEnded { call, endpoint, outcome });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            let billed = Billed::unanswered(self.input, lease.price());
            let outcome = &Outcome::new(End::Abandoned);
            self.end(&Close { outcome, error: None, response: None, billed }, now());
        }
    }
}
