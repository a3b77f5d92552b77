//! A provider that has its answer at once, and the requests it is asked.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::time::now;
use evenkeel::{
    CallContext, Capabilities, ChatRequest, ChatResponse, Chunk, ChunkStream, FinishReason,
    Provider, ProviderError, async_trait,
};
use futures::Stream;

/// Answers at once: whole, or in so many chunks of a word.
pub(crate) struct Instantaneous {
    pub(crate) id: &'static str,
    pub(crate) chunks: u32,
    /// Whether each chunk is waited for once.
    pub(crate) pending: bool,
}

impl Instantaneous {
    /// Answers whole.
    pub(crate) fn whole(id: &'static str) -> Self {
        Self::chunks(id, 1)
    }

    /// Answers in so many chunks, each of which is there when it is asked for.
    pub(crate) fn chunks(id: &'static str, chunks: u32) -> Self {
        Self { id, chunks, pending: false }
    }
}

#[async_trait]
impl Provider for Instantaneous {
    fn id(&self) -> &str {
        self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        black_box(request);
        Ok(ChatResponse::text_only("an answer of a few words"))
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        black_box(request);
        Ok(Box::pin(Words { left: self.chunks + 1, pending: self.pending, waited: false }))
    }

    fn capabilities(&self) -> Capabilities {
        // Whole answers are asked for whole.
        Capabilities::all().streaming(false)
    }
}

/// The chunks of an answer, the terminal one last.
struct Words {
    left: u32,
    pending: bool,
    waited: bool,
}

impl Stream for Words {
    type Item = Result<Chunk, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.pending && !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(match left {
            0 => Chunk::done(FinishReason::Stop),
            _ => Chunk::text(0, "word "),
        })))
    }
}

/// What a provider is told that is called bare.
pub(crate) fn context() -> CallContext {
    CallContext::new(now() + Duration::from_secs(3600))
}

/// A request that asks something new each time: its seed is counted up in place. Nobody holds the last one
/// any more.
pub(crate) struct Question(Arc<ChatRequest>);

impl Question {
    pub(crate) fn new(prompt: usize) -> Self {
        Self::numbered(prompt, 0)
    }

    /// The questions of different numbers are different for a million turns.
    pub(crate) fn numbered(prompt: usize, number: u32) -> Self {
        let mut request = ChatRequest::new("model").user("x".repeat(prompt));
        request.sampling.seed = Some(i64::from(number) << 20);
        Self(Arc::new(request))
    }

    pub(crate) fn next(&mut self) -> Arc<ChatRequest> {
        let request = Arc::get_mut(&mut self.0).expect("the last call has ended");
        *request.sampling.seed.get_or_insert(0) += 1;
        Arc::clone(&self.0)
    }
}
