//! A stored answer as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::poll_fn;
use futures::{FutureExt, StreamExt};

use crate::cache::answer::StoredAnswer;
use crate::chunk::{Chunk, ChunkStream};
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
        let mut player = Player::new(self, ChatResponse::clone(&answer.response), now());
        poll_fn(move |cx| player.poll_chunk(cx).map(|chunk| chunk.map(Ok))).boxed()
    }
}

/// An answer that is being streamed again.
#[derive(Debug)]
pub(crate) struct Player {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk's text was handed out.
    played: usize,
    /// `None` where nothing is held back.
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// Content is held back until then.
    next: Instant,
    between: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Player {
    pub(crate) fn new(replay: Replay, response: ChatResponse, now: Instant) -> Self {
        let pace = match replay {
            Replay::Burst => None,
            Replay::Paced { first, between } => {
                Some(Pace { next: after(now, first), between, sleep: None })
            }
        };
        Self { chunks: Chunk::from_response(response).collect(), played: 0, pace }
    }

    /// Plays fast enough that nothing is held back until `deadline`.
    pub(crate) fn ending_before(mut self, deadline: Instant) -> Self {
        if let Some(pace) = &mut self.pace {
            let pieces: usize = self.chunks.iter().map(|chunk| pieces(chunk.as_text())).sum();
            let left = deadline.saturating_duration_since(pace.next);
            pace.between = pace.between.min(left / u32::try_from(pieces).unwrap_or(u32::MAX));
        }
        self
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let Some(pace) = &mut self.pace else { return Poll::Ready(self.chunks.pop_front()) };
        if self.chunks.front().is_some_and(Chunk::is_content) {
            ready!(pace.poll_next(cx));
        }
        Poll::Ready(self.next_piece())
    }

    /// Of a text, the next piece of whole characters; everything else whole.
    fn next_piece(&mut self) -> Option<Chunk> {
        if let Some(Chunk::Text { index, text }) = self.chunks.front() {
            let rest = &text[self.played..];
            let end = (PIECE_BYTES..rest.len()).find(|&end| rest.is_char_boundary(end));
            if let Some(end) = end {
                self.played += end;
                return Some(Chunk::text(*index, &rest[..end]));
            }
        }
        let played = std::mem::take(&mut self.played);
        let mut last = self.chunks.pop_front()?;
        if let Chunk::Text { text, .. } = &mut last {
            text.drain(..played);
        }
        Some(last)
    }
}

/// How many pieces a chunk is played in.
fn pieces(text: Option<&str>) -> usize {
    text.map_or(1, |text| text.len().div_ceil(PIECE_BYTES).max(1))
}

impl Pace {
    /// Ready when the next piece is due. What is due already asks no timer, which counts whole
    /// milliseconds.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.next;
        if now() < at {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(sleep.poll_unpin(cx));
        }
        self.sleep = None;
        self.next = after(at, self.between);
        Poll::Ready(())
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

    #[tokio::test(start_paused = true)]
    async fn a_replay_is_fast_enough_for_its_deadline() {
        let begin = now();
        let slow = Replay::Paced { first: Duration::ZERO, between: Duration::from_secs(60) };
        let response = ChatResponse::clone(&answer().response);
        let deadline = after(begin, Duration::from_secs(1));
        let mut player = Player::new(slow, response, begin).ending_before(deadline);
        while std::future::poll_fn(|cx| player.poll_chunk(cx)).await.is_some() {}
        let took = now() - begin;
        assert!((300..1_000).contains(&took.as_millis()), "{took:?}");
    }

    #[test]
    fn an_answer_of_unknown_timing_is_replayed_at_once() {
        let unknown = StoredAnswer::new(ChatResponse::text_only("x"));
        assert_eq!(Replay::as_fetched(&unknown), Replay::Burst);
    }
}
