//! A streaming answer, with everything its call has acquired.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{FusedStream, Stream};

use crate::chunk::Chunk;
use crate::client::attempt::Attempt;
use crate::client::opening::OpenedStream;
use crate::client::settlement::Settlement;
use crate::client::sharing::Sharing;
use crate::client::upstream::Failure;
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
    source: Source,
    ttft: Option<Duration>,
    outcome: Option<Box<Completion>>,
}

/// Where the chunks come from.
enum Source {
    /// An endpoint.
    Running(Box<Running>),
    /// The cache, or a flight.
    Sharing(Box<Sharing>),
    /// The call has ended, though the stream lives on.
    Ended,
}

/// All that a streaming call holds. The order is that of dropping: the connection ends before the
/// attempt, and the attempt before its call.
struct Running {
    opened: Box<OpenedStream>,
    attempt: Attempt,
    settlement: Box<Settlement>,
}

impl CompletionStream {
    pub(super) fn new(
        opened: Box<OpenedStream>,
        attempt: Attempt,
        settlement: Box<Settlement>,
    ) -> Self {
        let ttft = settlement.books().ttft();
        let source = Source::Running(Box::new(Running { opened, attempt, settlement }));
        Self { source, ttft, outcome: None }
    }

    /// A call that shares its answer, whose first content has arrived.
    pub(super) fn shared(sharing: Box<Sharing>) -> Self {
        let ttft = sharing.visit().ttft;
        Self { source: Source::Sharing(sharing), ttft, outcome: None }
    }

    /// The endpoint the call is committed to; `None` once the stream has failed, and where the answer
    /// is not fetched for this call alone.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointId> {
        let report = || self.report().and_then(|report| report.served_by.endpoint());
        match &self.source {
            Source::Running(running) => Some(running.attempt.endpoint()),
            Source::Sharing(_) | Source::Ended => report(),
        }
    }

    /// From the application's call to the first content.
    #[must_use]
    pub const fn ttft(&self) -> Option<Duration> {
        self.ttft
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
        self.into_outcome()
    }

    /// The answer of a call that has ended.
    pub(super) fn into_outcome(mut self) -> Result<Completion, Error> {
        let handed_out = || InvalidField::new("stream", "its error was handed out before");
        let outcome = self.outcome.take().map(|completion| *completion);
        outcome.ok_or_else(|| Error::InvalidCall(handed_out()))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let received = match &mut self.source {
            Source::Running(running) => ready!(running.poll_chunk(cx)).map_err(Ended::Here),
            Source::Sharing(sharing) => ready!(sharing.poll_chunk(cx)).map_err(Ended::Elsewhere),
            Source::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(match received {
            Ok(chunk) if chunk.is_done() => self.end().map(|()| chunk),
            Ok(chunk) => Ok(chunk),
            Err(ended) => Err(self.fail(ended)),
        }))
    }

    /// Ends the call, whose last chunk has arrived.
    fn end(&mut self) -> Result<(), Error> {
        self.outcome = match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Running(running) => Some(running.complete()),
            Source::Sharing(sharing) => Some(Box::new(sharing.complete()?)),
            Source::Ended => None,
        };
        Ok(())
    }

    #[cold]
    fn fail(&mut self, ended: Ended) -> Error {
        match (std::mem::replace(&mut self.source, Source::Ended), ended) {
            (_, Ended::Elsewhere(error)) => error,
            (Source::Running(running), Ended::Here(failure)) => running.fail(failure),
            (_, Ended::Here(_)) => unreachable!("only a running attempt fails here"),
        }
    }
}

/// How an answer broke off.
enum Ended {
    /// In an attempt of the call's own.
    Here(Failure),
    /// With the call told of it already.
    Elsewhere(Error),
}

impl Running {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Failure>> {
        let chunk = match self.opened.primed.pop_front() {
            Some(chunk) => self.bill(chunk),
            None => match ready!(self.opened.poll_chunk(cx, &self.settlement.terms().place)) {
                Ok(chunk) => self.bill(chunk),
                Err(failure) => return Poll::Ready(Err(failure)),
            },
        };
        Poll::Ready(Ok(chunk))
    }

    fn bill(&mut self, chunk: Chunk) -> Chunk {
        let bill = self.settlement.parts().1.bill();
        match &chunk {
            Chunk::Usage(usage) => bill.count(usage),
            content => bill.receive(content.bytes()),
        }
        chunk
    }

    fn complete(self) -> Box<Completion> {
        let Self { mut opened, mut attempt, settlement } = self;
        attempt.paced(opened.upstream.pace());
        let response = opened.upstream.take_response();
        let report = settlement.succeed(attempt, &response);
        Box::new(Completion::new(response, report))
    }

    /// Ends the attempt as what it was, with its part of the bill; then the call.
    fn cancel(self) {
        let Self { opened, mut attempt, mut settlement } = self;
        attempt.paced(opened.upstream.pace());
        drop(opened);
        settlement.parts().1.cancel(attempt);
    }

    #[cold]
    fn fail(self, failure: Failure) -> Error {
        let Self { mut opened, mut attempt, mut settlement } = self;
        attempt.paced(opened.upstream.pace());
        let partial = opened.upstream.take_response();
        let usage = (!partial.usage.is_unknown()).then_some(partial.usage);
        match failure {
            Failure::Provider(error) => settlement.interrupted(attempt, error, usage, partial),
            Failure::Deadline => {
                settlement.parts().1.abandon(attempt, usage);
                settlement.deadline_passed(Phase::Streaming, Some(partial))
            }
            Failure::CutOff => {
                settlement.parts().1.abandon(attempt, usage);
                settlement.fail(|trail| Error::Closed { trail })
            }
        }
    }
}

impl Drop for CompletionStream {
    /// The caller left, unless the call has ended.
    fn drop(&mut self) {
        if let Source::Running(running) = std::mem::replace(&mut self.source, Source::Ended) {
            running.cancel();
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
        matches!(self.source, Source::Ended)
    }
}

impl fmt::Debug for CompletionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionStream")
            .field("endpoint", &self.endpoint())
            .field("ttft", &self.ttft())
            .field("ended", &matches!(self.source, Source::Ended))
            .finish_non_exhaustive()
    }
}
