//! How one service reaches its servers.

use std::sync::Arc;

use super::builder::RedisSharedBuilder;
use super::cache::RedisCacheStore;
use super::facts::RedisFactStore;
use super::keys::Keys;
use super::link::Link;
use super::quota::RedisQuotaStore;
use crate::client::Shared;
use crate::error::BuildError;
use crate::remote::StoreError;

/// What the instances of one service share on Redis.
///
/// Given to [`LlmClientBuilder::shared`](crate::client::LlmClientBuilder::shared), it is where a client
/// meets the others for its limits, its answers and what providers say of accounts; each of the three
/// can also be used alone. Cheap to clone; clones share the connections. Those are made when something
/// is first asked, belong to the runtime it is asked on, and end with it.
///
/// ```
/// use evenkeel::stores::redis::RedisShared;
///
/// # fn main() -> Result<(), evenkeel::BuildError> {
/// let shared = RedisShared::builder("redis://:password@127.0.0.1:6379")
///     .secret("at least sixteen bytes that all instances have")
///     .prefix("chat")
///     .build()?;
/// let quotas = shared.quotas();
/// assert!(!format!("{shared:?}").contains("password"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedisShared {
    pub(super) keys: Arc<Keys>,
    pub(super) quotas: Arc<Link>,
    pub(super) answers: Arc<Link>,
}

impl RedisShared {
    /// Starts from the URL of a server: `redis://`, `rediss://` for TLS, or `unix://`, with user,
    /// password and database where there are some.
    pub fn builder(url: impl Into<String>) -> RedisSharedBuilder {
        RedisSharedBuilder::new(url.into())
    }

    /// With the defaults: one server, no prefix of your own. Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL cannot be understood or the secret is too short.
    pub fn connect(url: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, BuildError> {
        Self::builder(url).secret(secret).build()
    }

    /// Connects, and waits until the servers answer: calls then need not find the way first, which takes
    /// longer than they wait for a store. Worth awaiting before an instance serves, with a bound of
    /// one's own; it is tried for [`connect_timeout`](RedisSharedBuilder::connect_timeout) and more.
    ///
    /// # Errors
    /// Where one of the servers does not answer. Nothing is wrong then but that: it is connected to once
    /// it does.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.quotas.ready().await?;
        self.answers.ready().await
    }

    /// A secret for the [caches](crate::cache::CacheBuilder::secret) of all instances, derived from the
    /// one here.
    #[must_use]
    pub fn cache_secret(&self) -> [u8; 32] {
        self.keys.sealer().of_caches()
    }

    /// Answers that all instances may serve.
    #[must_use]
    pub fn answers(&self) -> RedisCacheStore {
        RedisCacheStore::new(Arc::clone(&self.keys), Arc::clone(&self.answers))
    }

    /// What instances tell one another of their accounts.
    #[must_use]
    pub fn facts(&self) -> RedisFactStore {
        RedisFactStore::new(Arc::clone(&self.keys), Arc::clone(&self.answers))
    }

    /// Quotas that all instances take from.
    #[must_use]
    pub fn quotas(&self) -> RedisQuotaStore {
        RedisQuotaStore::new(Arc::clone(&self.keys), Arc::clone(&self.quotas))
    }
}

/// All that is kept there, under a secret that is derived from the one here. A cache is built before it
/// is shared, and is given [its own](RedisShared::cache_secret) then.
impl From<RedisShared> for Shared {
    fn from(redis: RedisShared) -> Self {
        Self::new(redis.keys.sealer().of_instances())
            .quota(redis.quotas())
            .cache(redis.answers())
            .facts(redis.facts())
    }
}
