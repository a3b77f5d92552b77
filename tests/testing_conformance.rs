//! The provider suite passes what keeps the laws, and names the law that is broken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::chunk::ChunkStart;
use evenkeel::request::Reasoning;
use evenkeel::testing::conformance::{self, ProviderSuite};
use evenkeel::testing::{Answer, Distribution, ScriptedProvider, SimulatedProvider};
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Chunk, ChunkStream, ErrorKind, FinishReason, Part,
    Provider, ProviderError, ToolCall, Usage, async_trait, provider_fn,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn both_doubles_and_closures_keep_the_laws() {
    let answer = Answer::text("yes of course").delay(SECOND / 10).pace(SECOND / 100);
    for streaming in [true, false] {
        conformance::provider(async || {
            ScriptedProvider::new("scripted").streaming(streaming).forever(answer.clone())
        })
        .await;
        conformance::provider(async || {
            SimulatedProvider::builder("simulated")
                .time_to_first_token(Distribution::log_normal(0.1, 0.3))
                .tokens_per_second(100.0)
                .streaming(streaming)
                .build()
                .unwrap()
        })
        .await;
    }
    conformance::provider(async || {
        provider_fn("closure", |_, _| async { Ok(ChatResponse::text_only("yes")) })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_empty_conversations_keeps_the_laws() {
    conformance::provider(async || {
        provider_fn("strict", |request, _| async move {
            if request.messages.is_empty() {
                return Err(ProviderError::new(ErrorKind::InvalidRequest, "no messages"));
            }
            let call = Part::ToolCall(ToolCall::new("c", "find", "{}"));
            Ok(ChatResponse::new([call], FinishReason::ToolCalls))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_suite_asks_what_it_is_told_to_ask() {
    ProviderSuite::new(async || {
        provider_fn("picky", |request, _| async move {
            let known = request.messages.is_empty() || request.messages[0].text() == "ping";
            if known { Ok(ChatResponse::text_only("pong")) } else { panic!("asked otherwise") }
        })
    })
    .request(ChatRequest::with_default_model().user("ping"))
    .run()
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "the id is stable and not empty"]
async fn an_empty_id_breaks_a_law() {
    conformance::provider(async || ScriptedProvider::new("").forever(Answer::text("yes"))).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "the id is stable and not empty"]
async fn an_id_that_changes_breaks_a_law() {
    conformance::provider(async || Twisted::default().renamed_when_asked()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a whole answer has content"]
async fn an_empty_answer_breaks_a_law() {
    conformance::provider(async || ScriptedProvider::new("p").forever(Answer::text(""))).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a whole answer has content: complete failed: server error"]
async fn a_failing_backend_breaks_a_law_and_is_quoted() {
    conformance::provider(async || {
        ScriptedProvider::new("p").forever(Answer::error(ErrorKind::Server))
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a whole answer has content: it hung for 5s"]
async fn a_silent_backend_breaks_a_law() {
    ProviderSuite::new(async || ScriptedProvider::new("p").forever(Answer::hang()))
        .limit(5 * SECOND)
        .run()
        .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a stream ends with its only Done: no Done"]
async fn a_stream_without_its_end_breaks_a_law() {
    conformance::provider(async || Twisted::streaming([Chunk::text(0, "yes")])).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a stream ends with its only Done: Some(Done(Stop)) follows Done"]
async fn a_second_end_breaks_a_law() {
    conformance::provider(async || Twisted::streaming([Chunk::text(0, "yes"), done(), done()]))
        .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a stream ends with its only Done: Some(Text(0, <4 bytes>)) follows Done"]
async fn content_after_the_end_breaks_a_law() {
    let chunks = || [Chunk::text(0, "yes"), done(), Chunk::text(0, " sir")];
    conformance::provider(async || Twisted::streaming(chunks())).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a stream adds up to a whole answer"]
async fn a_stream_of_another_shape_breaks_a_law() {
    let call = || Chunk::ToolCall { index: 0, delta: ToolCall::new("c", "find", "{}") };
    conformance::provider(async || Twisted::streaming([call(), done()])).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "an index belongs to one part: text at index 0, which is of reasoning"]
async fn a_shared_index_breaks_a_law() {
    let thought = || Chunk::Reasoning { index: 0, delta: Reasoning::new("hm") };
    conformance::provider(async || Twisted::streaming([thought(), Chunk::text(0, "yes"), done()]))
        .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "usage counts never fall"]
async fn falling_usage_breaks_a_law() {
    let usage = |output| Chunk::Usage(Usage::counted(5, output));
    conformance::provider(async || {
        Twisted::streaming([usage(9), Chunk::text(0, "yes"), usage(8), done()])
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a stream may be dropped at any chunk: it panicked: dropped too early"]
async fn a_stream_that_minds_being_dropped_breaks_a_law() {
    conformance::provider(async || Twisted::default().minding_early_drops()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a future may be dropped at any poll: it hung for 60s"]
async fn a_lock_that_is_lost_with_its_caller_breaks_a_law() {
    conformance::provider(async || Twisted::default().locking()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "an empty conversation is no reason to panic: it panicked: index out of bounds"]
async fn a_panic_at_an_empty_conversation_breaks_a_law() {
    conformance::provider(async || {
        provider_fn("careless", |request, _| async move {
            Ok(ChatResponse::text_only(request.messages[0].text()))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic = "a shared provider is the same provider"]
async fn counts_that_depend_on_who_asks_break_a_law() {
    conformance::provider(async || Twisted::default().counting_at_random()).await;
}

fn done() -> Chunk {
    Chunk::done(FinishReason::Stop)
}

/// A provider that answers whole as it should, and breaks one law.
#[derive(Default)]
struct Twisted {
    chunks: Option<Vec<Chunk>>,
    renamed: bool,
    minding: bool,
    locking: bool,
    counting: bool,
    locked: AtomicBool,
    asked: AtomicU64,
}

impl Twisted {
    fn streaming(chunks: impl IntoIterator<Item = Chunk>) -> Self {
        let start = Chunk::Start(ChunkStart::new());
        Self { chunks: Some([start].into_iter().chain(chunks).collect()), ..Self::default() }
    }

    fn renamed_when_asked(self) -> Self {
        Self { renamed: true, ..self }
    }

    fn minding_early_drops(self) -> Self {
        Self { minding: true, ..self }
    }

    fn locking(self) -> Self {
        Self { locking: true, ..self }
    }

    fn counting_at_random(self) -> Self {
        Self { counting: true, ..self }
    }

    /// Takes a lock that is not given back when the future is dropped while it waits.
    async fn hold_the_lock(&self) {
        if self.locked.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        sleep_until(after(now(), SECOND)).await;
        self.locked.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl Provider for Twisted {
    fn id(&self) -> &str {
        let asked = self.asked.load(Ordering::Relaxed) > 0;
        if self.renamed && asked { "later" } else { "before" }
    }

    async fn complete(
        &self,
        _request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.locking {
            self.hold_the_lock().await;
        }
        Ok(ChatResponse::text_only("yes"))
    }

    async fn stream(
        &self,
        _request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let whole = Chunk::from_response(ChatResponse::text_only("yes"));
        let chunks = self.chunks.clone().unwrap_or_else(|| whole.collect());
        let body = Body { chunks: chunks.into_iter(), minding: self.minding };
        Ok(Box::pin(futures::stream::iter(body)))
    }

    fn count_tokens(&self, _request: &ChatRequest) -> Option<u64> {
        self.counting.then(|| self.asked.fetch_add(1, Ordering::Relaxed))
    }
}

struct Body {
    chunks: std::vec::IntoIter<Chunk>,
    minding: bool,
}

impl Iterator for Body {
    type Item = Result<Chunk, ProviderError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunks.next().map(Ok)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.minding && self.chunks.len() > 0 {
            panic!("dropped too early");
        }
    }
}
