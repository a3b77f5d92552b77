//! The one end of a call.
//!
//! Whatever ends a call (an answer, a failure, a dropped future, a dropped stream) ends it here,
//! exactly once: the call's place is given back, and the observer is told. The attempts are guards
//! of their own, which end before it.

use std::sync::Arc;
use std::time::Duration;

use crate::client::attempt::Attempt;
use crate::client::books::Books;
use crate::client::caller::{Caller, Ending, Entry};
use crate::client::llm_client::Inner;
use crate::client::terms::Terms;
use crate::error::{Error, Interrupted, ProviderError, Unavailable};
use crate::event::Event;
use crate::options::Call;
use crate::queue::Slot;
use crate::quota::Whose;
use crate::report::{CallReport, EndpointId, Phase, ServedBy, Trail};
use crate::response::ChatResponse;
use crate::time::{Instant, now};
use crate::usage::Usage;

/// A running call: its terms and its books. Dropping it ends the call as cancelled.
///
/// A kilobyte, on the heap from its start: it is handed on from step to step, and each would copy it.
#[derive(Debug)]
pub(super) struct Settlement {
    terms: Terms,
    books: Books,
    /// The call's place in the queue, once it has passed.
    slot: Option<Slot>,
    ended: bool,
}

impl Settlement {
    /// Of a call that was let in.
    pub(super) fn begin(client: &Arc<Inner>, call: &Call, entry: Entry) -> Box<Self> {
        Self::of(Terms::of(client, call, entry))
    }

    /// Starts work that several calls share.
    pub(super) fn of(terms: Terms) -> Box<Self> {
        let books = Books::of(&terms.caller.request);
        Box::new(Self { terms, books, slot: None, ended: false })
    }

    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) const fn books(&self) -> &Books {
        &self.books
    }

    /// The terms, for what runs, beside the books, for what is decided meanwhile.
    pub(super) const fn parts(&mut self) -> (&Terms, &mut Books) {
        (&self.terms, &mut self.books)
    }

    /// The terms and the books, beside the call's place in the queue.
    pub(super) const fn waiting(&mut self) -> (&Terms, &Books, &mut Option<Slot>) {
        (&self.terms, &self.books, &mut self.slot)
    }

    /// Goes on with `model`. The call's place was one for the model it leaves.
    pub(super) fn fall_back(&mut self, model: Arc<str>) {
        self.books.fall_back(model);
        if let Some(slot) = self.slot.take() {
            slot.settle(0);
        }
    }

    /// The call is committed to `attempt`.
    pub(super) fn committed(&self, attempt: &Attempt) {
        if let (Some(slot), Some(ttft)) = (&self.slot, attempt.ttft()) {
            slot.first_content(ttft);
        }
    }

    /// Ends the call with an answer.
    pub(super) fn succeed(
        mut self: Box<Self>,
        attempt: Attempt,
        response: &ChatResponse,
    ) -> CallReport {
        let now = now();
        let endpoint = attempt.endpoint().clone();
        self.books.succeed(attempt, response, now, self.slot.as_mut());
        self.terms.client.budget.deposit();
        self.learn(&response.usage);
        self.end("success", Some((&endpoint, response)), now);
        let served_by = ServedBy::Endpoint(endpoint);
        let cost = self.books.bill().cost();
        let total = now.saturating_duration_since(self.terms.start);
        let mut report = CallReport::new(served_by, total);
        report.attempts = self.books.take_trail();
        report.queued = self.books.queued();
        report.upstream = self.books.upstream(now);
        report.ttft = self.books.ttft();
        report.cost = cost;
        report.fell_back_to = self.books.fallback().map(|model| (**model).to_owned());
        report
    }

    /// Ends the call with an error that carries the trail.
    pub(super) fn fail(mut self: Box<Self>, error: impl FnOnce(Box<Trail>) -> Error) -> Error {
        let error = error(Box::new(self.books.take_trail()));
        self.end(error.label(), None, now());
        error
    }

    /// Ends the call: nothing can serve it before `retry_after` has passed.
    pub(super) fn unavailable(
        mut self: Box<Self>,
        model: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Error {
        let last = self.books.take_last_error();
        let unavailable = Unavailable::new(model.map(str::to_owned), retry_after);
        self.fail(|trail| Error::Unavailable(Box::new(unavailable.after(*trail, last))))
    }

    /// Ends the call: its deadline has passed.
    pub(super) fn deadline_passed(
        self: Box<Self>,
        phase: Phase,
        partial: Option<ChatResponse>,
    ) -> Error {
        let elapsed = now().saturating_duration_since(self.terms.start);
        let partial = partial.map(Box::new);
        self.fail(|trail| Error::Deadline { phase, elapsed, partial, trail })
    }

    /// Ends the call: the response broke off after content.
    pub(super) fn interrupted(
        mut self: Box<Self>,
        attempt: Attempt,
        error: ProviderError,
        usage: Option<Usage>,
        partial: ChatResponse,
    ) -> Error {
        let failed = self.books.fail(attempt, error, usage);
        self.fail(|trail| {
            let interrupted = Interrupted::new(failed.endpoint, failed.error, partial, *trail);
            Error::Interrupted(Box::new(interrupted))
        })
    }

    /// What the call used teaches the estimates of the calls to come.
    fn learn(&self, usage: &Usage) {
        let Terms { client, caller: Caller { request, tenant, .. }, .. } = &self.terms;
        if let Some(quota) = &client.quota {
            let whose = Whose::new(tenant.as_ref(), request.model.as_deref(), &[]);
            quota.learn(request, usage, &whose);
        }
    }

    fn end(&mut self, outcome: &'static str, answer: Option<Answer<'_>>, now: Instant) {
        self.ended = true;
        self.settle(now);
        self.terms.place.release();
        if !self.terms.shared {
            let end = self.ending(outcome, answer, now);
            self.terms.caller.tell_end(&self.terms.client, &end);
        }
    }

    fn settle(&mut self, now: Instant) {
        let reserved = self.books.bill().reserved();
        let charged = self.books.bill().settle(now);
        if let Some(reserved) = reserved {
            let call = self.terms.caller.call;
            self.terms.client.emitter.emit(|| Event::QuotaSettled { call, reserved, charged });
        }
        if let Some(slot) = self.slot.take() {
            slot.settle(charged);
        }
    }

    fn ending<'a>(
        &mut self,
        outcome: &'static str,
        answer: Option<Answer<'a>>,
        now: Instant,
    ) -> Ending<'a> {
        let total = now.saturating_duration_since(self.terms.start);
        let (queued, upstream) = (self.books.queued(), self.books.upstream(now));
        let mut end = Ending::new(outcome, total);
        end.attempts = self.books.attempts();
        end.usage = self.books.bill().used();
        end.cost = self.books.bill().cost();
        end.ttft = self.books.ttft();
        end.queued = queued;
        end.overhead = Some(total.saturating_sub(queued).saturating_sub(upstream));
        if let Some((endpoint, response)) = answer {
            (end.source, end.usage) = ("endpoint", response.usage);
            (end.endpoint, end.response) = (Some(endpoint), Some(response));
        }
        end
    }
}

/// Who answered, and what.
type Answer<'a> = (&'a EndpointId, &'a ChatResponse);

impl Drop for Settlement {
    /// The caller left. Its attempts have ended by now: they are dropped before their call.
    fn drop(&mut self) {
        if !self.ended {
            self.end("cancelled", None, now());
        }
    }
}
