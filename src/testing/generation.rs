//! An answer of a simulated server while it is being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::failure;
use super::faults::Troubles;
use super::meter::{Fate, OpenCall};
use crate::chunk::{Accumulator, Chunk, ChunkStart, ChunkStream};
use crate::error::{ErrorKind, ProviderError};
use crate::request::ChatRequest;
use crate::response::{ChatResponse, FinishReason};
use crate::time::{FAR_FUTURE, Instant, after, now, sleep_until};
use crate::usage::Usage;

/// The most words of a prompt that an answer repeats, and the most bytes of each: an answer's memory
/// is bounded by its length in tokens, whatever the prompt.
const ECHOED_WORDS: usize = 1024;
const ECHOED_BYTES: usize = 16;

/// Everything that is decided about an answer when its request arrives.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) start: ChunkStart,
    pub(super) echo: Echo,
    /// From the start of the work to the first token, in seconds.
    pub(super) first_token: f64,
    /// Between two tokens, in seconds.
    pub(super) per_token: f64,
    pub(super) tokens: u64,
    pub(super) finish: FinishReason,
    pub(super) usage: Option<Usage>,
    pub(super) hangs: bool,
    /// The token before which the answer breaks off.
    pub(super) cut_at: Option<u64>,
}

impl Plan {
    pub(super) fn troubled(mut self, troubles: &Troubles) -> Self {
        self.first_token *= troubles.slowdown;
        self.per_token *= troubles.slowdown;
        self.hangs = troubles.hangs;
        self.cut_at = troubles.cut.map(|place| (place * self.tokens as f64) as u64);
        self
    }

    pub(super) fn started(mut self, start: ChunkStart) -> Self {
        self.start = start;
        self
    }

    /// How long after the start of the work token `n` is there.
    fn token_after(&self, n: u64) -> Duration {
        let seconds = self.first_token + self.per_token * n as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(FAR_FUTURE)
    }

    fn last_token(&self) -> u64 {
        self.cut_at.unwrap_or_else(|| self.tokens.saturating_sub(1))
    }
}

/// The words of a prompt, said again for as long as the answer is.
#[derive(Debug)]
pub(super) struct Echo(Vec<String>);

impl Echo {
    pub(super) fn of(request: &ChatRequest) -> Self {
        let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
        let mut words: Vec<String> =
            said.split_whitespace().take(ECHOED_WORDS).map(shortened).collect();
        if words.is_empty() {
            words.push("silence".into());
        }
        Self(words)
    }

    fn token(&self, n: u64) -> String {
        let at = usize::try_from(n).unwrap_or(usize::MAX) % self.0.len();
        if n == 0 { self.0[at].clone() } else { format!(" {}", self.0[at]) }
    }
}

fn shortened(word: &str) -> String {
    let fits = |end: &usize| *end <= ECHOED_BYTES;
    let end = word.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(fits).last();
    word[..end.unwrap_or(0)].to_owned()
}

/// An answer that the server is working on. Holds one of the server's places until it is over.
#[derive(Debug)]
pub(super) struct Generation {
    plan: Plan,
    stage: Stage,
    begun: Instant,
    place: Option<OwnedSemaphorePermit>,
    call: OpenCall,
    /// The server's count of output tokens.
    written: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Start,
    Token(u64),
    Usage,
    Done,
    Over,
}

impl Generation {
    /// The work on `plan` begins now.
    pub(super) fn begin(
        plan: Plan,
        place: Option<OwnedSemaphorePermit>,
        call: OpenCall,
        written: Arc<AtomicU64>,
    ) -> Self {
        Self { plan, stage: Stage::Start, begun: now(), place, call, written }
    }

    /// The whole answer. One timer, however many tokens it has.
    pub(super) async fn whole(mut self) -> Result<ChatResponse, ProviderError> {
        if !self.plan.hangs {
            self.reach(self.plan.last_token()).await;
        }
        let mut accumulator = Accumulator::default();
        while let Some(chunk) = self.next().await {
            accumulator.push(&chunk)?;
        }
        if !accumulator.is_complete() {
            return Err(failure::of_kind(ErrorKind::Interrupted));
        }
        Ok(accumulator.into_response())
    }

    /// The answer token by token. The tokens come when they are due, whether or not the ones before
    /// were asked for in time.
    pub(super) fn stream(self) -> ChunkStream {
        Box::pin(futures::stream::unfold(self, |mut this| async move {
            this.next().await.map(|chunk| (Ok(chunk), this))
        }))
    }

    async fn next(&mut self) -> Option<Chunk> {
        match self.stage {
            Stage::Start => {
                self.stage = Stage::Token(0);
                Some(Chunk::Start(self.plan.start.clone()))
            }
            Stage::Token(n) => self.token(n).await,
            Stage::Usage => {
                self.stage = Stage::Done;
                Some(Chunk::Usage(self.plan.usage.unwrap_or_default()))
            }
            Stage::Done => {
                self.end(Fate::Served);
                Some(Chunk::done(self.plan.finish.clone()))
            }
            Stage::Over => None,
        }
    }

    async fn token(&mut self, n: u64) -> Option<Chunk> {
        if self.plan.hangs {
            return std::future::pending().await;
        }
        self.reach(n).await;
        if self.plan.cut_at == Some(n) {
            self.end(Fate::Failed);
            return None;
        }
        self.stage = self.after_token(n);
        self.written.fetch_add(1, Ordering::Relaxed);
        Some(Chunk::text(0, self.plan.echo.token(n)))
    }

    /// Waits until token `n` is due. A token that is due already costs no timer.
    async fn reach(&self, n: u64) {
        let due = after(self.begun, self.plan.token_after(n));
        if due > now() {
            sleep_until(due).await;
        }
    }

    fn after_token(&self, n: u64) -> Stage {
        if n + 1 < self.plan.tokens {
            Stage::Token(n + 1)
        } else if self.plan.usage.is_some() {
            Stage::Usage
        } else {
            Stage::Done
        }
    }

    fn end(&mut self, fate: Fate) {
        self.stage = Stage::Over;
        self.call.settle(fate);
        self.place = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_repeats_the_last_message_and_is_bounded() {
        let echo = Echo::of(&ChatRequest::default().user("first").user("to be"));
        assert_eq!((0..3).map(|n| echo.token(n)).collect::<String>(), "to be to");
        let long = Echo::of(&"é".repeat(50).as_str().into());
        assert_eq!(long.token(0), "é".repeat(8));
        let wordy = Echo::of(&"word ".repeat(5_000).into());
        assert_eq!(wordy.0.len(), ECHOED_WORDS);
        assert_eq!(Echo::of(&ChatRequest::default()).token(0), "silence");
    }
}
