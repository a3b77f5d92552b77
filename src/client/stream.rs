//! A streaming answer, with everything its call has acquired.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{FusedStream, Stream};

use crate::chunk::Chunk;
use crate::client::attempt::OpenedStream;
use crate::client::settlement::Settlement;
use crate::client::upstream::{Failure, Upstream};
use crate::client::watchdog::Watchdog;
use crate::error::{Error, InvalidField};
use crate::report::{CallReport, EndpointId, Phase};
use crate::response::Completion;

/// The chunks of a call that is committed to an endpoint.
///
/// The last item of a complete answer is [`Chunk::Done`]. A failure is one error item, after which
/// the stream has ended; [`Error::partial`] holds what had arrived.
///
/// The stream works only while it is polled and owns everything the call holds: dropping it
/// cancels the generation upstream, frees the call's place and settles what was used.
#[must_use = "a stream that is dropped cancels its call"]
pub struct CompletionStream {
    primed: VecDeque<Chunk>,
    upstream: Upstream,
    watchdog: Watchdog,
    settlement: Settlement,
    outcome: Option<Box<Completion>>,
    ended: bool,
}

impl CompletionStream {
    pub(super) fn new(opened: OpenedStream, settlement: Settlement) -> Self {
        let OpenedStream { primed, upstream, watchdog } = opened;
        Self { primed, upstream, watchdog, settlement, outcome: None, ended: false }
    }

    /// The endpoint the call is committed to.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointId> {
        match &self.outcome {
            Some(completion) => completion.report.served_by.endpoint(),
            None => self.settlement.endpoint(),
        }
    }

    /// From the application's call to the first content.
    #[must_use]
    pub const fn ttft(&self) -> Option<Duration> {
        self.settlement.ttft()
    }

    /// The account of the call, once [`Chunk::Done`] was handed out.
    #[must_use]
    pub fn report(&self) -> Option<&CallReport> {
        self.outcome.as_deref().map(|completion| &completion.report)
    }

    /// Receives the rest of the answer and returns it whole, with what was handed out before.
    ///
    /// # Errors
    /// Whatever ends the stream early; [`Error::InvalidCall`] where an error item was handed out
    /// before.
    pub async fn into_completion(mut self) -> Result<Completion, Error> {
        loop {
            match std::future::poll_fn(|cx| self.poll_chunk(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        let handed_out = || InvalidField::new("stream", "its error was handed out before");
        let outcome = self.outcome.take().map(|completion| *completion);
        outcome.ok_or_else(|| Error::InvalidCall(handed_out()))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(chunk) = self.primed.pop_front() {
            return Poll::Ready(Some(Ok(self.handed_out(chunk))));
        }
        let place = self.settlement.place();
        let item = match ready!(self.upstream.poll_chunk(cx, &mut self.watchdog, place)) {
            Ok(chunk) => Ok(self.handed_out(chunk)),
            Err(failure) => Err(self.failed(failure)),
        };
        Poll::Ready(Some(item))
    }

    fn handed_out(&mut self, chunk: Chunk) -> Chunk {
        if chunk.is_done() {
            self.ended = true;
            let response = self.upstream.take_response();
            let report = self.settlement.succeed(&response);
            self.outcome = Some(Box::new(Completion::new(response, report)));
        }
        chunk
    }

    #[cold]
    fn failed(&mut self, failure: Failure) -> Error {
        self.ended = true;
        match failure {
            Failure::Provider(error) => self.settlement.interrupted(error, &mut self.upstream),
            Failure::CutOff => self.settlement.cut_off(),
            Failure::Deadline => {
                let partial = self.upstream.take_response();
                self.settlement.deadline_passed(Phase::Streaming, Some(partial))
            }
        }
    }
}

impl Stream for CompletionStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl FusedStream for CompletionStream {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for CompletionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionStream")
            .field("endpoint", &self.endpoint())
            .field("ttft", &self.ttft())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
