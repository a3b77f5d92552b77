//! What a scripted provider does with one attempt.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::failure;
use super::meter::{Fate, OpenCall};
use crate::chunk::{Accumulator, Chunk, ChunkStream, ResponseBounds};
use crate::error::{ErrorKind, ProviderError};
use crate::response::{ChatResponse, FinishReason};
use crate::time::{after, now, sleep_until};

/// What a [`ScriptedProvider`](super::ScriptedProvider) does with one attempt.
///
/// An answer either happens *instead of* a response (an error, a silence, a panic), or is a body of
/// chunks that ends well or badly. Whole and streaming calls follow the same script: a whole call
/// takes as long as the stream would, and fails where the stream would fail.
///
/// ```
/// use std::time::Duration;
/// use evenkeel::ErrorKind;
/// use evenkeel::testing::Answer;
///
/// let slow = Answer::text("to be or not to be").delay(Duration::from_millis(300));
/// let cut = slow.clone().pace(Duration::from_millis(20)).cut_after(3);
/// let refused = Answer::error(ErrorKind::Overloaded);
/// ```
#[derive(Clone)]
pub struct Answer {
    /// What comes before everything else, the response's headers included.
    delay: Duration,
    plan: Plan,
}

#[derive(Clone)]
enum Plan {
    /// There is no response.
    Instead(Mishap),
    /// The response's headers, then its chunks, then its end.
    Respond { steps: VecDeque<Step>, end: Option<Mishap>, raw: Option<Value> },
}

#[derive(Clone)]
struct Step {
    wait: Duration,
    chunk: Chunk,
}

#[derive(Clone)]
enum Mishap {
    Fail(ProviderError),
    Hang,
    Panic,
}

impl Answer {
    /// A finished textual answer. It streams word by word.
    pub fn text(text: impl AsRef<str>) -> Self {
        let words = text.as_ref().split_inclusive(' ').map(|word| Chunk::text(0, word));
        let whole = Chunk::from_response(ChatResponse::new([], FinishReason::Stop));
        let mut chunks: Vec<Chunk> = whole.collect();
        chunks.splice(1..1, words);
        Self::chunks(chunks)
    }

    /// `response`, unchanged; one chunk for each of its parts where it streams.
    #[must_use]
    pub fn response(response: ChatResponse) -> Self {
        let raw = response.raw.clone();
        Self::body(Chunk::from_response(response).map(|chunk| (Duration::ZERO, chunk)), raw)
    }

    /// Exactly these chunks: nothing is added, not even a missing [`Chunk::Done`].
    pub fn chunks(chunks: impl IntoIterator<Item = Chunk>) -> Self {
        Self::timed_chunks(chunks.into_iter().map(|chunk| (Duration::ZERO, chunk)))
    }

    /// Exactly these chunks, each after its own wait, which starts when the chunk is asked for.
    pub fn timed_chunks(chunks: impl IntoIterator<Item = (Duration, Chunk)>) -> Self {
        Self::body(chunks, None)
    }

    /// Fails with `error` before there is a response.
    #[must_use]
    pub const fn fail(error: ProviderError) -> Self {
        Self::instead(Mishap::Fail(error))
    }

    /// Fails with an error of `kind` and the status servers usually give it.
    #[must_use]
    pub fn error(kind: ErrorKind) -> Self {
        Self::fail(failure::of_kind(kind))
    }

    /// A 429 that says when to come back. Without a hint, it is [`Answer::error`].
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        Self::fail(failure::of_kind(ErrorKind::RateLimited).with_retry_after(retry_after))
    }

    /// Never answers: not even the response's headers arrive.
    #[must_use]
    pub const fn hang() -> Self {
        Self::instead(Mishap::Hang)
    }

    /// Panics in the call itself.
    #[must_use]
    pub const fn panic() -> Self {
        Self::instead(Mishap::Panic)
    }

    /// Waits before anything else happens: the headers, the error or the panic.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits before each chunk of content; the wait starts when the chunk is asked for.
    #[must_use]
    pub fn pace(mut self, wait: Duration) -> Self {
        if let Plan::Respond { steps, .. } = &mut self.plan {
            steps.iter_mut().filter(|step| step.chunk.is_content()).for_each(|step| {
                step.wait = wait;
            });
        }
        self
    }

    /// Ends without [`Chunk::Done`] after `n` chunks of content.
    ///
    /// This and the other `_after` methods leave alone an answer that has no response. With `n` at
    /// or above the number of content chunks, everything but the terminal event is sent; with 0,
    /// the response is accepted and nothing more.
    #[must_use]
    pub fn cut_after(self, n: usize) -> Self {
        self.end_after(n, None)
    }

    /// Fails with `error` after `n` chunks of content.
    #[must_use]
    pub fn fail_after(self, n: usize, error: ProviderError) -> Self {
        self.end_after(n, Some(Mishap::Fail(error)))
    }

    /// Falls silent for ever after `n` chunks of content.
    #[must_use]
    pub fn hang_after(self, n: usize) -> Self {
        self.end_after(n, Some(Mishap::Hang))
    }

    /// Panics in the stream's poll after `n` chunks of content.
    #[must_use]
    pub fn panic_after(self, n: usize) -> Self {
        self.end_after(n, Some(Mishap::Panic))
    }

    const fn instead(mishap: Mishap) -> Self {
        Self { delay: Duration::ZERO, plan: Plan::Instead(mishap) }
    }

    fn body(chunks: impl IntoIterator<Item = (Duration, Chunk)>, raw: Option<Value>) -> Self {
        let steps = chunks.into_iter().map(|(wait, chunk)| Step { wait, chunk }).collect();
        Self { delay: Duration::ZERO, plan: Plan::Respond { steps, end: None, raw } }
    }

    fn end_after(mut self, n: usize, mishap: Option<Mishap>) -> Self {
        if let Plan::Respond { steps, end, .. } = &mut self.plan {
            steps.truncate(before_content(steps, n));
            *end = mishap;
        }
        self
    }
}

/// Where the chunk of content number `n` (from 0) stands, or the terminal event if that is earlier.
fn before_content(steps: &VecDeque<Step>, n: usize) -> usize {
    let mut content = 0;
    let stop = steps.iter().position(|Step { chunk, .. }| {
        content += usize::from(chunk.is_content());
        chunk.is_done() || content > n
    });
    stop.unwrap_or(steps.len())
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut answer = f.debug_struct("Answer");
        answer.field("delay", &self.delay);
        match &self.plan {
            Plan::Instead(mishap) => answer.field("instead", mishap),
            Plan::Respond { steps, end, raw: _ } => {
                answer.field("chunks", &steps.len()).field("mishap", end)
            }
        };
        answer.finish()
    }
}

impl fmt::Debug for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(error) => write!(f, "Fail({})", error.kind()),
            Self::Hang => f.write_str("Hang"),
            Self::Panic => f.write_str("Panic"),
        }
    }
}

/// An answer as it is given to one attempt.
pub(super) struct Performance {
    answer: Arc<Answer>,
    at: usize,
    over: bool,
    call: OpenCall,
}

impl Performance {
    /// Waits for the response's headers.
    ///
    /// # Errors
    /// When the answer is an error instead of a response.
    ///
    /// # Panics
    /// When the answer is a panic.
    pub(super) async fn begin(
        answer: Arc<Answer>,
        mut call: OpenCall,
    ) -> Result<Self, ProviderError> {
        pause(answer.delay).await;
        if let Plan::Instead(mishap) = &answer.plan {
            return Err(mishap.happen(&mut call).await);
        }
        Ok(Self { answer, at: 0, over: false, call })
    }

    /// The whole answer.
    pub(super) async fn whole(mut self) -> Result<ChatResponse, ProviderError> {
        let mut accumulator = Accumulator::new(unbounded());
        while let Some(chunk) = self.next().await {
            accumulator.push(&chunk?)?;
        }
        if !accumulator.is_complete() {
            return Err(failure::of_kind(ErrorKind::Interrupted));
        }
        Ok(ChatResponse { raw: self.raw(), ..accumulator.into_response() })
    }

    /// The answer in pieces.
    pub(super) fn stream(self) -> ChunkStream {
        Box::pin(futures::stream::unfold(self, |mut this| async move {
            this.next().await.map(|item| (item, this))
        }))
    }

    async fn next(&mut self) -> Option<Result<Chunk, ProviderError>> {
        let answer = Arc::clone(&self.answer);
        let Plan::Respond { steps, end, raw: _ } = &answer.plan else { return None };
        if let Some(step) = steps.get(self.at) {
            pause(step.wait).await;
            self.at += 1;
            if step.chunk.is_done() {
                self.call.settle(Fate::Served);
            }
            return Some(Ok(step.chunk.clone()));
        }
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        self.finish(end.as_ref()).await.map(Err)
    }

    async fn finish(&mut self, end: Option<&Mishap>) -> Option<ProviderError> {
        if let Some(mishap) = end {
            return Some(mishap.happen(&mut self.call).await);
        }
        if !self.has_sent_done() {
            self.call.settle(Fate::Failed);
        }
        None
    }

    fn has_sent_done(&self) -> bool {
        let Plan::Respond { steps, .. } = &self.answer.plan else { return false };
        steps.iter().any(|step| step.chunk.is_done())
    }

    fn raw(&self) -> Option<Value> {
        let Plan::Respond { raw, .. } = &self.answer.plan else { return None };
        raw.clone()
    }
}

impl Mishap {
    async fn happen(&self, call: &mut OpenCall) -> ProviderError {
        match self {
            Self::Fail(error) => {
                call.settle(fate_of(error));
                error.clone()
            }
            Self::Hang => std::future::pending().await,
            Self::Panic => {
                call.settle(Fate::Failed);
                panic!("scripted panic");
            }
        }
    }
}

fn fate_of(error: &ProviderError) -> Fate {
    if error.kind() == ErrorKind::RateLimited { Fate::RateLimited } else { Fate::Failed }
}

/// A script may hold what no client would accept; it is for the client to refuse it.
fn unbounded() -> ResponseBounds {
    let mut bounds = ResponseBounds::default();
    (bounds.bytes, bounds.parts) = (usize::MAX, usize::MAX);
    bounds
}

/// Without a wait there is no timer either, so that an instant answer is ready at its first poll.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        sleep_until(after(now(), wait)).await;
    }
}
