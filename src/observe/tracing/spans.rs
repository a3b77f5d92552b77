//! The observer, and the spans that are open.

use std::sync::Arc;

use ::tracing::{Level, Span, event};
use dashmap::DashMap;

use crate::event::{Event, Observer};
use crate::observe::tracing::fields;

/// So many calls at once have spans, unless said otherwise.
const MOST_CALLS: usize = 65_536;

/// Opens a span for each call and each attempt, and closes it when that ends.
///
/// Cheap to clone; clones are one. One client should have it: calls are told apart by their number.
///
/// While nobody collects spans of level `INFO`, an event costs a check of the facade's. Otherwise the
/// open spans are found in a sharded map; a call allocates its entry there, and each attempt one.
#[derive(Clone)]
pub struct Spans {
    shared: Arc<Shared>,
}

struct Shared {
    calls: DashMap<u64, Span>,
    attempts: DashMap<(u64, u32), Span>,
    most: usize,
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

impl Spans {
    /// For at most 65,536 calls at once; further ones have no spans.
    #[must_use]
    pub fn new() -> Self {
        Self::with_most_calls(MOST_CALLS)
    }

    /// For at most so many calls at once. Attempts may be twice as many.
    #[must_use]
    pub fn with_most_calls(most: usize) -> Self {
        let (calls, attempts) = (DashMap::new(), DashMap::new());
        Self { shared: Arc::new(Shared { calls, attempts, most }) }
    }

    /// The span of a call that runs.
    #[must_use]
    pub fn call(&self, call: u64) -> Option<Span> {
        self.shared.calls.get(&call).map(|span| span.clone())
    }

    /// The span of an attempt that runs, by the numbers in its
    /// [`CallContext`](crate::CallContext): to enter it around a provider's work.
    #[must_use]
    pub fn attempt(&self, call: u64, attempt: u32) -> Option<Span> {
        self.shared.attempts.get(&(call, attempt)).map(|span| span.clone())
    }

    /// How many spans are open, of calls and of attempts.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.shared.calls.len(), self.shared.attempts.len())
    }

    fn start_call(&self, call: u64, event: &Event<'_>) {
        if self.shared.calls.len() < self.shared.most {
            let span = fields::call(event);
            if !span.is_disabled() {
                self.shared.calls.insert(call, span);
            }
        }
    }

    fn start_attempt(&self, (call, number): (u64, u32), event: &Event<'_>) {
        // A call without a span has attempts without.
        let Some(parent) = self.call(call) else { return };
        if self.shared.attempts.len() < self.shared.most.saturating_mul(2) {
            fields::note_provider(&parent, event);
            self.shared.attempts.insert((call, number), fields::attempt(&parent, event));
        }
    }

    fn end_call(&self, call: u64, event: &Event<'_>) {
        if let Some((_, span)) = self.shared.calls.remove(&call) {
            fields::end_call(&span, event);
        }
    }

    fn end_attempt(&self, key: (u64, u32), event: &Event<'_>) {
        if let Some((_, span)) = self.shared.attempts.remove(&key) {
            fields::end_attempt(&span, event);
        }
    }

    /// Tells what was decided, in the span of its call.
    fn tell(&self, call: u64, tell: impl FnOnce(&Span)) {
        if let Some(span) = self.call(call) {
            tell(&span);
        }
    }
}

impl Observer for Spans {
    fn on_event(&self, event: &Event<'_>) {
        match *event {
            Event::CallStarted { call, .. } => self.start_call(call, event),
            Event::CallEnded { call, .. } => self.end_call(call, event),
            Event::AttemptStarted { call, number, .. } => self.start_attempt((call, number), event),
            Event::AttemptEnded { call, number, .. } => self.end_attempt((call, number), event),
            Event::Retry { call, endpoint, reason, delay } => self.tell(call, |span| {
                event!(parent: span, Level::INFO, endpoint, reason, ?delay, "retry");
            }),
            Event::RetryBudgetExhausted { call, endpoint } => self.tell(call, |span| {
                event!(parent: span, Level::WARN, endpoint, "no retry budget left");
            }),
            Event::Hedge { call, endpoint, after } => self.tell(call, |span| {
                event!(parent: span, Level::INFO, endpoint, ?after, "hedge");
            }),
            Event::HedgeEnded { call, endpoint, outcome } => self.tell(call, |span| {
                event!(parent: span, Level::DEBUG, endpoint, outcome, "hedge ended");
            }),
            Event::Fallback { call, from, to, why } => self.tell(call, |span| {
                event!(parent: span, Level::INFO, from, to, why, "fallback");
            }),
            Event::Cache { call, outcome, why, similarity, .. } => self.tell(call, |span| {
                event!(parent: span, Level::DEBUG, outcome, why, ?similarity, "cache");
            }),
            Event::QuotaGranted { call, tokens, waited, .. } => self.tell(call, |span| {
                event!(parent: span, Level::DEBUG, tokens, ?waited, "quota granted");
            }),
            Event::QuotaDenied { call, level, limit, retry_after } => self.tell(call, |span| {
                event!(parent: span, Level::INFO, level, limit, ?retry_after, "quota denied");
            }),
            Event::Queued { call, waited, .. } => self.tell(call, |span| {
                event!(parent: span, Level::DEBUG, ?waited, "let through by the queue");
            }),
            Event::QueueRefused { call, why, .. } => self.tell(call, |span| {
                event!(parent: span, Level::INFO, why, "turned away by the queue");
            }),
            Event::EndpointState { endpoint, state, why, lasts } => match state {
                "eligible" | "trial" => {
                    event!(parent: None, Level::INFO, endpoint, state, why, ?lasts, "endpoint");
                }
                _ => event!(parent: None, Level::WARN, endpoint, state, why, ?lasts, "endpoint"),
            },
            Event::StoreFailed { store, why } => {
                event!(parent: None, Level::DEBUG, store, why, "store failed");
            }
            Event::StoreState { store, state } => {
                event!(parent: None, Level::WARN, store, state, "store");
            }
            Event::QuotaSettled { .. }
            | Event::ChunkReceived { .. }
            | Event::EndpointConfigured { .. } => {}
        }
    }
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, attempts) = self.open();
        f.debug_struct("Spans").field("calls", &calls).field("attempts", &attempts).finish()
    }
}
