//! The laws a [`Provider`] keeps, as a suite to run against one's own.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use evenkeel::testing::conformance;
//! use evenkeel::{ChatResponse, provider_fn};
//!
//! conformance::provider(|| async {
//!     provider_fn("mine", |_request, _cx| async { Ok(ChatResponse::text_only("hello")) })
//! })
//! .await;
//! # });
//! ```

mod broken;
pub mod cache;
pub mod facts;
pub mod index;
pub mod quota;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};

use super::cancel::drop_after_polls;
use crate::chunk::{Accumulator, Chunk};
use crate::error::ProviderError;
use crate::provider::{CallContext, Provider};
use crate::request::{ChatRequest, Part};
use crate::response::ChatResponse;
use crate::time::{after, now, until};
use crate::usage::Usage;

/// The most places of one answer at which it is dropped. Each costs an attempt.
const MOST_DROPS: usize = 48;

/// The most chunks of one answer.
const MOST_CHUNKS: usize = 100_000;

/// Runs every law against the providers that `make` gives, with the settings of
/// [`ProviderSuite::new`].
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn provider<P, F, Fut>(make: F)
where
    P: Provider,
    F: Fn() -> Fut,
    Fut: Future<Output = P>,
{
    ProviderSuite::new(make).run().await;
}

/// The laws, and what they are tried with.
///
/// Each law gets a provider of its own and makes several attempts on it, so the backend must answer
/// as often as it is asked: some 200 times in all. A model that is asked for a short answer keeps
/// that cheap. The suite runs on a paused clock as well as on a real one.
#[derive(Debug, Clone)]
pub struct ProviderSuite<F> {
    make: F,
    request: ChatRequest,
    limit: Duration,
}

/// What a law found, when it was broken.
type Verdict = Result<(), String>;

impl<P, F, Fut> ProviderSuite<F>
where
    P: Provider,
    F: Fn() -> Fut,
    Fut: Future<Output = P>,
{
    /// A suite that asks for one word and gives each law a minute.
    pub fn new(make: F) -> Self {
        let request = ChatRequest::with_default_model().user("Say yes.").max_output_tokens(16);
        Self { make, request, limit: Duration::from_secs(60) }
    }

    /// Replaces the request. It must be one the provider answers with content.
    #[must_use]
    pub fn request(mut self, request: ChatRequest) -> Self {
        self.request = request;
        self
    }

    /// Sets how long each law may take: what takes longer counts as hanging.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs every law.
    ///
    /// # Panics
    /// At the first law that is broken, with its name and what was seen.
    pub async fn run(&self) {
        // First what every other law takes for granted: that there are answers.
        self.law("a whole answer has content", whole_answer_has_content).await;
        self.law("the id is stable and not empty", id_is_stable).await;
        self.law("a stream ends with its only Done", stream_ends_with_done).await;
        self.law("a stream adds up to a whole answer", stream_adds_up).await;
        self.law("an index belongs to one part", index_belongs_to_one_part).await;
        self.law("usage counts never fall", usage_never_falls).await;
        self.law("a stream may be dropped at any chunk", stream_may_be_dropped).await;
        self.law("a future may be dropped at any poll", future_may_be_dropped).await;
        self.law("an empty conversation is no reason to panic", empty_conversation).await;
        self.law("a shared provider is the same provider", shared_is_the_same).await;
    }

    /// A law that hangs or panics is broken like one that finds a fault.
    async fn law(&self, name: &str, law: impl AsyncFn(P, Asking) -> Verdict) {
        let asking = Asking {
            request: self.request.clone(),
            cx: CallContext::new(after(now(), self.limit)),
        };
        let trial = async { law((self.make)().await, asking).await };
        let trial = AssertUnwindSafe(trial).catch_unwind();
        let finding = match until(after(now(), self.limit), trial).await {
            Some(Ok(Ok(()))) => return,
            Some(Ok(Err(finding))) => finding,
            Some(Err(panic)) => format!("it panicked: {}", panic_text(&*panic)),
            None => format!("it hung for {:?}", self.limit),
        };
        panic!("provider law broken: {name}: {finding}");
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// What a law asks the provider.
struct Asking {
    request: ChatRequest,
    cx: CallContext,
}

impl Asking {
    async fn whole(&self, provider: &impl Provider) -> Result<ChatResponse, String> {
        let answer = provider.complete(&self.request, &self.cx).await;
        answer.map_err(|error| failed("complete", &error))
    }

    async fn chunks(&self, provider: &impl Provider) -> Result<Vec<Chunk>, String> {
        let stream = provider.stream(&self.request, &self.cx).await;
        let mut stream = stream.map_err(|error| failed("stream", &error))?;
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.next().await {
            chunks.push(chunk.map_err(|error| failed("the stream", &error))?);
            ensure(chunks.len() <= MOST_CHUNKS, || format!("more than {MOST_CHUNKS} chunks"))?;
        }
        Ok(chunks)
    }
}

fn failed(what: &str, error: &ProviderError) -> String {
    format!("{what} failed: {error}: {}", error.message())
}

fn ensure<T: Display>(holds: bool, finding: impl FnOnce() -> T) -> Verdict {
    if holds { Ok(()) } else { Err(finding().to_string()) }
}

async fn id_is_stable(provider: impl Provider, asking: Asking) -> Verdict {
    let before = provider.id().to_owned();
    ensure(!before.is_empty(), || "the id is empty")?;
    // The answer does not matter here, only that the id survives it.
    let _answer = provider.complete(&asking.request, &asking.cx).await;
    let later = provider.id();
    ensure(later == before, || format!("it was {before:?} and is {later:?} after an attempt"))
}

async fn whole_answer_has_content(provider: impl Provider, asking: Asking) -> Verdict {
    let answer = asking.whole(&provider).await?;
    let has_content = answer.content.iter().any(|part| part.as_text() != Some(""));
    ensure(has_content, || format!("it is {answer:?}"))
}

async fn stream_ends_with_done(provider: impl Provider, asking: Asking) -> Verdict {
    let chunks = asking.chunks(&provider).await?;
    let first = chunks.iter().position(Chunk::is_done).map(|at| at + 1);
    ensure(first.is_some(), || format!("no Done in {} chunks", chunks.len()))?;
    ensure(first == Some(chunks.len()), || {
        format!("{:?} follows Done", chunks.iter().skip_while(|chunk| !chunk.is_done()).nth(1))
    })
}

async fn stream_adds_up(provider: impl Provider, asking: Asking) -> Verdict {
    let sum = accumulated(&asking.chunks(&provider).await?)?;
    let whole = asking.whole(&provider).await?;
    let (sum, whole) = (shape(&sum), shape(&whole));
    ensure(sum == whole, || format!("the stream has {sum:?}, the whole answer {whole:?}"))
}

fn accumulated(chunks: &[Chunk]) -> Result<ChatResponse, String> {
    let mut accumulator = Accumulator::default();
    for chunk in chunks {
        accumulator.push(chunk).map_err(|error| failed("adding up", &error))?;
    }
    Ok(accumulator.into_response())
}

/// What two answers to one question have in common even when the model words them differently.
/// Whether it reasons aloud is its own choice each time.
fn shape(response: &ChatResponse) -> BTreeSet<&'static str> {
    let kinds = response.content.iter().map(|part| match part {
        Part::Text { .. } => "text",
        Part::ToolCall(_) => "tool calls",
        Part::Reasoning(_) | Part::Opaque { .. } => "",
        _ => "media",
    });
    kinds.filter(|kind| !kind.is_empty()).collect()
}

async fn index_belongs_to_one_part(provider: impl Provider, asking: Asking) -> Verdict {
    let mut kinds = BTreeMap::new();
    for chunk in asking.chunks(&provider).await? {
        let Some((index, kind)) = placed(&chunk) else { continue };
        let first = *kinds.entry(index).or_insert(kind);
        ensure(first == kind, || format!("{kind} at index {index}, which is of {first}"))?;
    }
    Ok(())
}

fn placed(chunk: &Chunk) -> Option<(u32, &'static str)> {
    match chunk {
        Chunk::Text { index, .. } => Some((*index, "text")),
        Chunk::Reasoning { index, .. } => Some((*index, "reasoning")),
        Chunk::ToolCall { index, .. } => Some((*index, "a tool call")),
        Chunk::Part { index, .. } => Some((*index, "a whole part")),
        _ => None,
    }
}

async fn usage_never_falls(provider: impl Provider, asking: Asking) -> Verdict {
    let mut known = Usage::new();
    for chunk in asking.chunks(&provider).await? {
        let Chunk::Usage(usage) = chunk else { continue };
        let mut merged = known;
        merged.update(&usage);
        let falls = counts(&merged).into_iter().zip(counts(&known)).any(|(now, was)| now < was);
        ensure(!falls, || format!("{usage:?} after {known:?}"))?;
        known = merged;
    }
    Ok(())
}

fn counts(usage: &Usage) -> [Option<u64>; 5] {
    [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ]
}

async fn stream_may_be_dropped(provider: impl Provider, asking: Asking) -> Verdict {
    let chunks = asking.chunks(&provider).await?.len();
    for keep in 0..=chunks.min(MOST_DROPS) {
        let stream = provider.stream(&asking.request, &asking.cx).await;
        let stream = stream.map_err(|error| failed(&format!("after {keep} drops, stream"), &error));
        drop(stream?.take(keep).collect::<Vec<_>>().await);
    }
    asking.chunks(&provider).await.map(drop)
}

async fn future_may_be_dropped(provider: impl Provider, asking: Asking) -> Verdict {
    let Asking { request, cx } = &asking;
    for polls in 0..MOST_DROPS {
        let whole = drop_after_polls(provider.complete(request, cx), polls).await;
        let stream = drop_after_polls(provider.stream(request, cx), polls).await;
        if whole.is_some() && stream.is_some() {
            break;
        }
    }
    asking.whole(&provider).await?;
    asking.chunks(&provider).await.map(drop)
}

async fn empty_conversation(provider: impl Provider, asking: Asking) -> Verdict {
    let empty = ChatRequest { messages: Vec::new(), ..asking.request };
    // An answer and an error are both fine, here and in the stream.
    let _answer = provider.complete(&empty, &asking.cx).await;
    if let Ok(stream) = provider.stream(&empty, &asking.cx).await {
        stream.take(MOST_CHUNKS).for_each(|_| std::future::ready(())).await;
    }
    Ok(())
}

async fn shared_is_the_same(provider: impl Provider, asking: Asking) -> Verdict {
    let alone = described(&provider, &asking.request);
    let answer = asking.whole(&provider).await?;
    let shared: Arc<dyn Provider> = Arc::new(provider);
    let described = described(&shared, &asking.request);
    ensure(described == alone, || format!("alone it is {alone}, shared {described}"))?;
    let (alone, shared) = (shape(&answer), asking.whole(&shared).await?);
    let shared = shape(&shared);
    ensure(shared == alone, || format!("alone it answers {alone:?}, shared {shared:?}"))
}

fn described(provider: &impl Provider, request: &ChatRequest) -> String {
    let (id, tokens) = (provider.id(), provider.count_tokens(request));
    format!("{id:?} with {:?}, counting {tokens:?} input tokens", provider.capabilities())
}
