//! The four mechanisms, each used by a tenant whose name is a canary.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::facts::MemoryFactStore;
use evenkeel::balance::{
    Balancer, BalancerConfig, Candidates, Demand, EndpointConfig, NoLease, Strategy, StrategyKind,
};
use evenkeel::cache::flight::{Boarded, Failure, FlightError, Flights, Joined};
use evenkeel::cache::shared::{
    CacheStore as _, MemoryCacheStore, MemoryVectorIndex, Neighbour, SharedAnswer, SharedEntry,
    SharedKey, VectorIndex as _,
};
use evenkeel::cache::{
    Grey, Invalidate, LexicalEmbedder, Lookup, Scope, SemanticCache, SnapshotFault, StoredAnswer,
    Verification, Verifier,
};
use evenkeel::queue::{Gate, Passage, Place, QueueSettings, Refused, RequestQueue};
use evenkeel::quota::store::{MemoryQuotaStore, QuotaStore as _, StoredScope};
use evenkeel::quota::{
    Amounts, Denied, Level, Limits, QuotaLimiter, Reason, SharedQuota, Whose, store,
};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    CallOptions, ChatRequest, Chunk, Embedding, Endpoint, ProviderError, TenantId, async_trait,
    time,
};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;

use crate::{CANARY, SECRET, Shown, failed, nouns, shown, told};

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn all() -> Vec<Shown> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mechanisms = [cache().await, flights().await, queue().await, quota().await];
        [balance(), shared_stores().await, mechanisms.concat()].concat()
    })
}

/// A strategy that writes down what it is shown.
struct Nosy(Arc<Mutex<Vec<Shown>>>);

impl Strategy for Nosy {
    fn choose(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let mut seen = self.0.lock();
        seen.push(shown("balance::Candidates", candidates));
        seen.push(shown("balance::Candidate", candidates.get(0).unwrap()));
        Some(0)
    }
}

fn balance() -> Vec<Shown> {
    let seen = Arc::default();
    let provider = ScriptedProvider::new("p").forever(Answer::text(CANARY));
    let endpoint = || Endpoint::new(provider.clone()).model("m");
    let strategy = StrategyKind::custom(Nosy(Arc::clone(&seen)));
    let builder = || {
        let builder = Balancer::builder().endpoint(endpoint()).strategy(strategy.clone());
        builder.share_facts(MemoryFactStore::new(), SECRET)
    };
    let balancer = builder().build().unwrap();
    let request = nouns::request();
    let demand = Demand::of(&request).with_affinity(Some(CANARY), &request);
    let lease = balancer.try_lease(&demand, time::now()).unwrap();
    let never = balancer.try_lease(&Demand::new(Some("other")), time::now());
    let mut config = EndpointConfig::new("p");
    config.models = [("m".to_owned(), "m".to_owned())].into();
    let mut file = BalancerConfig::new();
    file.endpoints.push(config.clone());
    let mut all = vec![
        shown("balance::Balancer", &balancer),
        shown("balance::BalancerBuilder", builder()),
        shown("balance::BalancerConfig", file),
        shown("balance::EndpointConfig", config),
        shown("balance::Endpoint", endpoint()),
        shown("balance::EndpointStatus", balancer.status(time::now())),
        shown("balance::EndpointTotals", "see client::ClientStats"),
        shown("balance::Demand", demand),
        shown("balance::EndpointKey", lease.key()),
        shown("balance::Lease", &lease),
        told("balance::NoLease", never.as_ref().map(drop).unwrap_err()),
        shown("balance::StrategyKind", &strategy),
        shown("balance::Subscription", balancer.subscribe(|| {})),
        shown("balance::MemoryFactStore", MemoryFactStore::new()),
    ];
    assert!(matches!(never, Err(NoLease::Never(_))));
    all.append(&mut seen.lock());
    all
}

/// A verifier that writes down what it is asked about.
#[derive(Clone, Default)]
struct Curious(Arc<Mutex<Vec<Shown>>>);

#[async_trait]
impl Verifier for Curious {
    async fn approve(&self, pair: &Grey<'_>) -> Result<bool, ProviderError> {
        self.0.lock().push(shown("cache::Grey", pair));
        Ok(true)
    }
}

fn options() -> CallOptions {
    nouns::call().options
}

fn question(words: &str) -> ChatRequest {
    ChatRequest::new("m").system(CANARY).user(format!("{words} {CANARY}"))
}

async fn cache() -> Vec<Shown> {
    let curious = Curious::default();
    let builder = || {
        let builder = SemanticCache::builder().embedder(LexicalEmbedder::new()).secret(SECRET);
        builder
            .threshold(0.99)
            .verifier(curious.clone(), Verification::new().from(0.5))
            .scope(Scope::tenant_in(CANARY))
    };
    let cache = builder().build().unwrap();
    let asked = question("How do I reset the password of my account");
    let Lookup::Miss(ticket) = cache.lookup(&asked, &options()).await else { panic!("empty") };
    let mut all = vec![shown("cache::Ticket", &ticket)];
    cache.store(ticket, nouns::answer()).unwrap_err();
    let Lookup::Miss(ticket) = cache.lookup(&asked, &options()).await else { panic!("empty") };
    cache.store(ticket, evenkeel::ChatResponse::text_only(CANARY)).unwrap();
    let found = cache.lookup(&asked, &options()).await;
    all.push(shown("cache::Lookup", &found));
    let Lookup::Hit(hit) = found else { panic!("it was stored") };
    let alike = question("How do I reset the password of our account");
    all.push(shown("cache::Lookup", cache.lookup(&alike, &options()).await));
    let missing = SemanticCache::builder().load("there-is-no-such-file").unwrap_err();
    let tenant = TenantId::from(CANARY);
    all.extend([
        shown("cache::Hit", &hit),
        told("cache::HitId", hit.id),
        shown("cache::StoredAnswer", &hit.answer),
        shown("cache::StoredAnswer", StoredAnswer::new(nouns::answer())),
        shown("cache::SemanticCache", &cache),
        shown("cache::CacheBuilder", builder()),
        shown("cache::Scope", [Scope::tenant_in(CANARY), Scope::namespace(CANARY)]),
        shown(
            "cache::Invalidate",
            [Invalidate::Tag(CANARY), Invalidate::Namespace(CANARY), Invalidate::Tenant(&tenant)],
        ),
        shown("cache::CacheStats", cache.stats()),
        failed("cache::SnapshotError", &missing),
        failed("cache::SnapshotFault", &missing.fault),
        failed("cache::SnapshotFault", &SnapshotFault::NotASnapshot),
    ]);
    let mut pairs = curious.0.lock();
    assert!(!pairs.is_empty(), "the verifier was asked");
    all.append(&mut pairs);
    all.retain(|(name, _)| *name != "cache::HitId");
    all
}

async fn shared_stores() -> Vec<Shown> {
    let answer = || SharedAnswer::new(1, Vec::new(), StoredAnswer::new(nouns::answer()), MINUTE);
    let entry = || {
        let vector = Embedding::new(vec![1.0, 0.0]).unwrap();
        SharedEntry::new((1, 2), CANARY, vector, answer())
    };
    let (answers, index) = (MemoryCacheStore::default(), MemoryVectorIndex::default());
    answers.put(&SharedKey::new(1, 2), &answer()).await.unwrap();
    index.insert(&entry()).await.unwrap();
    vec![
        shown("cache::SharedAnswer", answer()),
        shown("cache::SharedEntry", entry()),
        shown("cache::Neighbour", Neighbour::new(1.0, entry())),
        shown("cache::MemoryCacheStore", answers),
        shown("cache::MemoryVectorIndex", index),
    ]
}

/// The key is the tenant's name, and the flight carries a canary.
async fn flights() -> Vec<Shown> {
    type Carried = Flights<String, Arc<Chunk>>;
    let (flights, by) = (Carried::default(), time::after(time::now(), MINUTE));
    let Joined::Lead(leader) = flights.join(CANARY.into(), by) else { panic!("first") };
    let Joined::Follow(follower) = flights.join(CANARY.into(), by) else { panic!("second") };
    let mut all = vec![
        shown("cache::Flights", &flights),
        shown("cache::Leader", &leader),
        shown("cache::Joined", Joined::Lead(leader)),
        shown("cache::Follower", &follower),
    ];
    let leader = follower.await;
    all.push(shown("cache::Boarded", &leader));
    let Boarded::Lead(leader) = leader else { panic!("the leader left") };
    all.push(shown("cache::Horizon", leader.horizon()));
    let work = futures::stream::iter([Ok(Arc::new(Chunk::text(0, CANARY)))]).boxed();
    let mut rider = leader.launch(work);
    all.push(shown("cache::Participant", &rider));
    let _first = rider.next().await;
    all.push(shown("cache::Participant", &rider));
    all.push(shown("cache::Failure", Failure::<u8>::Own(1)));
    all.push(shown("cache::FlightError", FlightError::<u8>::Lagged));
    all
}

/// A gate that lets one call pass and holds up the others.
struct Ajar(Mutex<bool>);

impl Gate for Ajar {
    type Demand = ();
    type Pass = ();
    type Never = ();

    fn try_pass(&self, (): &(), _: time::Instant) -> Passage<(), ()> {
        if std::mem::take(&mut *self.0.lock()) {
            Passage::Pass(())
        } else {
            Passage::NotBefore(None)
        }
    }
}

async fn queue() -> Vec<Shown> {
    let builder = || RequestQueue::builder().weight(CANARY, 3).max_depth_per_tenant(1);
    let (queue, gate) = (builder().build().unwrap(), Arc::new(Ajar(Mutex::new(true))));
    let place = || Place::new(time::after(time::now(), MINUTE)).tenant(CANARY).lane("m");
    let (slot, ()) = queue.acquire(&gate, (), place()).await.unwrap();
    let mut waiting = Box::pin(queue.acquire(&gate, (), place()));
    assert!(waiting.as_mut().now_or_never().is_none());
    let refused = queue.acquire(&gate, (), place()).await.map(drop).unwrap_err();
    assert!(matches!(refused, Refused::Full { .. }));
    let mut settings = QueueSettings::default();
    settings.weights.insert(CANARY.into(), 3);
    vec![
        shown("queue::RequestQueue", &queue),
        shown("queue::QueueBuilder", builder()),
        shown("queue::QueueSettings", settings),
        shown("queue::QueueStats", queue.stats()),
        shown("queue::Slot", slot),
        shown("queue::Place", place()),
        shown("queue::Passage", gate.try_pass(&(), time::now())),
        shown("queue::Refused", refused),
    ]
}

async fn quota() -> Vec<Shown> {
    let tenant = TenantId::from(CANARY);
    let limits = || Limits::new().tokens_per_minute(10);
    let builder = || {
        let builder = QuotaLimiter::builder().per_tenant(limits()).tenant(CANARY, limits());
        builder.per_key("project", limits())
    };
    let limiter = builder().build().unwrap();
    let keys = [("project".into(), CANARY.into())];
    let whose = Whose::new(Some(&tenant), Some("m"), &keys);
    let reservation = limiter.try_reserve(&whose, &Amounts::tokens(6, 0)).unwrap();
    let denied = limiter.try_reserve(&whose, &Amounts::tokens(6, 0)).map(drop).unwrap_err();
    let store = MemoryQuotaStore::new();
    let scope = StoredScope::new(CANARY, Level::Tenant, limits());
    let demand = Arc::new(store::Demand::new(1, Amounts::tokens(6, 0), vec![scope.clone()]));
    let granted = store.reserve(&demand).await.unwrap();
    let again = Arc::new(store::Demand::new(2, Amounts::tokens(6, 0), vec![scope.clone()]));
    let refused = store.reserve(&again).await.unwrap();
    let mut all = vec![shown("quota::Verdict", &granted), shown("quota::Verdict", &refused)];
    let store::Verdict::Granted(grant) = granted else { panic!("there was room") };
    let mut own = Denied::new(Level::Key("project".into()), Reason::InLine);
    own.tenant = Some(tenant.clone());
    let shared = SharedQuota::new(store.clone()).secret(SECRET);
    all.extend([
        shown("quota::QuotaLimiter", &limiter),
        shown("quota::QuotaBuilder", builder()),
        shown("quota::QuotaBuilder", builder().shared(shared.clone())),
        shown("quota::SharedQuota", shared),
        shown("quota::Whose", whose),
        shown("quota::Reservation", &reservation),
        shown("quota::TenantHandle", limiter.handle(&tenant).unwrap()),
        shown("quota::TenantUsage", limiter.usage(&tenant)),
        shown("quota::Limits", limits()),
        told("quota::Level", Level::Key("project".into())),
        // Their words name the tenant: whoever is refused asks whose limit it was.
        shown("quota::Denied", &denied),
        shown("quota::Denied", &own),
        shown("quota::MemoryQuotaStore", store),
        shown("quota::StoredScope", scope),
        shown("quota::Demand", demand),
        shown("quota::Grant", grant),
    ]);
    all
}
