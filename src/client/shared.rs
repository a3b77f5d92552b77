//! What a client's parts share with other instances.

use std::fmt;
use std::sync::Arc;

use crate::balance::Balancer;
use crate::balance::facts::FactStore;
use crate::cache::SemanticCache;
use crate::cache::shared::{CacheStore, VectorIndex};
use crate::error::BuildError;
use crate::quota::store::QuotaStore;
use crate::quota::{QuotaLimiter, SharedQuota};

/// Where instances of one service meet: the stores of quotas, answers, similar questions and facts
/// about accounts, and the secret that all of them have.
///
/// [`LlmClientBuilder::shared`](super::LlmClientBuilder::shared) hands each store to the part of the
/// client that uses it. What a client does not have is not shared; what has no store stays this
/// instance's own. A cache has a secret of its own, which its builder is to be
/// [given](crate::cache::CacheBuilder::secret): what it holds depends on it from the start. An adapter
/// that keeps several of them turns into all of these at once, and others can be put beside it. Clones are one instance: each process makes its own.
///
/// ```
/// use evenkeel::balance::facts::MemoryFactStore;
/// use evenkeel::client::Shared;
/// use evenkeel::quota::store::MemoryQuotaStore;
///
/// let secret = [7; 32]; // random bytes, the same for all instances, kept like a password
/// let shared = Shared::new(secret)
///     .quota(MemoryQuotaStore::new())
///     .facts(MemoryFactStore::new());
/// # let _ = shared;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Shared {
    secret: [u8; 32],
    quota: Option<SharedQuota>,
    cache: Option<Arc<dyn CacheStore>>,
    index: Option<Arc<dyn VectorIndex>>,
    facts: Option<Arc<dyn FactStore>>,
}

impl Shared {
    /// Nothing yet. The secret keys every hash that stands for a name in a store: with another one,
    /// what is in the stores is as if it were not there.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { secret, quota: None, cache: None, index: None, facts: None }
    }

    /// Keeps the limits of all instances together.
    pub fn quota(mut self, store: impl QuotaStore) -> Self {
        self.quota = Some(SharedQuota::new(store).secret(self.secret));
        self
    }

    /// Keeps the answers of all instances together.
    pub fn cache(mut self, store: impl CacheStore) -> Self {
        self.cache = Some(Arc::new(store));
        self
    }

    /// Finds similar questions that other instances had. Its answers are taken back through the store
    /// of [answers](Self::cache), which it needs.
    pub fn index(mut self, index: impl VectorIndex) -> Self {
        self.index = Some(Arc::new(index));
        self
    }

    /// Tells other instances what providers say of the accounts, and heeds what they say.
    pub fn facts(mut self, store: impl FactStore) -> Self {
        self.facts = Some(Arc::new(store));
        self
    }

    /// Sets how limits are shared, beyond where: how many instances there are at the least, what
    /// happens while the store is away, whether it is asked for every call.
    pub fn quota_with(self, adjust: impl FnOnce(SharedQuota) -> SharedQuota) -> Self {
        Self { quota: self.quota.map(adjust), ..self }
    }

    /// Gives each part of a client its store. What a part has already it keeps.
    pub(super) fn hand_out(
        self,
        balancer: &Balancer,
        quota: Option<&QuotaLimiter>,
        cache: Option<&SemanticCache>,
    ) -> Result<(), BuildError> {
        let Self { secret, quota: limits, cache: answers, index, facts } = self;
        if let (Some(quota), Some(limits)) = (quota.filter(|quota| !quota.is_shared()), limits) {
            quota.share(limits).map_err(|error| within("quota", &error))?;
        }
        if let Some(cache) = cache.filter(|cache| !cache.is_shared()) {
            match answers {
                Some(answers) => {
                    cache.share(answers, index).map_err(|error| within("cache", &error))?;
                }
                None if index.is_some() => return Err(index_alone()),
                None => {}
            }
        }
        if let Some(facts) = facts {
            balancer.share_facts(facts, secret);
        }
        Ok(())
    }
}

fn index_alone() -> BuildError {
    BuildError::new("shared.index", "needs a store of answers, through which they are taken back")
}

/// The field at fault as one of a part of the client.
fn within(part: &str, error: &BuildError) -> BuildError {
    BuildError::new(format!("{part}.{}", error.field()), error.reason().to_owned())
}

/// Without the secret; which stores there are.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _, quota, cache, index, facts } = self;
        f.debug_struct("Shared")
            .field("quota", &quota.is_some())
            .field("cache", &cache.is_some())
            .field("index", &index.is_some())
            .field("facts", &facts.is_some())
            .finish_non_exhaustive()
    }
}
