//! The client itself.

use std::fmt;
use std::sync::Arc;

use crate::balance::Balancer;
use crate::cache::SemanticCache;
use crate::chunk::ResponseBounds;
use crate::client::active::{ActiveCalls, Drained};
use crate::client::builder::LlmClientBuilder;
use crate::client::caching::Caching;
use crate::client::fallback::Fallbacks;
use crate::client::gate::Waiting;
use crate::client::health::{self, Health};
use crate::client::hedge::Hedging;
use crate::client::pipeline;
use crate::client::retry::{RetryBudget, RetryPolicy};
use crate::client::stats::{self, ClientStats};
use crate::client::stream::CompletionStream;
use crate::client::tally::Tally;
use crate::error::Error;
use crate::event::Emitter;
use crate::options::{Call, Timeouts};
use crate::queue::RequestQueue;
use crate::quota::QuotaLimiter;
use crate::remote::Guarded;
use crate::response::Completion;
use crate::rng::Rng;
use crate::time::Instant;

/// One client over many providers.
///
/// Cheap to clone; clones share everything. All work happens while a call is polled, in no task and
/// no thread of its own; only what instances [share](LlmClientBuilder::shared) is told beside the calls.
///
/// ```
/// use evenkeel::{ChatResponse, Endpoint, LlmClient, provider_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let client = LlmClient::builder()
///     .endpoint(Endpoint::new(provider_fn("a", |_, _| async {
///         Ok(ChatResponse::text_only("Each value has one owner."))
///     })))
///     .build()?;
///
/// let done = client.complete("What is Rust ownership?").await?;
/// assert_eq!(done.text(), "Each value has one owner.");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct LlmClient {
    inner: Arc<Inner>,
}

/// What the clones of a client and its running calls share.
pub(super) struct Inner {
    pub(super) balancer: Balancer,
    pub(super) quota: Option<QuotaLimiter>,
    pub(super) waiting: Option<Waiting>,
    pub(super) caching: Option<Caching>,
    pub(super) active: Arc<ActiveCalls>,
    pub(super) timeouts: Timeouts,
    pub(super) retry: RetryPolicy,
    pub(super) budget: RetryBudget,
    pub(super) hedging: Hedging,
    pub(super) fallbacks: Fallbacks,
    pub(super) bounds: ResponseBounds,
    pub(super) rng: Rng,
    pub(super) emitter: Emitter,
    pub(super) tally: Tally,
    /// Those it tells the state of.
    pub(super) stores: Vec<Arc<Guarded>>,
}

impl LlmClient {
    /// Starts a configuration.
    pub fn builder() -> LlmClientBuilder {
        LlmClientBuilder::default()
    }

    pub(super) fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Answers whole.
    ///
    /// Where the provider streams, the answer is streamed underneath, so that its TTFT is known and
    /// a stalled backend is noticed before the whole answer is due.
    ///
    /// # Errors
    /// See [`Error`]; every one carries the trail of what was tried. The call ends by its deadline
    /// whatever the providers do.
    ///
    /// # Cancellation
    /// Dropping the future cancels the attempt upstream and gives back all the call holds.
    ///
    /// # Panics
    /// When polled outside a tokio runtime with its timer enabled and something has to be waited
    /// for.
    pub async fn complete(&self, call: impl Into<Call>) -> Result<Completion, Error> {
        pipeline::complete(&self.inner, call.into()).await
    }

    /// Answers in pieces. Resolves once the first content has arrived, so failures before it have
    /// already been retried.
    ///
    /// # Errors
    /// As [`complete`](Self::complete), up to the first content; what fails later is an item of the
    /// stream.
    ///
    /// # Cancellation
    /// Dropping the future or the stream cancels the attempt upstream and gives back all the call
    /// holds.
    ///
    /// # Panics
    /// As [`complete`](Self::complete).
    pub async fn stream(&self, call: impl Into<Call>) -> Result<CompletionStream, Error> {
        pipeline::stream(&self.inner, call.into()).await
    }

    /// Stops taking calls, waits for the running ones until `deadline`, and ends what is left with
    /// [`Error::Closed`]. A call that ends in time is never disturbed.
    ///
    /// # Cancellation
    /// Dropping the future leaves the client closed, and the running calls alone.
    pub async fn drain(&self, deadline: Instant) -> Drained {
        self.inner.active.drain(deadline).await
    }

    /// Calls that are running, streams included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.active.running()
    }

    /// Whether [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.active.is_closed()
    }

    /// What the client is doing, and did since it was built.
    ///
    /// For people, dashboards and tests; it needs no observer. Takes the balancer's lock and the
    /// queue's, looks at every waiting call and every endpoint, and copies two kilobytes for each
    /// distribution: fit to be asked once a second, not once a call. What is counted meanwhile may be
    /// in one number and not yet in another.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        stats::read(&self.inner)
    }

    /// Whether the client should get traffic, and why not. Asks nobody: it tells what calls have
    /// found out by now. Takes the balancer's lock.
    #[must_use]
    pub fn health(&self) -> Health {
        health::read(&self.inner)
    }

    /// The balancer, for its status and to share it.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.inner.balancer
    }

    /// The cache, where the client has one, for its statistics and to invalidate entries.
    #[must_use]
    pub fn cache(&self) -> Option<&SemanticCache> {
        self.inner.caching.as_ref().map(|caching| &caching.cache)
    }

    /// The limiter, where the client has one, for its usage and to change limits.
    #[must_use]
    pub fn quota(&self) -> Option<&QuotaLimiter> {
        self.inner.quota.as_ref()
    }

    /// The queue, where the client has one, for its statistics.
    #[must_use]
    pub fn queue(&self) -> Option<&RequestQueue> {
        self.inner.waiting.as_ref().map(|waiting| &waiting.queue)
    }
}

impl fmt::Debug for LlmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmClient")
            .field("balancer", &self.inner.balancer)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("balancer", &self.balancer).finish_non_exhaustive()
    }
}
