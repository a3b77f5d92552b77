//! The cache as an application sees it.

use std::fmt;
use std::sync::Arc;

use crate::cache::admission::NotStored;
use crate::cache::answer::StoredAnswer;
use crate::cache::builder::CacheBuilder;
use crate::cache::embedding::MOST_EMBEDDED_BYTES;
use crate::cache::inner::Inner;
use crate::cache::key::{Fingerprint, Label, Scope, question};
use crate::cache::lookup::{Hit, HitKind, Lookup, Ticket, Tier};
use crate::cache::shared::{CacheStore, Tiers, VectorIndex};
use crate::cache::stats::{CacheStats, count};
use crate::cache::store::Found;
use crate::error::BuildError;
use crate::event::Emitter;
use crate::options::{CacheControl, CallOptions, TenantId};
use crate::remote::{BreakerState, StoreError};
use crate::report::{HitId, Judged};
use crate::request::ChatRequest;
use crate::time::{Instant, now};

/// Answers that are used again, for identical and for similar questions.
///
/// Cheap to clone; clones share everything. See the [module](crate::cache) for what is promised.
///
/// ```
/// use evenkeel::cache::{Lookup, SemanticCache};
/// use evenkeel::{CallOptions, ChatRequest, ChatResponse};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let cache = SemanticCache::builder().max_entries(1_000).build()?;
/// let request = ChatRequest::new("m").user("What is Rust ownership?");
/// let options = CallOptions::new();
///
/// if let Lookup::Miss(ticket) = cache.lookup(&request, &options).await {
///     let answer = ChatResponse::text_only("Each value has one owner."); // asked of a provider
///     cache.store(ticket, answer)?;
/// }
/// let Lookup::Hit(hit) = cache.lookup(&request, &options).await else { panic!("asked before") };
/// assert_eq!(hit.answer.response.text(), "Each value has one owner.");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SemanticCache {
    inner: Arc<Inner>,
    scope: Scope,
}

/// Which entries are taken back. `Debug` shows no name: tags and namespaces may name tenants.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidate<'a> {
    /// All.
    All,
    /// Those of calls with this label.
    Tag(&'a str),
    /// Those of this namespace, shared or of a tenant.
    Namespace(&'a str),
    /// Those of this tenant, in whatever namespace they are its own.
    Tenant(&'a TenantId),
}

impl fmt::Debug for Invalidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Tag(_) => "Tag(..)",
            Self::Namespace(_) => "Namespace(..)",
            Self::Tenant(_) => "Tenant(..)",
        })
    }
}

impl<'a> Invalidate<'a> {
    fn label(self) -> Label<'a> {
        match self {
            Self::All => Label::All,
            Self::Tag(tag) => Label::Tag(tag),
            Self::Namespace(name) => Label::Namespace(name),
            Self::Tenant(id) => Label::Tenant(id.as_str()),
        }
    }
}

impl SemanticCache {
    /// A cache to be configured.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }

    pub(crate) const fn from_parts(inner: Arc<Inner>, scope: Scope) -> Self {
        Self { inner, scope }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// This cache for calls that share their answers otherwise. The entries are in the same store,
    /// and no call of one scope sees those of another.
    #[must_use]
    pub fn in_scope(&self, scope: Scope) -> Self {
        Self { inner: Arc::clone(&self.inner), scope }
    }

    /// Shares answers with all instances that have this store, and the index where there is one, and
    /// the same secret, from now on: as [`CacheBuilder::shared`] and [`CacheBuilder::shared_index`] do,
    /// for a cache that is built already. All its clones share.
    ///
    /// # Errors
    /// Names the field at fault: no secret was given, an index without an embedder, or the cache
    /// shares already.
    pub fn share(
        &self,
        store: Arc<dyn CacheStore>,
        index: Option<Arc<dyn VectorIndex>>,
    ) -> Result<(), BuildError> {
        let Inner { secret, policies, embedder, tiers, .. } = &*self.inner;
        if !policies.may_share {
            return Err(BuildError::new(
                "secret",
                "instances that share answers need one in common",
            ));
        }
        if index.is_some() && embedder.is_none() {
            return Err(BuildError::new("shared_index", "without an embedder nothing is found"));
        }
        let generation = secret.label(Label::Generation);
        let shared = Arc::new(Tiers::new(store, index, policies.flight, generation));
        tiers.set(shared).map_err(|_| BuildError::new("shared", "was given already"))
    }

    /// Whether answers are shared already.
    pub(crate) fn is_shared(&self) -> bool {
        self.inner.tiers().is_some()
    }

    /// Looks for an answer: first of the very same request, then of a similar one.
    ///
    /// Waits for the embedder where similar questions are stored in the request's partition, and for
    /// the verifier where one is asked; each has its own time limit, and whatever goes wrong is a miss.
    /// May be dropped at any time.
    pub async fn lookup(&self, request: &ChatRequest, options: &CallOptions) -> Lookup {
        match self.probe(request, options, now()) {
            Lookup::Miss(mut ticket) => match self.search(&mut ticket).await {
                Some(hit) => Lookup::Hit(hit),
                None => Lookup::Miss(ticket),
            },
            found => found,
        }
    }

    /// Looks for the answer to the very same request in this process. A hit allocates nothing.
    ///
    /// Where instances share their answers and it was not found out for a second whether this one was
    /// taken back, that is a miss: [`search`](Self::search) finds out and serves it.
    #[must_use]
    pub fn probe(&self, request: &ChatRequest, options: &CallOptions, now: Instant) -> Lookup {
        let Inner { secret, policies, counters, store, .. } = &*self.inner;
        let mut kept = None;
        if let Some(reason) = policies.admission.bypass(request, options) {
            count(&counters.bypassed);
            return Lookup::Bypass(reason);
        }
        let scope = secret.scope(&self.scope, options.tenant.as_ref());
        let print = secret.fingerprint(request, scope, policies.normalizer);
        if options.cache != CacheControl::Refresh {
            match store.get(print.exact, now) {
                Found::Fresh { id, answer, round } if self.inner.trusts(round, now) => {
                    count(&counters.exact_hits);
                    counters.saved(answer.cost);
                    let id = HitId { entry: id.0, judged: Judged::Answer };
                    let (how, tier) = (HitKind::Exact, Tier::Local);
                    return Lookup::Hit(Hit { answer, how, tier, id });
                }
                Found::Fresh { id, .. } => kept = Some(id),
                Found::Expired(removed) => {
                    self.inner.forget(vec![removed]);
                }
                Found::Nothing => {}
            }
        }
        Lookup::Miss(Ticket { kept, ..self.ticket(print, request, options) })
    }

    /// Looks for the answer of another instance, then for the answer to a similar request, for a
    /// ticket of [`probe`](Self::probe). The ticket keeps what was learnt on the way, so it should be
    /// the one the answer is stored with.
    pub async fn search(&self, ticket: &mut Ticket) -> Option<Hit> {
        let found = self.inner.find(ticket).await;
        self.inner.counters.searched(found.as_ref());
        found
    }

    /// As [`search`](Self::search), and where several instances are asked the same at once and are to
    /// find out ([`CacheBuilder::fleet_flight`]), waits for the one that is fetching the answer. Half
    /// of the time until `deadline` is left for fetching it here.
    pub async fn search_fleet(&self, ticket: &mut Ticket, deadline: Instant) -> Option<Hit> {
        let found = match self.inner.find(ticket).await {
            None => self.inner.wait_for_fleet(ticket, deadline).await,
            found => found,
        };
        self.inner.counters.searched(found.as_ref());
        found
    }

    fn ticket(&self, print: Fingerprint, request: &ChatRequest, options: &CallOptions) -> Ticket {
        let findable = |text: &&str| {
            self.inner.embedder.is_some()
                && !text.trim().is_empty()
                && text.len() <= MOST_EMBEDDED_BYTES
        };
        let question = question(request).filter(findable).map(Arc::from);
        let tags = options.tags.iter().map(|tag| &**tag);
        Ticket {
            print,
            similar: question.is_some(),
            question,
            reads: options.cache != CacheControl::Refresh,
            writes: options.cache != CacheControl::ReadOnly,
            least: least_similarity(options.cache),
            tags: self.inner.secret.labels(&self.scope, options.tenant.as_ref(), tags),
            embedding: None,
            words: None,
            neighbour: None,
            kept: None,
            stamped: None,
            reached: false,
            lead: None,
        }
    }

    /// Stores the answer to a call that found none, in place of what its request had. What does not
    /// fit makes others leave; nothing waits.
    ///
    /// # Errors
    /// Says why the answer is not kept. That is no failure of the call.
    pub fn store(&self, ticket: Ticket, answer: impl Into<StoredAnswer>) -> Result<(), NotStored> {
        self.inner.store(ticket, answer.into(), now())
    }

    /// Takes a wrong answer back. After an exact hit the entry goes; after a similar one it serves
    /// its own words only, and a decision that learns has learnt. False where it was gone already.
    ///
    /// It goes from the shared stores as well, soon. Copies that other instances have made are served
    /// for another minute at the most.
    pub fn report_wrong(&self, hit: HitId) -> bool {
        self.inner.report_wrong(hit, now())
    }

    /// Removes entries of this instance; how many. Linear in the number of entries, one shard locked
    /// at a time. An answer that is on its way meanwhile may still be stored.
    pub fn invalidate(&self, which: Invalidate<'_>) -> usize {
        let Inner { secret, store, .. } = &*self.inner;
        let removed = match which {
            Invalidate::All => store.remove_all(),
            _ => store.remove_tagged(secret.label(which.label())),
        };
        self.inner.forget(removed)
    }

    /// Removes entries of this instance, as [`invalidate`](Self::invalidate) does, and takes them back
    /// from all that share with it; how many there were here. No other instance serves one of them
    /// from a second later on, not even one that is on its way now. The cost does not depend on how
    /// many there are elsewhere. Waits for the shared store for a quarter of a second at the most.
    ///
    /// # Errors
    /// Where the shared store did not answer. Entries here are gone; elsewhere they may be served on,
    /// and the call should be made again.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether anything was taken back elsewhere.
    pub async fn invalidate_shared(&self, which: Invalidate<'_>) -> Result<usize, StoreError> {
        let removed = self.invalidate(which);
        if let Some(tiers) = self.inner.tiers() {
            tiers.take_back(self.inner.secret.label(which.label())).await?;
        }
        Ok(removed)
    }

    /// Removes what is too old; how many. They leave by themselves while others come; this is for
    /// caches that nothing is added to.
    pub fn remove_expired(&self) -> usize {
        self.inner.forget(self.inner.store.remove_expired(now()))
    }

    /// Shows the verifier the pairs that wait for it, and stores what it approves; how many it
    /// approved. For [`VerifyWhen::Later`](crate::cache::VerifyWhen): run it in a task of yours.
    pub async fn verify_waiting(&self) -> usize {
        let mut approved = 0;
        while let Some(yes) = self.inner.verify_one().await {
            approved += usize::from(yes);
        }
        approved
    }

    /// What the cache did and holds. Locks one shard after the other.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let totals = self.inner.store.totals();
        let written = self.inner.tiers().map(|tiers| tiers.written()).unwrap_or_default();
        CacheStats {
            entries: totals.entries,
            bytes: totals.bytes,
            partitions: self.inner.partitions.len(),
            vectors: self.inner.partitions.vectors(),
            shared_writes: written.written,
            shared_writes_failed: written.failed,
            shared_writes_dropped: written.dropped,
            ..self.inner.counters.read()
        }
    }

    /// Tells `emitter` of what becomes of the shared stores.
    /// How the stores it shares stand, by their names.
    pub(crate) fn store_states(&self) -> Vec<(&'static str, BreakerState)> {
        self.inner.tiers().map(|tiers| tiers.states().collect()).unwrap_or_default()
    }

    pub(crate) fn observe(&self, emitter: &Emitter) {
        if let Some(tiers) = self.inner.tiers() {
            tiers.observe(emitter);
        }
    }
}

/// The least similarity the call asks for; above 1 for none.
fn least_similarity(control: CacheControl) -> f32 {
    match control {
        CacheControl::MinSimilarity(least) if least.is_nan() => f32::INFINITY,
        CacheControl::MinSimilarity(least) => least,
        CacheControl::ExactOnly | CacheControl::Refresh | CacheControl::Bypass => f32::INFINITY,
        CacheControl::Default | CacheControl::ReadOnly => 0.0,
    }
}
