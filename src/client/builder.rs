//! Putting a client together.

use std::sync::Arc;

use crate::balance::{Balancer, Endpoint};
use crate::cache::SemanticCache;
use crate::chunk::ResponseBounds;
use crate::client::active::ActiveCalls;
use crate::client::caching::Caching;
use crate::client::fallback::{Fallback, Fallbacks};
use crate::client::gate::Waiting;
use crate::client::hedge::{HedgePolicy, Hedging};
use crate::client::llm_client::{Inner, LlmClient};
use crate::client::retry::{RetryBudget, RetryPolicy};
use crate::client::shared::Shared;
use crate::client::tally::Tally;
use crate::error::BuildError;
use crate::event::{Emitter, Observer};
use crate::options::{HitPace, Timeouts};
use crate::queue::RequestQueue;
use crate::quota::QuotaLimiter;
use crate::remote::Guarded;
use crate::rng::Rng;
use crate::time::now;

/// Configures an [`LlmClient`].
#[derive(Debug, Default)]
#[must_use]
pub struct LlmClientBuilder {
    endpoints: Vec<Endpoint>,
    balancer: Option<Balancer>,
    quota: Option<QuotaLimiter>,
    queue: Option<RequestQueue>,
    cache: Option<SemanticCache>,
    hits_count: bool,
    hit_pace: HitPace,
    timeouts: Timeouts,
    retry: RetryPolicy,
    hedge: Option<HedgePolicy>,
    fallbacks: Vec<Fallback>,
    bounds: ResponseBounds,
    shared: Option<Shared>,
    emitter: Emitter,
    stores: Vec<Arc<Guarded>>,
    seed: Option<u64>,
}

impl LlmClientBuilder {
    /// Adds an endpoint to a balancer with default settings.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Uses a balancer that was configured apart. It may serve several clients.
    pub fn balancer(mut self, balancer: Balancer) -> Self {
        self.balancer = Some(balancer);
        self
    }

    /// Holds tenants to their quotas. Calls take what they are expected to use before anything is
    /// sent, and are settled with what they used. The limiter may serve several clients.
    pub fn quota(mut self, quota: QuotaLimiter) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Answers again what was answered before, and lets calls that ask the same at the same time share
    /// one answer. The cache may serve several clients.
    pub fn cache(mut self, cache: SemanticCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Counts answers from the cache as requests against quotas. They cost no tokens either way; by
    /// default they cost nothing at all.
    pub fn count_cache_hits(mut self, yes: bool) -> Self {
        self.hits_count = yes;
        self
    }

    /// Sets how answers from the cache are streamed, for calls that do not say. By default at once.
    pub fn hit_pace(mut self, pace: HitPace) -> Self {
        self.hit_pace = pace;
        self
    }

    /// Lets calls wait for an endpoint where they would fail for want of one. The queue may serve
    /// several clients.
    ///
    /// A call is then served in its turn by the first endpoint that is free or back in service, and
    /// an attempt that is refused for its rate is not counted: the call waits out the window.
    pub fn queue(mut self, queue: RequestQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets what each stage of a call may take, for calls that do not say.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how often and how fast failed attempts are followed by others.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Starts a second attempt beside one that is slow to show content. Off unless set here; a
    /// call can [decline](crate::Call::hedge).
    pub fn hedge(mut self, policy: HedgePolicy) -> Self {
        self.hedge = Some(policy);
        self
    }

    /// Adds a chain of models for calls that one model cannot serve.
    pub fn fallback(mut self, chain: Fallback) -> Self {
        self.fallbacks.push(chain);
        self
    }

    /// Sets how large an answer may grow.
    pub fn response_bounds(mut self, bounds: ResponseBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Shares with other instances what `shared` has a store for and this client a part: limits, answers,
    /// similar questions, and what providers say of accounts. A part that was given a store of its own
    /// keeps it.
    ///
    /// A client without it needs no other machine. With it, a store that is slow, full or gone makes no
    /// call fail, unless a limit says so, and none later than by the store's deadline.
    pub fn shared(mut self, shared: impl Into<Shared>) -> Self {
        self.shared = Some(shared.into());
        self
    }

    /// Tells `observer` of every decision.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.emitter = Emitter::to(observer);
        self
    }

    /// Shows the state of a store that instances share in the client's [health](LlmClient::health), and
    /// tells its failures to the client's observer: for stores of the application's own. Those of the
    /// balancer, the limiter and the cache are watched without.
    pub fn watch_store(mut self, store: Arc<Guarded>) -> Self {
        self.stores.push(store);
        self
    }

    /// Makes jitter repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// Names the field at fault: see [`BalancerBuilder::build`](crate::balance::BalancerBuilder),
    /// and both endpoints and a balancer, a timeout of zero, a retry policy without attempts or
    /// with shares that are none, a hedge without a delay, a chain of models that is empty, names a
    /// model twice or one that no endpoint serves; `cache.secret` where answers are to be shared and
    /// the cache was given none, `shared.index` where similar questions are, and answers are not.
    pub fn build(self) -> Result<LlmClient, BuildError> {
        validate_timeouts(&self.timeouts)?;
        self.retry.validate()?;
        self.hedge.as_ref().map_or(Ok(()), HedgePolicy::validate)?;
        if self.bounds.bytes == 0 || self.bounds.parts == 0 {
            return Err(BuildError::new("response_bounds", "must be above zero"));
        }
        let Self { timeouts, retry, bounds, emitter, seed, .. } = self;
        let balancer = balancer_of(self.endpoints, self.balancer, seed)?;
        let fallbacks = Fallbacks::new(self.fallbacks, &balancer)?;
        balancer.observe(emitter.clone());
        if let Some(shared) = self.shared {
            shared.hand_out(&balancer, self.quota.as_ref(), self.cache.as_ref())?;
        }
        self.quota.iter().for_each(|quota| quota.observe(&emitter));
        self.cache.iter().for_each(|cache| cache.observe(&emitter));
        self.stores.iter().for_each(|store| store.observe(&emitter));
        Ok(LlmClient::from_inner(Inner {
            waiting: self.queue.map(|queue| Waiting::new(queue, &balancer)),
            caching: self.cache.map(|cache| Caching::new(cache, self.hits_count, self.hit_pace)),
            quota: self.quota,
            balancer,
            active: Arc::new(ActiveCalls::default()),
            timeouts,
            retry,
            budget: RetryBudget::new(&retry, now()),
            hedging: Hedging::new(self.hedge),
            fallbacks,
            bounds,
            rng: seed.map_or_else(Rng::from_entropy, Rng::from_seed),
            emitter,
            tally: Tally::default(),
            stores: self.stores,
        }))
    }
}

fn balancer_of(
    endpoints: Vec<Endpoint>,
    balancer: Option<Balancer>,
    seed: Option<u64>,
) -> Result<Balancer, BuildError> {
    match balancer {
        Some(_) if !endpoints.is_empty() => {
            Err(BuildError::new("balancer", "takes the place of endpoints: give one or the other"))
        }
        Some(balancer) => Ok(balancer),
        None => {
            let builder = endpoints.into_iter().fold(Balancer::builder(), |b, e| b.endpoint(e));
            match seed {
                Some(seed) => builder.seed(seed).build(),
                None => builder.build(),
            }
        }
    }
}

fn validate_timeouts(timeouts: &Timeouts) -> Result<(), BuildError> {
    let Timeouts { connect, first_content, idle, total } = *timeouts;
    let named = [
        ("timeouts.connect", connect),
        ("timeouts.first_content", first_content),
        ("timeouts.idle", idle),
        ("timeouts.total", total),
    ];
    match named.into_iter().find(|(_, timeout)| timeout.is_zero()) {
        Some((field, _)) => Err(BuildError::new(field, "must be above zero")),
        None => Ok(()),
    }
}
