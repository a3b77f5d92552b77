//! The work of an attempt, up to the point where the call is committed to it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::balance::{Demand, Headers};
use crate::chunk::{Chunk, ChunkStream};
use crate::client::active::ActiveCall;
use crate::client::attempt::Attempt;
use crate::client::contained::Contained;
use crate::client::llm_client::Inner;
use crate::client::pace::{Pace, Pacer};
use crate::client::terms::Terms;
use crate::client::upstream::{Failure, Limits, Upstream};
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::{ErrorKind, ProviderError};
use crate::options::Call;
use crate::provider::{CallContext, Capabilities, Provider};
use crate::response::ChatResponse;
use crate::time::{Instant, now};

/// The most chunks without content a provider may send before its first content.
const MAX_PREAMBLE: usize = 1024;

/// Whether the application wants the answer whole or in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Stream,
}

impl Mode {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Whole => "complete",
            Self::Stream => "stream",
        }
    }
}

/// What is asked of an endpoint: a call, by now perhaps of another model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) call: &'a Call,
    pub(super) mode: Mode,
    /// The model that took the place of the one the call names.
    pub(super) fallback: Option<&'a Arc<str>>,
}

impl<'a> Ask<'a> {
    pub(super) fn model(&self) -> Option<&'a str> {
        self.fallback.map(|model| &**model).or(self.call.request.model.as_deref())
    }

    /// What is asked of the client's balancer. The prompt is only hashed where that tells.
    pub(super) fn demand(&self, client: &Inner) -> Demand<'a> {
        let demand = Demand::of(&self.call.request).model(self.model());
        if client.balancer.heeds_affinity() {
            let session = self.call.options.session.as_deref();
            return demand.with_affinity(session, &self.call.request);
        }
        demand
    }

    /// Whether a provider with these capabilities is asked for a stream.
    fn streams(&self, capabilities: Capabilities) -> bool {
        self.mode == Mode::Stream || self.shows_first_content(capabilities)
    }

    /// Whether content can be seen before the answer is whole.
    pub(super) fn shows_first_content(&self, capabilities: Capabilities) -> bool {
        let raw = self.call.options.keep_raw && self.mode == Mode::Whole;
        capabilities.streaming && !raw
    }
}

/// An attempt the call is committed to.
#[derive(Debug)]
pub(super) struct Committed {
    // The order is that of dropping: the connection ends before the attempt does.
    pub(super) opened: Opened,
    pub(super) attempt: Attempt,
}

/// What an attempt opened. On the heap from where it arrives: it is handed on through several futures, each of
/// which would carry the room for it and copy it.
#[derive(Debug)]
pub(super) enum Opened {
    /// The provider answered whole.
    Whole(Arc<ChatResponse>),
    /// Content is arriving.
    Stream(Box<OpenedStream>),
}

/// A stream whose first content has arrived.
#[derive(Debug)]
pub(super) struct OpenedStream {
    /// Chunks that arrived and were not handed out yet.
    pub(super) primed: VecDeque<Chunk>,
    pub(super) upstream: Upstream,
    pub(super) watchdog: Watchdog,
}

impl OpenedStream {
    /// The next chunk from upstream.
    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        place: &ActiveCall,
    ) -> Poll<Result<Chunk, Failure>> {
        self.upstream.poll_chunk(cx, &mut self.watchdog, place)
    }
}

impl Opened {
    /// When its chunks arrived.
    pub(super) fn pace(&self) -> Pace {
        match self {
            Self::Whole(_) => Pace::default(),
            Self::Stream(stream) => stream.upstream.pace(),
        }
    }

    /// When content began to arrive, where that was seen.
    pub(super) const fn first_content(&self) -> Option<Instant> {
        match self {
            Self::Whole(_) => None,
            Self::Stream(stream) => stream.upstream.first_content(),
        }
    }
}

/// The work of one attempt. It borrows nothing of the attempt, so that the two can be kept and
/// ended side by side.
pub(super) struct Opening<'a> {
    terms: &'a Terms,
    ask: Ask<'a>,
    provider: Arc<dyn Provider>,
    capabilities: Capabilities,
    cx: CallContext,
    started: Instant,
    headers: Option<Headers>,
    /// Taken by the stream, where one is opened.
    pacer: Option<Pacer>,
}

impl<'a> Opening<'a> {
    pub(super) fn of(terms: &'a Terms, ask: Ask<'a>, attempt: &Attempt) -> Self {
        let lease = attempt.lease();
        Self {
            terms,
            ask,
            provider: Arc::clone(lease.provider()),
            capabilities: lease.capabilities(),
            cx: context(terms, ask, attempt),
            started: lease.started(),
            headers: lease.headers(),
            pacer: Pacer::of(terms, attempt),
        }
    }

    /// Runs until the first content.
    pub(super) async fn run(&mut self) -> Result<Opened, Failure> {
        if self.ask.streams(self.capabilities) {
            self.stream().await.map(Opened::Stream)
        } else {
            self.whole().await.map(Opened::Whole)
        }
    }

    /// A whole answer has no first content to wait for, so only the call's deadline bounds it.
    async fn whole(&self) -> Result<Arc<ChatResponse>, Failure> {
        let (place, deadline) = (&self.terms.place, self.terms.deadline());
        let work =
            pin!(Contained::new(|| self.provider.complete(&self.ask.call.request, &self.cx)));
        match guarded(&mut Watchdog::default(), place, deadline, work).await {
            Ok(answer) => answer.map(Arc::new).map_err(Failure::Provider),
            Err(Alarm::CutOff) => Err(Failure::CutOff),
            Err(Alarm::Limit) => Err(Failure::Deadline),
        }
    }

    async fn stream(&mut self) -> Result<Box<OpenedStream>, Failure> {
        let Terms { place, timeouts, .. } = self.terms;
        let mut limits = Limits::new(self.started, *timeouts, self.terms.until().clone());
        if !self.capabilities.streaming {
            limits = limits.whole();
        }
        let mut watchdog = Watchdog::default();
        let limit = limits.first_content();
        let opened = {
            let work = Contained::new(|| self.provider.stream(&self.ask.call.request, &self.cx));
            guarded(&mut watchdog, place, limit, pin!(work)).await
        };
        let stream = match opened {
            Ok(stream) => stream.map_err(Failure::Provider)?,
            Err(Alarm::CutOff) => return Err(Failure::CutOff),
            Err(Alarm::Limit) => return Err(limits.expired(limit, false)),
        };
        self.prime(stream, limits, watchdog).await
    }

    /// Receives up to the first content: the call may not be committed to a backend that has only
    /// promised some.
    async fn prime(
        &mut self,
        stream: ChunkStream,
        limits: Limits,
        watchdog: Watchdog,
    ) -> Result<Box<OpenedStream>, Failure> {
        let bounds = self.terms.client.bounds;
        let upstream = Upstream::new(stream, limits, bounds, self.pacer.take());
        let mut opened = Box::new(OpenedStream { primed: VecDeque::new(), upstream, watchdog });
        for _ in 0..=MAX_PREAMBLE {
            let chunk = poll_fn(|cx| opened.poll_chunk(cx, &self.terms.place)).await?;
            self.note_headers(&chunk);
            let complete = chunk.is_done();
            // Signs of life have done their work: by the time the caller saw them, there is content.
            // They cost a server two bytes each.
            if !matches!(chunk, Chunk::Heartbeat) {
                opened.primed.push_back(chunk);
            }
            if complete || opened.upstream.is_committed() {
                return Ok(opened);
            }
        }
        Err(Failure::Provider(endless_preamble()))
    }

    fn note_headers(&self, chunk: &Chunk) {
        if let (Chunk::Start(start), Some(headers)) = (chunk, &self.headers)
            && let Some(limits) = &start.rate_limits
        {
            headers.arrived(limits, now());
        }
    }
}

fn context(terms: &Terms, ask: Ask<'_>, attempt: &Attempt) -> CallContext {
    let options = &ask.call.options;
    let mut cx = CallContext::new(terms.deadline());
    cx.model = attempt.lease().upstream_model().or(ask.fallback).cloned();
    cx.call = terms.caller.call;
    cx.attempt = attempt.number();
    cx.connect_timeout = terms.timeouts.connect;
    cx.idempotency_key = options.idempotency_key.clone();
    cx.keep_raw = options.keep_raw;
    cx
}

fn endless_preamble() -> ProviderError {
    let message = format!("more than {MAX_PREAMBLE} chunks before any content");
    ProviderError::new(ErrorKind::Malformed, message)
}
