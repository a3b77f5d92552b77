//! What a call remembers of its attempts.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::{EndpointKey, Lease};
use crate::client::attempt::{Attempt, Close};
use crate::client::bill::{Bill, Billed};
use crate::client::opening::{Committed, Opened};
use crate::client::stop::{Failed, Stop};
use crate::client::terms::Terms;
use crate::client::upstream::Failure;
use crate::error::{ErrorKind, ProviderError};
use crate::outcome::{End, Outcome};
use crate::queue::Slot;
use crate::report::{Phase, Trail};
use crate::request::ChatRequest;
use crate::response::ChatResponse;
use crate::time::{Instant, now};
use crate::usage::Usage;

/// The books of a call: every attempt goes through them when it starts and when it ends.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// How many attempts were started.
    started: u32,
    /// How many of them were started with models the call has left.
    with_earlier_models: u32,
    hedged: bool,
    /// Endpoints that were tried with this model, each once, the one tried last at the end.
    tried: Vec<EndpointKey>,
    trail: Trail,
    queued: Duration,
    ttft: Option<Duration>,
    /// The failure of the attempt that failed last.
    last_error: Option<ProviderError>,
    /// Attempts with this model that were refused for their rate.
    rate_limited: u32,
    bill: Bill,
    /// The fallback model the call has come to.
    fallback: Option<Arc<str>>,
    upstream: Upstream,
}

/// How long attempts ran, those that ran side by side counted once.
#[derive(Debug, Default)]
struct Upstream {
    running: u32,
    /// When the first of those that run began.
    since: Option<Instant>,
    elapsed: Duration,
}

impl Upstream {
    fn begin(&mut self, at: Instant) {
        self.running += 1;
        self.since.get_or_insert(at);
    }

    fn end(&mut self, at: Instant) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.rest(at);
        }
    }

    fn rest(&mut self, at: Instant) {
        if let Some(since) = self.since.take() {
            self.elapsed += at.saturating_duration_since(since);
        }
    }
}

/// So many refusals for a rate are not counted as attempts where calls wait windows out.
const MOST_RATE_LIMITED: u32 = 32;

impl Books {
    pub(super) fn of(request: &ChatRequest) -> Self {
        Self { bill: Bill::of(request), ..Self::default() }
    }

    /// How many attempts were started.
    pub(super) const fn attempts(&self) -> u32 {
        self.started
    }

    /// How many of them were started with the model the call has come to.
    pub(super) const fn attempts_with_this_model(&self) -> u32 {
        self.started - self.with_earlier_models
    }

    /// Whether the call may make another attempt. One that only met a window that was not open does
    /// not count where calls wait for windows to open.
    pub(super) fn may_try_again(&self, terms: &Terms) -> bool {
        let waits = terms.client.waiting.is_some();
        let excused = if waits { self.rate_limited.min(MOST_RATE_LIMITED) } else { 0 };
        self.attempts_with_this_model() - excused < terms.max_attempts
    }

    pub(super) const fn bill(&mut self) -> &mut Bill {
        &mut self.bill
    }

    /// Whether an attempt was started beside another one.
    pub(super) const fn has_hedged(&self) -> bool {
        self.hedged
    }

    /// Endpoints that were tried with this model, the one tried last at the end.
    pub(super) fn tried(&self) -> &[EndpointKey] {
        &self.tried
    }

    /// From the application's call to the first content it received.
    pub(super) const fn ttft(&self) -> Option<Duration> {
        self.ttft
    }

    pub(super) const fn queued(&self) -> Duration {
        self.queued
    }

    /// How long attempts ran. Those that have not ended were dropped, at `now`.
    pub(super) fn upstream(&mut self, now: Instant) -> Duration {
        self.upstream.rest(now);
        self.upstream.elapsed
    }

    /// The fallback model the call has come to.
    pub(super) const fn fallback(&self) -> Option<&Arc<str>> {
        self.fallback.as_ref()
    }

    pub(super) fn take_trail(&mut self) -> Trail {
        std::mem::take(&mut self.trail)
    }

    pub(super) fn take_last_error(&mut self) -> Option<ProviderError> {
        self.last_error.take()
    }

    /// Starts an attempt with a lease for which the call has waited since `since`.
    pub(super) fn start(&mut self, terms: &Terms, lease: Lease, since: Instant) -> Attempt {
        self.queued += lease.started().saturating_duration_since(since);
        let named = self.open(&lease);
        Attempt::start(terms, lease, named, self.fallback.clone())
    }

    /// Starts an attempt beside `first`, which has shown no content yet.
    pub(super) fn start_hedge(&mut self, terms: &Terms, lease: Lease, first: &Attempt) -> Attempt {
        self.hedged = true;
        let named = self.open(&lease);
        let after = lease.started().saturating_duration_since(first.started());
        Attempt::start_hedge(terms, lease, named, self.fallback.clone(), after)
    }

    /// Puts an attempt on the bill: its number, and the input it is charged for where nobody counts.
    fn open(&mut self, lease: &Lease) -> (u32, u64) {
        self.started += 1;
        self.upstream.begin(lease.started());
        self.bill.open(self.started, lease.price());
        (self.started, self.bill.input())
    }

    /// Goes on with `model`, for which every endpoint is new.
    pub(super) fn fall_back(&mut self, model: Arc<str>) {
        self.with_earlier_models = self.started;
        self.tried.clear();
        self.rate_limited = 0;
        self.fallback = Some(model);
    }

    /// Takes note of how far a lone attempt came: the call is committed to it, it failed, or the
    /// call must stop.
    pub(super) fn conclude(
        &mut self,
        terms: &Terms,
        attempt: Attempt,
        opened: Result<Opened, Failure>,
    ) -> Result<Result<Committed, Failed>, Stop> {
        match opened {
            Ok(opened) => Ok(Ok(self.commit(terms, attempt, opened))),
            Err(Failure::Provider(error)) => Ok(Err(self.fail(attempt, error, None))),
            Err(Failure::Deadline) => {
                self.abandon(attempt, None);
                Err(Stop::Deadline(Phase::FirstContent))
            }
            Err(Failure::CutOff) => {
                self.abandon(attempt, None);
                Err(Stop::CutOff)
            }
        }
    }

    fn commit(&mut self, terms: &Terms, mut attempt: Attempt, opened: Opened) -> Committed {
        let first_content = opened.first_content();
        attempt.commit(first_content);
        attempt.paced(opened.pace());
        self.ttft = first_content.map(|at| at.saturating_duration_since(terms.start));
        if let Some(at) = first_content {
            terms.client.hedging.learn(&attempt, at);
        }
        Committed { opened, attempt }
    }

    /// Ends an attempt as failed, for which the server has counted `usage`. The call goes on.
    pub(super) fn fail(
        &mut self,
        attempt: Attempt,
        error: ProviderError,
        usage: Option<Usage>,
    ) -> Failed {
        let at = now();
        let endpoint = attempt.endpoint().clone();
        let outcome = attempt.failure(&error, usage);
        self.note_tried(attempt.key());
        self.rate_limited += u32::from(error.kind() == ErrorKind::RateLimited);
        self.close(attempt, &outcome, Some(&error), at);
        self.last_error = Some(error.clone());
        Failed { endpoint, error, at }
    }

    /// Ends an attempt because the call is committed to another one.
    pub(super) fn lose(&mut self, terms: &Terms, mut attempt: Attempt) {
        let now = now();
        // It is the slow attempts that lose. If they were left out, the rest would look faster and
        // faster, and the client would hedge sooner and sooner.
        terms.client.hedging.learn(&attempt, now);
        attempt.lose();
        self.close(attempt, &Outcome::new(End::Abandoned), None, now);
    }

    /// Ends an attempt, for which the server has counted `usage`, because the call ends.
    pub(super) fn abandon(&mut self, attempt: Attempt, usage: Option<Usage>) {
        let mut outcome = Outcome::new(End::Abandoned);
        outcome.usage = usage;
        self.close(attempt, &outcome, None, now());
    }

    /// Ends the attempt that was streaming, because the caller left.
    pub(super) fn cancel(&mut self, attempt: Attempt) {
        let counted = self.bill.counted();
        self.abandon(attempt, Some(counted));
    }

    /// Ends the attempt that served the call with `response`.
    pub(super) fn succeed(
        &mut self,
        attempt: Attempt,
        response: &ChatResponse,
        now: Instant,
        slot: Option<&mut Slot>,
    ) {
        let outcome = Outcome::new(End::Success)
            .with_usage(response.usage)
            .with_rate_limits(response.rate_limits);
        let billed = self.settle(&attempt, &outcome, now);
        // Before the lease ends and lets another call pass: whose turn that is depends on it.
        if let Some(slot) = slot {
            slot.used(self.bill.tokens());
        }
        let response = Some(response);
        self.trail
            .push(attempt.close(&Close { outcome: &outcome, error: None, response, billed }, now));
    }

    /// Ends an attempt: it goes on the bill by its row of the table, and into the trail.
    fn close(
        &mut self,
        attempt: Attempt,
        outcome: &Outcome,
        error: Option<&ProviderError>,
        now: Instant,
    ) {
        let billed = self.settle(&attempt, outcome, now);
        self.trail.push(attempt.close(&Close { outcome, error, response: None, billed }, now));
    }

    fn settle(&mut self, attempt: &Attempt, outcome: &Outcome, now: Instant) -> Billed {
        self.upstream.end(now);
        self.bill.close(attempt.number(), outcome.end.row().charge, outcome.usage.as_ref())
    }

    /// Remembers that an endpoint was tried last.
    pub(super) fn note_tried(&mut self, key: EndpointKey) {
        self.tried.retain(|tried| *tried != key);
        self.tried.push(key);
    }
}
