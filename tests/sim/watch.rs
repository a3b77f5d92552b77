//! What the client said it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evenkeel::{Event, Observer};

use crate::world::PLANNED;

/// Counts of events, to be held against what callers and servers saw.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    calls_ended: AtomicU64,
    attempts_started: AtomicU64,
    attempts_ended: AtomicU64,
    hedges: AtomicU64,
    hedges_ended: AtomicU64,
    input_given: AtomicU64,
    /// Whether whoever told us has panicked, and tells nothing more.
    blind: AtomicBool,
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

    pub(crate) fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed)
    }

    pub(crate) fn hedges(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.hedges), count(&self.hedges_ended))
    }
}

/// Shared with the clients, which want observers of their own.
pub(crate) struct Eye {
    pub(crate) watch: Arc<Watch>,
    /// Of the events, the one at which it panics.
    pub(crate) panics_at: Option<u64>,
    pub(crate) seen: AtomicU64,
}

impl Observer for Eye {
    fn on_event(&self, event: &Event<'_>) {
        if self.panics_at == Some(self.seen.fetch_add(1, Ordering::Relaxed)) {
            self.watch.blind.store(true, Ordering::Relaxed);
            panic!("{PLANNED}");
        }
        let counter = match event {
            Event::CallEnded { .. } => &self.watch.calls_ended,
            Event::AttemptStarted { .. } => &self.watch.attempts_started,
            Event::AttemptEnded { .. } => &self.watch.attempts_ended,
            Event::Hedge { .. } => &self.watch.hedges,
            Event::HedgeEnded { .. } => &self.watch.hedges_ended,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
