//! The one owner of everything a call has acquired.
//!
//! Whatever ends a call (an answer, a failure, a dropped future, a dropped stream) ends it here,
//! exactly once: the lease is settled with what happened, the call's place is given back, and the
//! observer is told.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::{EndpointKey, Lease};
use crate::client::active::ActiveCall;
use crate::client::llm_client::Inner;
use crate::client::upstream::Upstream;
use crate::error::{Error, Interrupted, ProviderError, Unavailable};
use crate::event::Event;
use crate::options::{CallOptions, Timeouts};
use crate::outcome::{End, Outcome};
use crate::report::{AttemptReport, CallReport, EndpointId, Phase, ServedBy, Trail};
use crate::response::ChatResponse;
use crate::time::{Instant, after, now};

/// A running call.
#[derive(Debug)]
pub(super) struct Settlement {
    client: Arc<Inner>,
    place: ActiveCall,
    start: Instant,
    deadline: Instant,
    timeouts: Timeouts,
    max_attempts: u32,
    attempt: Option<Attempt>,
    started: u32,
    /// Endpoints that were tried, in order.
    tried: Vec<EndpointKey>,
    trail: Trail,
    queued: Duration,
    ttft: Option<Duration>,
    ended: bool,
}

/// The attempt that is running.
#[derive(Debug)]
struct Attempt {
    lease: Lease,
    first_content: Option<Instant>,
}

impl Settlement {
    /// Starts a call; `Err` when the client takes no more.
    pub(super) fn begin(client: &Arc<Inner>, options: &CallOptions) -> Result<Self, Error> {
        let closed = || Error::Closed { trail: Box::default() };
        let place = client.active.enter().ok_or_else(closed)?;
        let start = now();
        let timeouts = options.timeouts.unwrap_or(client.timeouts);
        let total = || after(start, timeouts.total);
        Ok(Self {
            place,
            start,
            deadline: options.deadline.map_or_else(total, |deadline| deadline.resolve(start)),
            timeouts,
            max_attempts: options.max_attempts.unwrap_or(client.retry.max_attempts),
            attempt: None,
            started: 0,
            tried: Vec::new(),
            trail: Trail::default(),
            queued: Duration::ZERO,
            ttft: None,
            ended: false,
            client: Arc::clone(client),
        })
    }

    pub(super) const fn client(&self) -> &Arc<Inner> {
        &self.client
    }

    pub(super) const fn place(&self) -> &ActiveCall {
        &self.place
    }

    pub(super) const fn start(&self) -> Instant {
        self.start
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// How many attempts were started.
    pub(super) const fn attempts(&self) -> u32 {
        self.started
    }

    pub(super) const fn may_try_again(&self) -> bool {
        self.started < self.max_attempts
    }

    /// Endpoints that were tried, in order.
    pub(super) fn tried(&self) -> &[EndpointKey] {
        &self.tried
    }

    /// The endpoint of the attempt that ended last.
    pub(super) fn last_endpoint(&self) -> &str {
        self.trail.last().map_or("", |attempt| attempt.endpoint.as_str())
    }

    /// From the application's call to the first content it received.
    pub(super) const fn ttft(&self) -> Option<Duration> {
        self.ttft
    }

    /// The endpoint of the running attempt.
    pub(super) fn endpoint(&self) -> Option<&EndpointId> {
        self.attempt.as_ref().map(|attempt| attempt.lease.endpoint())
    }

    /// The lease of the running attempt.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.attempt.as_ref().map(|attempt| &attempt.lease)
    }

    /// Takes over the lease of an attempt that starts now, after the call waited for it.
    pub(super) fn attempt_started(&mut self, lease: Lease, waiting_since: Instant) {
        self.started += 1;
        self.queued += lease.started().saturating_duration_since(waiting_since);
        self.client.emitter.emit(|| Event::AttemptStarted {
            endpoint: lease.endpoint().as_str(),
            number: self.started,
        });
        self.attempt = Some(Attempt { lease, first_content: None });
    }

    /// Content has arrived: the call is committed to the running attempt.
    pub(super) fn committed(&mut self, at: Instant) {
        self.ttft = Some(at.saturating_duration_since(self.start));
        if let Some(attempt) = &mut self.attempt {
            attempt.first_content = Some(at);
            attempt.lease.first_content();
        }
    }

    /// Ends the running attempt as failed. The call goes on.
    pub(super) fn attempt_failed(&mut self, error: &ProviderError, now: Instant) {
        let Some(attempt) = &self.attempt else { return };
        let outcome = Outcome::failed(error, attempt.first_content.is_some())
            .with_timeout(self.timeouts.first_content);
        self.tried.push(attempt.lease.key());
        self.end_attempt(outcome, Some(error), now);
    }

    fn end_attempt(&mut self, outcome: Outcome, error: Option<&ProviderError>, now: Instant) {
        let Some(Attempt { lease, first_content }) = self.attempt.take() else { return };
        let began = lease.started();
        let elapsed = now.saturating_duration_since(began);
        let ttft = first_content.map(|at| at.saturating_duration_since(began));
        let mut report = AttemptReport::new(
            lease.endpoint().clone(),
            began.saturating_duration_since(self.start),
            elapsed,
        );
        report.ttft = ttft;
        report.error = error.map(ProviderError::kind);
        report.status = error.and_then(ProviderError::status);
        self.client.emitter.emit(|| Event::AttemptEnded {
            endpoint: report.endpoint.as_str(),
            number: self.started,
            outcome: outcome.label(),
            elapsed,
            ttft,
        });
        self.trail.push(report);
        lease.settle(&outcome.with_ttft(ttft), now);
    }

    /// Ends the call with an answer.
    pub(super) fn succeed(&mut self, response: &ChatResponse) -> CallReport {
        let now = now();
        let endpoint = self.endpoint().cloned().unwrap_or_else(|| EndpointId::from(""));
        let outcome = Outcome::new(End::Success)
            .with_usage(response.usage)
            .with_rate_limits(response.rate_limits);
        self.end_attempt(outcome, None, now);
        self.client.budget.deposit();
        self.end("success", now);
        let total = now.saturating_duration_since(self.start);
        let mut report = CallReport::new(ServedBy::Endpoint(endpoint), total);
        report.attempts = std::mem::take(&mut self.trail);
        report.queued = self.queued;
        report.ttft = self.ttft;
        report
    }

    /// Ends the call: the backend refused it for a reason no other endpoint would change.
    pub(super) fn refused(mut self, error: ProviderError) -> Error {
        let trail = self.take_trail();
        let endpoint = last_endpoint(&trail);
        self.fail(Error::Refused { endpoint, error, trail })
    }

    /// Ends the call: no further attempt is allowed.
    pub(super) fn exhausted(mut self, error: ProviderError) -> Error {
        let trail = self.take_trail();
        let endpoint = last_endpoint(&trail);
        self.fail(Error::Exhausted { endpoint, error, trail })
    }

    /// Ends the call: nothing can serve it before `retry_after` has passed.
    pub(super) fn unavailable(
        mut self,
        model: Option<&str>,
        retry_after: Option<Duration>,
        last: Option<ProviderError>,
    ) -> Error {
        let trail = std::mem::take(&mut self.trail);
        let unavailable = Unavailable::new(model.map(str::to_owned), retry_after);
        self.fail(Error::Unavailable(Box::new(unavailable.after(trail, last))))
    }

    /// Ends the call: its deadline has passed.
    pub(super) fn deadline_passed(&mut self, phase: Phase, partial: Option<ChatResponse>) -> Error {
        let now = now();
        self.end_attempt(Outcome::new(End::Abandoned), None, now);
        let error = Error::Deadline {
            phase,
            elapsed: now.saturating_duration_since(self.start),
            partial: partial.map(Box::new),
            trail: self.take_trail(),
        };
        self.end(error.label(), now);
        error
    }

    /// Ends the call: the client ends its running calls.
    pub(super) fn cut_off(&mut self) -> Error {
        let now = now();
        self.end_attempt(Outcome::new(End::Abandoned), None, now);
        let error = Error::Closed { trail: self.take_trail() };
        self.end(error.label(), now);
        error
    }

    /// Ends the call: the response broke off after content.
    pub(super) fn interrupted(&mut self, error: ProviderError, upstream: &mut Upstream) -> Error {
        let now = now();
        self.attempt_failed(&error, now);
        let trail = std::mem::take(&mut self.trail);
        let endpoint = last_endpoint(&trail);
        let partial = upstream.take_response();
        let interrupted = Interrupted::new(endpoint, error, partial, trail);
        let error = Error::Interrupted(Box::new(interrupted));
        self.end(error.label(), now);
        error
    }

    /// Ends the call with an error that was decided outside an attempt.
    pub(super) fn fail(mut self, error: Error) -> Error {
        self.end(error.label(), now());
        error
    }

    fn end(&mut self, outcome: &'static str, now: Instant) {
        self.ended = true;
        self.place.release();
        self.client.emitter.emit(|| Event::CallEnded {
            outcome,
            attempts: self.started,
            ttft: self.ttft,
            total: now.saturating_duration_since(self.start),
        });
    }

    fn take_trail(&mut self) -> Box<Trail> {
        Box::new(std::mem::take(&mut self.trail))
    }
}

impl Drop for Settlement {
    /// The caller left: the attempt counts as abandoned.
    fn drop(&mut self) {
        if !self.ended {
            let now = now();
            self.end_attempt(Outcome::new(End::Abandoned), None, now);
            self.end("cancelled", now);
        }
    }
}

fn last_endpoint(trail: &Trail) -> EndpointId {
    trail.last().map_or_else(|| EndpointId::from(""), |attempt| attempt.endpoint.clone())
}
