//! Putting a cache together.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cache::admission::AdmissionPolicy;
use crate::cache::decision::{AnswerJudge, Decision, Rule, Verification, Verifier};
use crate::cache::embedding::Guarded;
use crate::cache::inner::{Inner, Policies};
use crate::cache::key::{Normalizer, Scope, Secret};
use crate::cache::partitions::Partitions;
use crate::cache::semantic_cache::SemanticCache;
use crate::cache::shared::{CacheStore, FleetFlight, VectorIndex};
use crate::cache::stats::Counters;
use crate::cache::store::{Bounds, MemoryStore};
use crate::embed::Embedder;
use crate::error::BuildError;
use crate::rng::Rng;
use crate::sync::Mutex;

/// Configures a [`SemanticCache`].
#[must_use]
pub struct CacheBuilder {
    embedder: Option<Arc<dyn Embedder>>,
    embed_timeout: Duration,
    decision: Decision,
    judge: Option<Arc<dyn AnswerJudge>>,
    verifier: Option<(Arc<dyn Verifier>, Verification)>,
    audits: f64,
    label_share: f64,
    scope: Scope,
    normalizer: Normalizer,
    admission: AdmissionPolicy,
    bounds: Bounds,
    most_partitions: usize,
    ttl: Option<Duration>,
    secret: Option<[u8; 32]>,
    store: Option<Arc<dyn CacheStore>>,
    index: Option<Arc<dyn VectorIndex>>,
    flight: Option<FleetFlight>,
    seed: Option<u64>,
}

impl Default for CacheBuilder {
    fn default() -> Self {
        Self {
            embedder: None,
            embed_timeout: Duration::from_secs(1),
            decision: Decision::default(),
            judge: None,
            verifier: None,
            audits: 0.02,
            label_share: 0.5,
            scope: Scope::Tenant,
            normalizer: Normalizer::Canonical,
            admission: AdmissionPolicy::default(),
            bounds: Bounds { entries: 100_000, bytes: 256 << 20, share: 0.5 },
            most_partitions: 10_000,
            ttl: Some(Duration::from_secs(24 * 60 * 60)),
            secret: None,
            store: None,
            index: None,
            flight: None,
            seed: None,
        }
    }
}

impl CacheBuilder {
    /// Looks for similar questions too, by the vectors of this embedder. Without one only the very
    /// same is found.
    pub fn embedder(mut self, embedder: impl Embedder) -> Self {
        self.embedder = Some(Arc::new(embedder));
        self
    }

    /// Sets how long the embedder may take; what comes later is a miss. Default 1 s.
    pub const fn embed_timeout(mut self, timeout: Duration) -> Self {
        self.embed_timeout = timeout;
        self
    }

    /// Serves similar questions from this cosine on: [`Decision::Threshold`]. Default 0.97.
    pub const fn threshold(self, similarity: f32) -> Self {
        self.decision(Decision::Threshold(similarity))
    }

    /// Sets when a similar question's answer is served.
    pub const fn decision(mut self, decision: Decision) -> Self {
        self.decision = decision;
        self
    }

    /// Sets who tells whether two answers say the same; [`Decision::Calibrated`] learns from that.
    pub fn judge(mut self, judge: impl AnswerJudge) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// Sets the part of would-be hits that are fetched all the same, to go on learning. Only
    /// [`Decision::Calibrated`] does. Default 0.02.
    pub const fn audits(mut self, part: f64) -> Self {
        self.audits = part;
        self
    }

    /// Sets the part of what a decision learns that one scope may teach it, where others teach it too:
    /// no tenant decides alone what is served to the others. Default 0.5.
    pub const fn max_label_share(mut self, part: f64) -> Self {
        self.label_share = part;
        self
    }

    /// Has pairs that are near, but not near enough, looked at by `verifier`.
    pub fn verifier(mut self, verifier: impl Verifier, verification: Verification) -> Self {
        self.verifier = Some((Arc::new(verifier), verification));
        self
    }

    /// Sets who shares answers with whom. Default [`Scope::Tenant`].
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets which texts are the same text to the exact tier.
    pub const fn normalizer(mut self, normalizer: Normalizer) -> Self {
        self.normalizer = normalizer;
        self
    }

    /// Sets what is cached at all.
    pub const fn admission(mut self, policy: AdmissionPolicy) -> Self {
        self.admission = policy;
        self
    }

    /// Sets how many entries are held at the most. Default 100,000.
    pub const fn max_entries(mut self, entries: usize) -> Self {
        self.bounds.entries = entries;
        self
    }

    /// Sets how many bytes they count for at the most, vectors included. Default 256 MiB.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Sets the part of both bounds that one scope may hold when others want room. Default 0.5.
    pub const fn max_share(mut self, part: f64) -> Self {
        self.bounds.share = part;
        self
    }

    /// Sets how many partitions similar questions are looked for in; further ones are served exactly
    /// only. Default 10,000.
    pub const fn max_partitions(mut self, partitions: usize) -> Self {
        self.most_partitions = partitions;
        self
    }

    /// Sets how long an answer is served. Default 24 hours.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Serves answers however old they are.
    pub const fn no_ttl(mut self) -> Self {
        self.ttl = None;
        self
    }

    /// Sets what makes the hashes of this cache: all instances that share answers need the same one,
    /// and nobody else may know it. Random bytes, kept like a password. Default a secret of its own.
    ///
    /// A snapshot that was saved under another secret is loaded without its entries.
    pub const fn secret(mut self, secret: [u8; 32]) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Shares answers with all instances that have this store and the same
    /// [secret](Self::secret). What this cache does not have is looked for there, for 15 ms at the
    /// most, and kept here for a minute; what was fetched is put there, which no call waits for.
    ///
    /// A store that fails, hangs or makes no sense makes misses, never errors. See
    /// [`cache::shared`](crate::cache::shared).
    pub fn shared(mut self, store: impl CacheStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Looks for similar questions in this index too, which all instances share, for 50 ms at the
    /// most. What it finds goes through the same [decision](Self::decision). Needs a
    /// [shared store](Self::shared), through which answers are taken back, and an
    /// [embedder](Self::embedder).
    pub fn shared_index(mut self, index: impl VectorIndex) -> Self {
        self.index = Some(Arc::new(index));
        self
    }

    /// Lets one instance fetch an answer where several are asked the same at once, and the others wait
    /// for it. Off unless set here: it costs two more looks into the shared store for each miss. Without
    /// a shared store it does nothing.
    pub const fn fleet_flight(mut self, flight: FleetFlight) -> Self {
        self.flight = Some(flight);
        self
    }

    /// Makes the lots of audits repeatable.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// Names the field at fault: a bound of nothing, a part or a similarity out of range, a decision
    /// that learns without a judge, a verifier without an embedder.
    pub fn build(self) -> Result<SemanticCache, BuildError> {
        self.build_with(Secret::random())
    }

    /// With this secret, unless one was given.
    pub(crate) fn build_with(self, secret: Secret) -> Result<SemanticCache, BuildError> {
        self.validate()?;
        let secret = self.secret.as_ref().map_or(secret, Secret::given);
        let timeout = self.embed_timeout;
        let (given, store, index) = (self.secret.is_some(), self.store, self.index);
        let inner = Inner {
            secret,
            policies: Policies {
                normalizer: self.normalizer,
                admission: self.admission,
                decision: self.decision,
                audits: self.audits,
                ttl: self.ttl,
                flight: self.flight,
                may_share: given,
            },
            embedder: self.embedder.map(|embedder| Guarded::new(embedder, timeout)),
            judge: self.judge,
            verifier: self.verifier,
            rule: Mutex::new(Rule::new(self.decision, self.label_share)),
            store: MemoryStore::new(self.bounds),
            partitions: Partitions::new(self.most_partitions),
            grey: Mutex::default(),
            tiers: OnceLock::new(),
            origins: Mutex::default(),
            counters: Counters::default(),
            rng: self.seed.map_or_else(Rng::from_entropy, Rng::from_seed),
        };
        let cache = SemanticCache::from_parts(Arc::new(inner), self.scope);
        match store {
            Some(store) => cache.share(store, index).map(|()| cache),
            None if index.is_some() => Err(unshared_index()),
            None => Ok(cache),
        }
    }

    fn validate(&self) -> Result<(), BuildError> {
        self.decision.validate()?;
        let above_zero = |field, value: usize| match value {
            0 => Err(BuildError::new(field, "must be above zero")),
            _ => Ok(()),
        };
        above_zero("max_entries", self.bounds.entries)?;
        above_zero("max_bytes", self.bounds.bytes)?;
        above_zero("max_partitions", self.most_partitions)?;
        if self.bounds.entries > MemoryStore::MOST_ENTRIES {
            return Err(BuildError::new("max_entries", "more than 67,108,864 are not possible"));
        }
        part("max_share", self.bounds.share, f64::MIN_POSITIVE)?;
        part("audits", self.audits, 0.0)?;
        part("max_label_share", self.label_share, f64::MIN_POSITIVE)?;
        if self.flight.is_some_and(|flight| flight.lease.is_zero()) {
            return Err(BuildError::new("fleet_flight.lease", "must be above zero"));
        }
        self.validate_hooks()
    }

    fn validate_hooks(&self) -> Result<(), BuildError> {
        let learns = matches!(self.decision, Decision::Calibrated { .. });
        if learns && self.judge.is_none() {
            return Err(BuildError::new("judge", "a calibrated decision learns from one"));
        }
        let Some((_, verification)) = &self.verifier else { return Ok(()) };
        if self.embedder.is_none() {
            return Err(BuildError::new(
                "verifier",
                "without an embedder there is nothing to verify",
            ));
        }
        verification.validate()
    }
}

fn unshared_index() -> BuildError {
    BuildError::new("shared_index", "answers are taken back through a shared store: give one too")
}

fn part(field: &'static str, value: f64, least: f64) -> Result<(), BuildError> {
    if (least..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(BuildError::new(field, "is a part, from 0 to 1"))
    }
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("embedder", &self.embedder.is_some())
            .field("decision", &self.decision)
            .field("scope", &self.scope)
            .field("bounds", &self.bounds)
            .field("shared", &self.store.is_some())
            .finish_non_exhaustive()
    }
}
