//! What the client said it did.

use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel::{Event, Observer};

/// Counts of events, to be held against what callers and servers saw.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    calls_ended: AtomicU64,
    attempts_started: AtomicU64,
    attempts_ended: AtomicU64,
    hedges: AtomicU64,
    hedges_ended: AtomicU64,
    input_given: AtomicU64,
}

impl Watch {
    pub(crate) fn calls_ended(&self) -> u64 {
        self.calls_ended.load(Ordering::Relaxed)
    }

    /// How many began and how many ended.
    pub(crate) fn attempts(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.attempts_started), count(&self.attempts_ended))
    }

    /// A provider was given an attempt with so many input tokens.
    pub(crate) fn given(&self, input: Option<u64>) {
        self.input_given.fetch_add(input.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn input_given(&self) -> u64 {
        self.input_given.load(Ordering::Relaxed)
    }

    pub(crate) fn hedges(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.hedges), count(&self.hedges_ended))
    }
}

/// Shared with the client, which wants an observer of its own.
pub(crate) struct Eye(pub(crate) std::sync::Arc<Watch>);

impl Observer for Eye {
    fn on_event(&self, event: &Event<'_>) {
        let counter = match event {
            Event::CallEnded { .. } => &self.0.calls_ended,
            Event::AttemptStarted { .. } => &self.0.attempts_started,
            Event::AttemptEnded { .. } => &self.0.attempts_ended,
            Event::Hedge { .. } => &self.0.hedges,
            Event::HedgeEnded { .. } => &self.0.hedges_ended,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
