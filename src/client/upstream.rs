//! The receiving end of one streaming attempt.
//!
//! Everything that can go wrong with a provider's stream is dealt with here, in one place for the
//! chunks before the first content and for those after it: limits, panics, bounds, and the end that
//! must be a terminal event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use crate::chunk::{Accumulator, Chunk, ChunkStream, ResponseBounds};
use crate::client::active::ActiveCall;
use crate::client::pace::{Pace, Pacer};
use crate::client::until::Until;
use crate::client::watchdog::{Alarm, Watchdog};
use crate::error::{ErrorKind, ProviderError};
use crate::options::Timeouts;
use crate::provider::panicked;
use crate::response::ChatResponse;
use crate::time::{Instant, after, now};

/// What ends an attempt early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider failed, or did not answer in time.
    Provider(ProviderError),
    /// The call's deadline passed.
    Deadline,
    /// The client ends its running calls.
    CutOff,
}

/// The instants an attempt must meet.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The end of the whole call.
    deadline: Until,
    /// When content must have arrived, if the deadline is not earlier.
    first_content: Option<Instant>,
    timeouts: Timeouts,
}

impl Limits {
    pub(super) fn new(started: Instant, timeouts: Timeouts, deadline: Until) -> Self {
        let first_content = Some(after(started, timeouts.first_content));
        Self { deadline, first_content, timeouts }
    }

    /// For a provider that answers whole: its first content is its last, so only the deadline
    /// bounds it.
    pub(super) fn whole(self) -> Self {
        Self { first_content: None, ..self }
    }

    /// The limit that applies before there is a stream.
    pub(super) fn first_content(&self) -> Instant {
        let deadline = self.deadline.instant();
        self.first_content.map_or(deadline, |at| at.min(deadline))
    }

    /// What it means that a limit has passed.
    pub(super) fn expired(&self, limit: Instant, streaming: bool) -> Failure {
        // What was the deadline when a wait began may have moved on meanwhile.
        let was_deadline = !streaming && self.first_content.is_none_or(|at| limit < at);
        if was_deadline || limit >= self.deadline.instant() {
            return Failure::Deadline;
        }
        let (what, after) = match streaming {
            false => ("no content", self.timeouts.first_content),
            true => ("no further chunk", self.timeouts.idle),
        };
        let message = format!("{what} within {after:?}");
        Failure::Provider(ProviderError::new(ErrorKind::Timeout, message))
    }
}

/// One attempt's stream, with what was received through it.
pub(super) struct Upstream {
    /// `None` once it has ended, whichever way: the connection is then gone.
    stream: Option<ChunkStream>,
    received: Accumulator,
    limits: Limits,
    /// When content first arrived.
    first_content: Option<Instant>,
    /// Since when nothing has arrived. The clock is read when the stream is first found pending
    /// after a chunk, not with every chunk.
    quiet_since: Option<Instant>,
    /// Chunks that were ready one after the other.
    in_a_row: u32,
    /// `None` where nobody listens.
    pacer: Option<Pacer>,
}

/// After so many chunks in a row the clock is read and other tasks get their turn: a stream that is
/// always ready must not outrun its deadline nor keep a worker to itself.
const IN_A_ROW: u32 = 64;

impl Upstream {
    pub(super) fn new(
        stream: ChunkStream,
        limits: Limits,
        bounds: ResponseBounds,
        pacer: Option<Pacer>,
    ) -> Self {
        Self {
            pacer,
            stream: Some(stream),
            received: Accumulator::new(bounds),
            limits,
            first_content: None,
            quiet_since: None,
            in_a_row: 0,
        }
    }

    /// The next chunk. After the terminal one, or a failure, there is none.
    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        watchdog: &mut Watchdog,
        call: &ActiveCall,
    ) -> Poll<Result<Chunk, Failure>> {
        if self.in_a_row >= IN_A_ROW {
            self.in_a_row = 0;
            if let Some(failure) = self.overdue(call) {
                self.close();
                return Poll::Ready(Err(failure));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = match &mut self.stream {
            Some(stream) => poll_caught(stream, cx),
            None => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(item) => Poll::Ready(self.received(item).inspect_err(|_| self.close())),
            Poll::Pending => self.poll_alarm(cx, watchdog, call),
        }
    }

    /// What stands against going on, as far as the clock and the client say.
    fn overdue(&self, call: &ActiveCall) -> Option<Failure> {
        if call.is_cut() {
            return Some(Failure::CutOff);
        }
        let limit = match self.is_committed() {
            true => self.limits.deadline.instant(),
            false => self.limits.first_content(),
        };
        (now() >= limit).then(|| self.limits.expired(limit, self.is_committed()))
    }

    fn received(&mut self, item: Option<Result<Chunk, ProviderError>>) -> Result<Chunk, Failure> {
        self.quiet_since = None;
        self.in_a_row += 1;
        let chunk = item.unwrap_or_else(|| Err(ended_early())).map_err(Failure::Provider)?;
        if let Some(pacer) = &mut self.pacer {
            pacer.arrived(&chunk);
        }
        self.received.push(&chunk).map_err(Failure::Provider)?;
        if self.first_content.is_none() && chunk.is_content() {
            self.first_content = Some(now());
        }
        if chunk.is_done() {
            self.close();
        }
        Ok(chunk)
    }

    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        watchdog: &mut Watchdog,
        call: &ActiveCall,
    ) -> Poll<Result<Chunk, Failure>> {
        self.in_a_row = 0;
        let limit = self.limit();
        let alarm = std::task::ready!(watchdog.poll(cx, call, limit));
        self.close();
        Poll::Ready(Err(match alarm {
            Alarm::CutOff => Failure::CutOff,
            Alarm::Limit => self.limits.expired(limit, self.is_committed()),
        }))
    }

    fn limit(&mut self) -> Instant {
        if !self.is_committed() {
            return self.limits.first_content();
        }
        let quiet_since = *self.quiet_since.get_or_insert_with(now);
        after(quiet_since, self.limits.timeouts.idle).min(self.limits.deadline.instant())
    }

    /// Cancels whatever is left upstream.
    fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            // A provider's destructor is a provider's code.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
        }
    }

    /// Whether content has arrived, so that the call may not go elsewhere any more.
    pub(super) const fn is_committed(&self) -> bool {
        self.first_content.is_some()
    }

    pub(super) const fn first_content(&self) -> Option<Instant> {
        self.first_content
    }

    /// When its chunks arrived, as far as somebody listens.
    pub(super) fn pace(&self) -> Pace {
        self.pacer.as_ref().map(Pacer::pace).unwrap_or_default()
    }

    /// What was received, leaving nothing.
    pub(super) fn take_response(&mut self) -> ChatResponse {
        std::mem::take(&mut self.received).into_response()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("open", &self.stream.is_some())
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

fn poll_caught(
    stream: &mut ChunkStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Chunk, ProviderError>>> {
    // The stream is dropped after a panic, so nothing sees the state it left behind.
    catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(cx)))
        .unwrap_or_else(|payload| Poll::Ready(Some(Err(panicked(&*payload)))))
}

fn ended_early() -> ProviderError {
    ProviderError::new(ErrorKind::Interrupted, "the stream ended without its terminal event")
}
