//! One attempt, up to the point where the call is committed to it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use crate::balance::Lease;
use crate::chunk::{Chunk, ChunkStream};
use crate::client::settlement::Settlement;
use crate::client::upstream::{Failure, Limits, Upstream};
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::{ErrorKind, ProviderError};
use crate::options::Call;
use crate::provider::{CallContext, panicked};
use crate::response::ChatResponse;

/// The most chunks without content a provider may send before its first content.
const MAX_PREAMBLE: usize = 1024;

/// Whether the application wants the answer whole or in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Stream,
}

/// An attempt the call is committed to.
#[derive(Debug)]
pub(super) enum Opened {
    /// The provider answered whole.
    Whole(ChatResponse),
    /// Content is arriving.
    Stream(OpenedStream),
}

/// A stream whose first content has arrived.
#[derive(Debug)]
pub(super) struct OpenedStream {
    /// Chunks that arrived and were not handed out yet.
    pub(super) primed: VecDeque<Chunk>,
    pub(super) upstream: Upstream,
    pub(super) watchdog: Watchdog,
}

/// Runs the attempt for which `settlement` holds a lease until its first content.
pub(super) async fn open(
    settlement: &Settlement,
    call: &Call,
    mode: Mode,
) -> Result<Opened, Failure> {
    let Some(lease) = settlement.lease() else { return Err(Failure::Deadline) };
    let cx = context(settlement, lease, call);
    let streams = lease.capabilities().streaming && !call.options.keep_raw;
    if mode == Mode::Stream || streams {
        open_stream(settlement, lease, call, &cx).await.map(Opened::Stream)
    } else {
        open_whole(settlement, lease, call, &cx).await.map(Opened::Whole)
    }
}

fn context(settlement: &Settlement, lease: &Lease, call: &Call) -> CallContext {
    let mut cx = CallContext::new(settlement.deadline());
    cx.model = lease.upstream_model().cloned();
    cx.attempt = settlement.attempts();
    cx.connect_timeout = settlement.timeouts().connect;
    cx.idempotency_key = call.options.idempotency_key.clone();
    cx.keep_raw = call.options.keep_raw;
    cx
}

/// A whole answer has no first content to wait for, so only the call's deadline bounds it.
async fn open_whole(
    settlement: &Settlement,
    lease: &Lease,
    call: &Call,
    cx: &CallContext,
) -> Result<ChatResponse, Failure> {
    let work = AssertUnwindSafe(lease.provider().complete(&call.request, cx)).catch_unwind();
    let deadline = settlement.deadline();
    match guarded(&mut Watchdog::default(), settlement.place(), deadline, work).await {
        Ok(answer) => flatten(answer),
        Err(Alarm::CutOff) => Err(Failure::CutOff),
        Err(Alarm::Limit) => Err(Failure::Deadline),
    }
}

async fn open_stream(
    settlement: &Settlement,
    lease: &Lease,
    call: &Call,
    cx: &CallContext,
) -> Result<OpenedStream, Failure> {
    let mut limits = Limits::new(lease.started(), settlement.timeouts(), settlement.deadline());
    if !lease.capabilities().streaming {
        limits = limits.whole();
    }
    let mut watchdog = Watchdog::default();
    let work = AssertUnwindSafe(lease.provider().stream(&call.request, cx)).catch_unwind();
    let limit = limits.first_content();
    let stream = match guarded(&mut watchdog, settlement.place(), limit, work).await {
        Ok(stream) => flatten(stream)?,
        Err(Alarm::CutOff) => return Err(Failure::CutOff),
        Err(Alarm::Limit) => return Err(limits.expired(limit, false)),
    };
    prime(settlement, stream, limits, watchdog).await
}

/// Receives up to the first content: the call may not be committed to a backend that has only
/// promised some.
async fn prime(
    settlement: &Settlement,
    stream: ChunkStream,
    limits: Limits,
    mut watchdog: Watchdog,
) -> Result<OpenedStream, Failure> {
    let mut upstream = Upstream::new(stream, limits, settlement.client().bounds);
    let mut primed = VecDeque::new();
    loop {
        let place = settlement.place();
        let chunk = poll_fn(|cx| upstream.poll_chunk(cx, &mut watchdog, place)).await?;
        let complete = chunk.is_done();
        primed.push_back(chunk);
        if complete || upstream.is_committed() {
            return Ok(OpenedStream { primed, upstream, watchdog });
        }
        if primed.len() > MAX_PREAMBLE {
            return Err(Failure::Provider(endless_preamble()));
        }
    }
}

fn flatten<T>(
    caught: Result<Result<T, ProviderError>, Box<dyn std::any::Any + Send>>,
) -> Result<T, Failure> {
    caught.unwrap_or_else(|payload| Err(panicked(&*payload))).map_err(Failure::Provider)
}

fn endless_preamble() -> ProviderError {
    let message = format!("more than {MAX_PREAMBLE} chunks before any content");
    ProviderError::new(ErrorKind::Malformed, message)
}
