//! A call as the observer sees it.

use std::sync::Arc;
use std::time::Duration;

use crate::client::active::ActiveCall;
use crate::client::llm_client::Inner;
use crate::client::opening::Mode;
use crate::client::terms::closed;
use crate::error::Error;
use crate::event::Event;
use crate::options::{Call, Priority, TenantId};
use crate::report::EndpointId;
use crate::request::ChatRequest;
use crate::response::ChatResponse;
use crate::time::{Instant, now};
use crate::usage::{Cost, Usage};

/// Who made a call, and what it is told of as. Its beginning is told once, and its end once.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The call's number; 0 where nobody listens.
    pub(super) call: u64,
    pub(super) mode: Mode,
    pub(super) request: Arc<ChatRequest>,
    pub(super) tenant: Option<TenantId>,
    pub(super) priority: Priority,
}

/// A call that was let in.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) caller: Caller,
    pub(super) place: ActiveCall,
    pub(super) start: Instant,
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub(super) outcome: &'static str,
    /// Where its answer came from.
    pub(super) source: &'static str,
    pub(super) endpoint: Option<&'a EndpointId>,
    pub(super) response: Option<&'a ChatResponse>,
    pub(super) attempts: u32,
    pub(super) usage: Usage,
    pub(super) cost: Option<Cost>,
    pub(super) ttft: Option<Duration>,
    pub(super) queued: Duration,
    pub(super) total: Duration,
    pub(super) overhead: Option<Duration>,
}

impl<'a> Ending<'a> {
    /// An end after `total` of which nothing else is known.
    pub(super) fn new(outcome: &'static str, total: Duration) -> Self {
        Self {
            outcome,
            source: "none",
            endpoint: None,
            response: None,
            attempts: 0,
            usage: Usage::new(),
            cost: None,
            ttft: None,
            queued: Duration::ZERO,
            total,
            overhead: None,
        }
    }
}

impl Caller {
    /// Lets a call in; `Err` when the client takes no more.
    pub(super) fn enter(client: &Inner, call: &Call, mode: Mode) -> Result<Entry, Error> {
        let caller = Self {
            call: client.emitter.next_call(),
            mode,
            request: Arc::clone(&call.request),
            tenant: call.options.tenant.clone(),
            priority: call.options.priority,
        };
        caller.tell_start(client);
        match client.active.enter() {
            Some(place) => Ok(Entry { caller, place, start: now() }),
            None => {
                let error = closed();
                caller.tell_end(client, &Ending::new(error.label(), Duration::ZERO));
                Err(error)
            }
        }
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.request.model.as_deref()
    }

    fn tell_start(&self, client: &Inner) {
        let sampling = &self.request.sampling;
        client.emitter.emit(|| Event::CallStarted {
            call: self.call,
            operation: self.mode.label(),
            model: self.model(),
            priority: self.priority,
            tenant: self.tenant.as_ref(),
            max_output_tokens: sampling.max_output_tokens,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
        });
    }

    /// The call has ended.
    pub(super) fn tell_end(&self, client: &Inner, end: &Ending<'_>) {
        client.emitter.emit(|| Event::CallEnded {
            call: self.call,
            operation: self.mode.label(),
            model: self.model(),
            priority: self.priority,
            tenant: self.tenant.as_ref(),
            outcome: end.outcome,
            source: end.source,
            endpoint: end.endpoint,
            response_model: end.response.and_then(|response| response.model.as_deref()),
            response_id: end.response.and_then(|response| response.id.as_deref()),
            attempts: end.attempts,
            usage: end.usage,
            cost: end.cost,
            ttft: end.ttft,
            queued: end.queued,
            total: end.total,
            overhead: end.overhead,
        });
    }
}
