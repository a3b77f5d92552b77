//! When the chunks of an attempt arrive, for whoever listens.

use std::sync::Arc;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::client::attempt::Attempt;
use crate::client::terms::Terms;
use crate::event::{Emitter, Event};
use crate::report::EndpointId;
use crate::request::ChatRequest;
use crate::time::{Instant, now};

/// What is known of an attempt's chunks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When the first one of any kind arrived.
    pub(super) first_chunk: Option<Instant>,
    /// Those of content.
    pub(super) chunks: u32,
    /// The longest time between two of content.
    pub(super) longest_gap: Option<Duration>,
}

/// Keeps an attempt's pace. There is one only where somebody listens, for it reads the clock with
/// every chunk.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    /// When the last chunk of content arrived.
    last: Option<Instant>,
    /// Who wants to be told of every chunk.
    told: Option<Emitter>,
    call: u64,
    number: u32,
    endpoint: EndpointId,
    provider: Arc<str>,
    fallback: Option<Arc<str>>,
    request: Arc<ChatRequest>,
}

impl Pacer {
    /// For the chunks of `attempt`; `None` where nobody listens.
    pub(super) fn of(terms: &Terms, attempt: &Attempt) -> Option<Self> {
        let emitter = &terms.client.emitter;
        emitter.is_observed().then(|| Self {
            pace: Pace::default(),
            last: None,
            told: emitter.wants_chunks().then(|| emitter.clone()),
            call: terms.caller.call,
            number: attempt.number(),
            endpoint: attempt.endpoint().clone(),
            provider: Arc::clone(attempt.lease().provider_id()),
            fallback: attempt.fallback().cloned(),
            request: Arc::clone(&terms.caller.request),
        })
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// A chunk has arrived.
    pub(super) fn arrived(&mut self, chunk: &Chunk) {
        let at = now();
        self.pace.first_chunk.get_or_insert(at);
        if !chunk.is_content() {
            return;
        }
        self.pace.chunks = self.pace.chunks.saturating_add(1);
        if let Some(last) = self.last.replace(at) {
            let gap = at.saturating_duration_since(last);
            self.pace.longest_gap = self.pace.longest_gap.max(Some(gap));
            self.tell(gap);
        }
    }

    fn tell(&self, gap: Duration) {
        if let Some(emitter) = &self.told {
            emitter.emit(|| Event::ChunkReceived {
                call: self.call,
                number: self.number,
                endpoint: self.endpoint.as_str(),
                provider: &self.provider,
                model: self.fallback.as_deref().or(self.request.model.as_deref()),
                gap,
            });
        }
    }
}
