//! Responses as chunk streams that do their work when polled.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Response, Version};

use crate::chunk::{Chunk, ChunkStart, ChunkStream};
use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::body;
use crate::providers::http::bounds::HttpBounds;
use crate::providers::http::decoder::StreamDecoder;
use crate::providers::http::sse::{Item, Reader};
use crate::providers::http::transport::Meta;
use crate::time;

/// How long the body of a finished answer may take to end. Servers end it in the same breath; a new
/// connection costs more than this.
const ROUND_OFF: Duration = Duration::from_millis(20);

/// The chunks that `decoder` makes of the events in `response`.
///
/// The first one, heartbeats apart, is the only [`Chunk::Start`]. The stream ends after
/// [`Chunk::Done`] or the first error, and drops the connection then.
pub(crate) fn events(
    response: Response,
    meta: Meta,
    bounds: HttpBounds,
    decoder: impl StreamDecoder,
) -> ChunkStream {
    let pull = Pull { response: Some(response), decoding: Decoding::new(meta, bounds, decoder) };
    futures::stream::unfold(pull, |mut pull| async move {
        let item = pull.next().await?;
        Some((item, pull))
    })
    .boxed()
}

/// The chunks of a whole JSON body that came in the place of events.
pub(crate) fn whole(
    body: &[u8],
    meta: &Meta,
    decoder: &mut impl StreamDecoder,
) -> Result<ChunkStream, ProviderError> {
    let mut chunks = VecDeque::new();
    decoder.whole(body, &mut chunks)?;
    if let Some(Chunk::Start(start)) = chunks.front_mut() {
        meta.clone().note_in_start(start);
    }
    Ok(futures::stream::iter(chunks.into_iter().map(Ok)).boxed())
}

struct Pull<D> {
    /// `None` once the stream is over.
    response: Option<Response>,
    decoding: Decoding<D>,
}

impl<D: StreamDecoder> Pull<D> {
    async fn next(&mut self) -> Option<Result<Chunk, ProviderError>> {
        loop {
            if let Some(item) = self.decoding.next() {
                if self.decoding.is_over() {
                    self.close(item.is_ok()).await;
                }
                return Some(item);
            }
            match self.response.as_mut()?.chunk().await {
                Ok(Some(piece)) => self.decoding.feed(&piece),
                Ok(None) => self.decoding.end(),
                Err(error) => self.decoding.broke(body::transport_error(error)),
            }
        }
    }
}

impl<D> Pull<D> {
    /// Lets go of the response. After a whole answer its body is given a moment to end: a connection
    /// of HTTP/1 that is dropped inside a body cannot serve the next call.
    async fn close(&mut self, whole: bool) {
        let Some(mut response) = self.response.take() else { return };
        if whole && response.version() < Version::HTTP_2 {
            let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
            let _ = time::until(time::after(time::now(), ROUND_OFF), rest).await;
        }
    }
}

/// Bytes in, chunks out; everything about a stream but its socket.
pub(crate) struct Decoding<D> {
    reader: Reader,
    decoder: D,
    ready: VecDeque<Chunk>,
    /// Comes after what is ready.
    failure: Option<ProviderError>,
    /// What the headers said, until a start carried it.
    meta: Option<Meta>,
    request_id: Option<String>,
    phase: Phase,
    /// Whether any content was yielded.
    committed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// The body ended; what the reader still holds is to be read.
    Ending,
    /// Nothing more is decoded; what is ready may still be yielded.
    Closed,
    /// The last item was yielded.
    Over,
}

impl<D: StreamDecoder> Decoding<D> {
    pub(crate) fn new(meta: Meta, bounds: HttpBounds, decoder: D) -> Self {
        Self {
            reader: Reader::new(bounds),
            decoder,
            ready: VecDeque::new(),
            failure: None,
            request_id: meta.request_id.clone(),
            meta: Some(meta),
            phase: Phase::Reading,
            committed: false,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Err(error) = self.reader.feed(bytes) {
            self.fail(error);
        }
    }

    /// The body ended in good order.
    pub(crate) fn end(&mut self) {
        if self.phase == Phase::Reading {
            self.reader.end();
            self.phase = Phase::Ending;
        }
    }

    /// The connection broke. After content that cuts the answer off; before it, nothing was lost.
    pub(crate) fn broke(&mut self, error: ProviderError) {
        let cut = self.committed && error.kind() == ErrorKind::Transport;
        self.fail(if cut { interrupted("the connection broke").with_source(error) } else { error });
    }

    /// Whether the last item was yielded.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The next item; `None` when more bytes are needed, or when it is over.
    pub(crate) fn next(&mut self) -> Option<Result<Chunk, ProviderError>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(self.yielding(chunk)));
            }
            match self.phase {
                Phase::Over => return None,
                Phase::Closed => {
                    self.phase = Phase::Over;
                    return self.failure.take().map(Err);
                }
                Phase::Reading | Phase::Ending => {
                    if !self.decode() {
                        return None;
                    }
                }
            }
        }
    }

    fn yielding(&mut self, chunk: Chunk) -> Chunk {
        self.committed |= chunk.is_content();
        if chunk.is_done() {
            self.ready.clear();
            self.failure = None;
            self.phase = Phase::Over;
        }
        chunk
    }

    /// Decodes one more item; `false` when there is none in what was fed.
    fn decode(&mut self) -> bool {
        let decoded = match self.reader.next() {
            Ok(Some(Item::Heartbeat)) => {
                self.ready.push_back(Chunk::Heartbeat);
                return true;
            }
            Ok(Some(Item::Event(event))) => self.decoder.event(&event, &mut self.ready),
            Ok(None) if self.phase == Phase::Ending => {
                self.finish();
                return true;
            }
            Ok(None) => return false,
            Err(error) => Err(error),
        };
        // A ping may come before the event that knows the response's id.
        if self.ready.iter().any(|chunk| !matches!(chunk, Chunk::Heartbeat)) {
            self.start();
        }
        if let Err(error) = decoded {
            self.fail(error);
        }
        true
    }

    /// The reader is empty and the body has ended.
    fn finish(&mut self) {
        let ended = self.decoder.end(&mut self.ready);
        self.start();
        let done = self.ready.iter().any(Chunk::is_done);
        match ended {
            Err(error) => self.fail(error),
            Ok(()) if done => self.phase = Phase::Closed,
            Ok(()) => self.fail(interrupted("the body ended without a terminal event")),
        }
    }

    /// Sees to it that the first chunk is a start, and that it says what the headers said.
    fn start(&mut self) {
        let Some(meta) = self.meta.take() else { return };
        if !matches!(self.ready.front(), Some(Chunk::Start(_))) {
            self.ready.push_front(Chunk::Start(ChunkStart::new()));
        }
        if let Some(Chunk::Start(start)) = self.ready.front_mut() {
            meta.note_in_start(start);
        }
    }

    fn fail(&mut self, error: ProviderError) {
        // What the end of the body left half written is a cut, not nonsense.
        let half = self.phase == Phase::Ending && error.kind() == ErrorKind::Malformed;
        let error = if half { interrupted("the body ended inside an event") } else { error };
        self.failure = Some(match &self.request_id {
            Some(id) if error.request_id().is_none() => error.with_request_id(id.clone()),
            _ => error,
        });
        self.phase = Phase::Closed;
    }
}

fn interrupted(message: &'static str) -> ProviderError {
    ProviderError::new(ErrorKind::Interrupted, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::http::sse::Event;
    use crate::response::FinishReason;

    /// `done` ends, `ping` says nothing, `bad` fails, everything else is text.
    struct Toy;

    impl StreamDecoder for Toy {
        fn event(
            &mut self,
            event: &Event<'_>,
            chunks: &mut VecDeque<Chunk>,
        ) -> Result<(), ProviderError> {
            match event.data {
                "done" => chunks.push_back(Chunk::done(FinishReason::Stop)),
                "ping" => chunks.push_back(Chunk::Heartbeat),
                "bad" => return Err(ProviderError::new(ErrorKind::Malformed, "bad")),
                text => chunks.push_back(Chunk::text(0, text)),
            }
            Ok(())
        }
    }

    fn decoding() -> Decoding<Toy> {
        let meta = Meta { request_id: Some("r1".into()), rate_limits: None };
        Decoding::new(meta, HttpBounds::new(), Toy)
    }

    fn drain(decoding: &mut Decoding<Toy>) -> Vec<Result<Chunk, ErrorKind>> {
        std::iter::from_fn(|| decoding.next())
            .map(|item| item.map_err(|error| error.kind()))
            .collect()
    }

    fn run(body: &str) -> Vec<Result<Chunk, ErrorKind>> {
        let mut decoding = decoding();
        decoding.feed(body.as_bytes());
        let mut items = drain(&mut decoding);
        decoding.end();
        items.extend(drain(&mut decoding));
        assert!(decoding.is_over());
        items
    }

    fn start() -> Chunk {
        Chunk::Start(ChunkStart { request_id: Some("r1".into()), ..ChunkStart::new() })
    }

    #[test]
    fn one_start_comes_before_everything_but_heartbeats() {
        let done = Chunk::done(FinishReason::Stop);
        assert_eq!(
            run(": hi\n\ndata: ping\n\ndata: a\n\ndata: b\n\ndata: done\n\n"),
            [
                Chunk::Heartbeat,
                Chunk::Heartbeat,
                start(),
                Chunk::text(0, "a"),
                Chunk::text(0, "b"),
                done
            ]
            .map(Ok)
        );
    }

    #[test]
    fn nothing_follows_the_end() {
        let items = run("data: done\n\ndata: late\n\ndata: bad\n\n");
        assert_eq!(items, [start(), Chunk::done(FinishReason::Stop)].map(Ok));
    }

    #[test]
    fn a_body_without_an_end_is_interrupted() {
        let cut = Err(ErrorKind::Interrupted);
        assert_eq!(run("data: a\n\n"), [Ok(start()), Ok(Chunk::text(0, "a")), cut.clone()]);
        assert_eq!(
            run("data: a\n\ndata: bad"),
            [Ok(start()), Ok(Chunk::text(0, "a")), cut.clone()]
        );
        assert_eq!(run(""), [Ok(start()), cut]);
    }

    #[test]
    fn nonsense_in_the_middle_is_malformed_and_ends_the_stream() {
        let items = run("data: a\n\ndata: bad\n\ndata: done\n\n");
        assert_eq!(items, [Ok(start()), Ok(Chunk::text(0, "a")), Err(ErrorKind::Malformed)]);
    }

    #[test]
    fn a_broken_connection_is_a_cut_only_after_content() {
        let broken = || ProviderError::new(ErrorKind::Transport, "reset");
        let mut before = decoding();
        before.broke(broken());
        assert_eq!(drain(&mut before), [Err(ErrorKind::Transport)]);

        let mut after = decoding();
        after.feed(b"data: a\n\n");
        drain(&mut after);
        after.broke(broken());
        let error = after.next().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.request_id()), (ErrorKind::Interrupted, Some("r1")));
    }
}
