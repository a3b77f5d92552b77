//! A stored answer as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};

use crate::cache::answer::StoredAnswer;
use crate::chunk::{Chunk, ChunkStream};
use crate::error::ProviderError;
use crate::response::ChatResponse;
use crate::time::{Instant, Sleep, after, now, sleep_until};

/// How fast a stored answer is streamed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// At once: a chunk for each part.
    #[default]
    Burst,
    /// Text in pieces, as a model would write it.
    Paced {
        /// Before the first piece.
        first: Duration,
        /// Between two pieces.
        between: Duration,
    },
}

/// How much text is in a piece: about a token.
const PIECE_BYTES: usize = 16;

impl Replay {
    /// As the answer came when it was fetched; at once where that is not known. Who times answers
    /// cannot tell a hit by its pace.
    #[must_use]
    pub fn as_fetched(answer: &StoredAnswer) -> Self {
        let (Some(first), Some(total)) = (answer.ttft, answer.total) else { return Self::Burst };
        let text: usize =
            answer.response.content.iter().filter_map(|p| p.as_text()).map(str::len).sum();
        let pieces = u32::try_from(text.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        Self::Paced { first, between: total.saturating_sub(first) / pieces.max(1) }
    }

    /// The answer as the chunks a provider would have sent. Dropping the stream ends it; nothing runs
    /// meanwhile.
    ///
    /// # Panics
    /// A paced stream, when polled outside a tokio runtime that has its timer enabled.
    #[must_use]
    pub fn stream(self, answer: &Arc<StoredAnswer>) -> ChunkStream {
        let chunks = Chunk::from_response(ChatResponse::clone(&answer.response));
        match self {
            Self::Burst => futures::stream::iter(chunks.map(Ok)).boxed(),
            Self::Paced { first, between } => {
                let pieces = chunks.flat_map(pieces).collect();
                Paced { pieces, next: after(now(), first), between, sleep: None }.boxed()
            }
        }
    }
}

/// Text in pieces of whole characters; everything else whole.
fn pieces(chunk: Chunk) -> Vec<Chunk> {
    let Chunk::Text { index, text } = chunk else { return vec![chunk] };
    let mut pieces = Vec::with_capacity(text.len() / PIECE_BYTES + 1);
    let mut rest = &*text;
    while rest.len() > PIECE_BYTES {
        let at = (PIECE_BYTES..rest.len()).find(|&at| rest.is_char_boundary(at));
        let (piece, after) = rest.split_at(at.unwrap_or(rest.len()));
        pieces.push(Chunk::text(index, piece));
        rest = after;
    }
    pieces.push(Chunk::text(index, rest));
    pieces
}

/// Holds content back until its time.
struct Paced {
    pieces: VecDeque<Chunk>,
    next: Instant,
    between: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stream for Paced {
    type Item = Result<Chunk, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let is_content = self.pieces.front().is_some_and(Chunk::is_content);
        if is_content {
            let at = self.next;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(sleep.poll_unpin(cx));
            self.sleep = None;
            self.next = after(at, self.between);
        }
        Poll::Ready(self.pieces.pop_front().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Accumulator;

    fn answer() -> Arc<StoredAnswer> {
        let text =
            "Jeder Wert hat genau einen Besitzer. \u{1f980}\u{1f980}\u{1f980}\u{1f980}\u{1f980}";
        let timing = (Some(Duration::from_millis(300)), Duration::from_millis(1_000));
        Arc::new(StoredAnswer::new(ChatResponse::text_only(text)).with_timing(timing.0, timing.1))
    }

    async fn play(replay: Replay) -> (ChatResponse, Duration, Duration) {
        let begin = now();
        let mut stream = replay.stream(&answer());
        let (mut accumulator, mut first) = (Accumulator::default(), None);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.unwrap();
            if chunk.is_content() {
                first.get_or_insert_with(|| now() - begin);
            }
            accumulator.push(&chunk).unwrap();
        }
        assert!(accumulator.is_complete());
        (accumulator.into_response(), first.unwrap(), now() - begin)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_the_answer_at_once() {
        let (response, first, total) = play(Replay::Burst).await;
        assert_eq!(response, *answer().response);
        assert_eq!((first, total), (Duration::ZERO, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_replay_takes_as_long_as_the_first_time() {
        let (response, first, total) = play(Replay::as_fetched(&answer())).await;
        assert_eq!(response, *answer().response);
        assert_eq!(first.as_millis(), 300);
        assert!((750..=1_000).contains(&total.as_millis()), "{total:?}");
    }

    #[test]
    fn an_answer_of_unknown_timing_is_replayed_at_once() {
        let unknown = StoredAnswer::new(ChatResponse::text_only("x"));
        assert_eq!(Replay::as_fetched(&unknown), Replay::Burst);
    }
}
