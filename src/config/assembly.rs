//! From a configuration to a client.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::balance::{Balancer, BalancerBuilder};
use crate::cache::{CacheBuilder, SemanticCache};
use crate::client::{LlmClient, LlmClientBuilder, Shared};
use crate::config::cache::{CacheConfig, EmbedderName};
use crate::config::client::ClientConfig;
use crate::config::path::under;
use crate::config::setting::set;
use crate::config::shared::SharedConfig;
use crate::config::wires::{Env, Wires};
use crate::error::BuildError;
use crate::provider::Provider;
use crate::queue::RequestQueue;
use crate::quota::{QuotaBuilder, QuotaLimiter};

/// A client that is being built of a [`ClientConfig`], and of what only code can add to it.
///
/// ```
/// use evenkeel::config::ClientConfig;
/// use evenkeel::{ChatResponse, provider_fn};
///
/// let file = "balancer.endpoints = [{ provider = 'in-house' }]\n[cache]";
/// let config = ClientConfig::from_deserializer(toml::Deserializer::parse(file)?)?;
///
/// let client = config
///     .assemble()
///     .provider("in-house", provider_fn("x", |_, _| async { Ok(ChatResponse::text_only("hi")) }))
///     .cache_with(|cache| cache.seed(7))
///     .builder()?
///     .seed(7)
///     .build()?;
/// assert_eq!(client.balancer().status(evenkeel::time::now())[0].id, "in-house");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is built yet"]
pub struct Assembly<'a> {
    config: &'a ClientConfig,
    env: Box<Lookup<'a>>,
    own: BTreeMap<String, Arc<dyn Provider>>,
    balancer: Adjust<'a, BalancerBuilder>,
    quota: Adjust<'a, QuotaBuilder>,
    cache: Adjust<'a, CacheBuilder>,
}

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

type Adjust<'a, B> = Box<dyn FnOnce(B) -> B + 'a>;

impl<'a> Assembly<'a> {
    pub(super) fn new(config: &'a ClientConfig) -> Self {
        Self {
            config,
            env: Box::new(|name| std::env::var(name).ok()),
            own: BTreeMap::new(),
            balancer: Box::new(|builder| builder),
            quota: Box::new(|builder| builder),
            cache: Box::new(|builder| builder),
        }
    }

    /// Adds a provider of your own under the name that endpoints call it. It takes the place of one of
    /// that name in the configuration, which is then not built: so a test needs no keys.
    pub fn provider(mut self, name: impl Into<String>, provider: impl Provider) -> Self {
        self.own.insert(name.into(), Arc::new(provider));
        self
    }

    /// Sets where secrets are found by the names of their environment variables. Default the
    /// environment of the process.
    pub fn env(mut self, lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        self.env = Box::new(lookup);
        self
    }

    /// Changes the balancer's builder once all settings are in it: a strategy of your own, a seed.
    pub fn balancer_with(
        mut self,
        adjust: impl FnOnce(BalancerBuilder) -> BalancerBuilder + 'a,
    ) -> Self {
        self.balancer = Box::new(adjust);
        self
    }

    /// Changes the limiter's builder once all settings are in it, where there is a `quota`.
    pub fn quota_with(mut self, adjust: impl FnOnce(QuotaBuilder) -> QuotaBuilder + 'a) -> Self {
        self.quota = Box::new(adjust);
        self
    }

    /// Changes the cache's builder once all settings are in it, where there is a `cache`: an embedder,
    /// a judge or a verifier of your own.
    pub fn cache_with(mut self, adjust: impl FnOnce(CacheBuilder) -> CacheBuilder + 'a) -> Self {
        self.cache = Box::new(adjust);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// Names the field at fault by its path: a provider that is not there, a secret that is not set, a
    /// wire that this build has no feature for, and whatever the builders refuse.
    pub fn build(self) -> Result<LlmClient, BuildError> {
        self.builder()?.build()
    }

    /// The same up to the client itself: for an observer, a seed, or a mechanism that is shared.
    ///
    /// # Errors
    /// As [`build`](Self::build), but for what the client's own builder refuses.
    pub fn builder(self) -> Result<LlmClientBuilder, BuildError> {
        let Self { config, env, own, balancer, quota, cache } = self;
        let wires = Wires::build(&config.providers, &own, &*env)?;
        let balancer = config
            .balancer
            .builder(|name| own.get(name).or_else(|| wires.get(name)).cloned())
            .and_then(|builder| balancer(builder).build())
            .map_err(|error| under("balancer", &error))?;
        let quota = config.quota.as_ref().map(|settings| settings.build(quota)).transpose()?;
        let queue = config.queue.clone();
        let queue = queue.map(|s| RequestQueue::builder().settings(s).build()).transpose()?;
        let shared = config.shared.as_ref().map(|shared| meeting(shared, &*env)).transpose()?;
        let (shared, secret) = shared.unzip();
        let cache = |builder| cache(set(builder, secret, CacheBuilder::secret));
        let cache = config.cache.as_ref().map(|s| built_cache(s, &wires, cache)).transpose()?;
        let client = client_of(config, balancer, (quota, queue, cache));
        Ok(set(client, shared, LlmClientBuilder::shared))
    }
}

/// What is shared, and the secret of the cache.
#[cfg(feature = "redis")]
fn meeting(config: &SharedConfig, env: Env<'_>) -> Result<(Shared, [u8; 32]), BuildError> {
    crate::config::meeting::build(config, env).map_err(|error| under("shared", &error))
}

#[cfg(not(feature = "redis"))]
fn meeting(_: &SharedConfig, _: Env<'_>) -> Result<(Shared, [u8; 32]), BuildError> {
    Err(BuildError::new("shared.redis", "this build lacks the feature `redis`"))
}

fn built_cache(
    settings: &CacheConfig,
    wires: &Wires,
    adjust: impl FnOnce(CacheBuilder) -> CacheBuilder,
) -> Result<SemanticCache, BuildError> {
    let embedder = match &settings.embedder {
        Some(EmbedderName::OpenAi { provider, model, dimensions }) => {
            let found = wires.embedder(provider, model, *dimensions);
            Some(found.map_err(|error| under("cache.embedder.openai", &error))?)
        }
        Some(EmbedderName::Lexical) | None => None,
    };
    settings.build(|builder| adjust(set(builder, embedder, CacheBuilder::embedder)))
}

fn client_of(
    config: &ClientConfig,
    balancer: Balancer,
    (quota, queue, cache): (Option<QuotaLimiter>, Option<RequestQueue>, Option<SemanticCache>),
) -> LlmClientBuilder {
    use LlmClientBuilder as B;
    let hits_count = config.quota.as_ref().is_some_and(|quota| quota.count_cache_hits);
    let builder = LlmClient::builder()
        .balancer(balancer)
        .timeouts(config.timeouts)
        .retry(config.retry)
        .response_bounds(config.response_bounds)
        .count_cache_hits(hits_count);
    let builder = config.fallbacks.iter().cloned().fold(builder, B::fallback);
    let builder = set(builder, config.hedge, B::hedge);
    let builder = set(builder, quota, B::quota);
    let builder = set(builder, queue, B::queue);
    set(builder, cache, B::cache)
}

impl fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("config", &self.config)
            .field("own", &self.own.keys())
            .finish_non_exhaustive()
    }
}
