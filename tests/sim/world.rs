//! The world of one seed: servers, what is wrong with them, and the client in front of them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::cache::LexicalEmbedder;
use evenkeel::client::{HedgePolicy, Shared};
use evenkeel::quota::{Budget, Dimension, Limit, Period};
use evenkeel::rng::Rng;
use evenkeel::testing::{Distribution, Fault, ServerLimits, SimulatedProvider};
use evenkeel::{
    CallContext, Capabilities, ChatRequest, ChatResponse, Chunk, ChunkStream, Endpoint, ErrorKind,
    Limits, LlmClient, Part, Provider, ProviderError, QuotaLimiter, RequestQueue, SemanticCache,
    Timeouts, async_trait,
};
use futures::StreamExt;

use crate::caller::Marks;
use crate::embedder::Moody;
use crate::stores::Stores;
use crate::watch::{Eye, Watch};

/// What a simulated provider panics with.
pub(crate) const PLANNED: &str = "a panic of the simulation's plan";

/// What the tight world grants each tenant: so much at once, and the same again per window.
pub(crate) const GRANT: u64 = 150;
pub(crate) const WINDOW: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing fails and nobody leaves: the account is known to the token.
    Calm,
    /// Quotas that are too small, servers that refuse and fail before any content.
    Tight,
    /// Everything at once.
    Wild,
    /// Instances that share what they know and what they may use, in stores that fail.
    Fleet,
}

impl Mood {
    /// Nothing is wrong with the servers, and whoever waits is served.
    pub(crate) const fn is_patient(self) -> bool {
        matches!(self, Self::Calm | Self::Fleet)
    }
}

pub(crate) struct World {
    pub(crate) mood: Mood,
    /// More than one in a fleet.
    pub(crate) clients: Vec<LlmClient>,
    pub(crate) servers: Vec<SimulatedProvider>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) tenants: u64,
    /// Whether a server reports other usage than there was.
    pub(crate) lies: bool,
    /// Whether callers leave before they are answered.
    pub(crate) leave: bool,
    /// The tenants whose limits were changed, a bit each: their ledger began anew, if there is one.
    pub(crate) relimited: Cell<u64>,
    /// What a fleet shares.
    pub(crate) stores: Option<Stores>,
}

impl World {
    pub(crate) fn new(mood: Mood, rng: &Rng) -> Self {
        let lies = mood == Mood::Wild && rng.below(3) == 0;
        let servers: Vec<_> =
            (0..2 + rng.below(4)).map(|number| server(mood, number, lies, rng)).collect();
        let watch = Arc::new(Watch::default());
        let leave = mood == Mood::Wild || mood == Mood::Fleet && rng.below(2) == 0;
        let stores = (mood == Mood::Fleet).then(|| Stores::new(rng));
        let instances = if stores.is_some() { INSTANCES } else { 1 };
        let clients = (0..instances).map(|_| client(mood, &servers, &watch, stores.as_ref(), rng));
        let (clients, tenants) = (clients.collect(), 2 + rng.below(4));
        Self {
            mood,
            clients,
            servers,
            watch,
            tenants,
            lies,
            leave,
            relimited: Cell::new(0),
            stores,
        }
    }

    /// An endpoint as the world's client has them.
    pub(crate) fn endpoint(&self, at: usize, rng: &Rng) -> Endpoint {
        endpoint(self.mood, &self.servers[at % self.servers.len()], &self.watch, rng)
    }
}

fn server(mood: Mood, number: u64, lies: bool, rng: &Rng) -> SimulatedProvider {
    let mut server = SimulatedProvider::builder(format!("server {number}"))
        .seed(rng.next_u64())
        .time_to_first_token(Distribution::log_normal(0.4, 0.6))
        .tokens_per_second(Distribution::uniform(20.0, 80.0))
        .output_tokens(Distribution::log_normal(12.0, 0.8))
        .streaming(rng.below(4) > 0);
    if rng.below(2) == 0 {
        server = server.capacity(1 + rng.below(6) as usize);
    }
    if !mood.is_patient() {
        server = refusals(server, rng);
    }
    if mood == Mood::Wild {
        server = storms(server, rng);
    }
    if lies {
        server = match rng.below(3) {
            0 => server.withhold_usage(),
            1 => server.lie_about_usage(0.1),
            _ => server.lie_about_usage(40.0),
        };
    }
    server.build().unwrap()
}

type Builder = evenkeel::testing::SimulatedBuilder;

/// What is refunded: the endpoint said no before it did anything.
fn refusals(server: Builder, rng: &Rng) -> Builder {
    let limits = ServerLimits::new()
        .requests_per_minute(60 + rng.below(240))
        .burst_window(Duration::from_secs(1 + rng.below(20)));
    let limits = if rng.below(2) == 0 { limits.without_hints() } else { limits };
    let kinds = [ErrorKind::Overloaded, ErrorKind::Server, ErrorKind::Transport];
    let kind = kinds[rng.below(3) as usize];
    server
        .limits(limits)
        .fault(Fault::ErrorRate { kind, p: 0.3 * rng.unit() }, some_time(rng))
        .fault(Fault::Outage(ErrorKind::Server), some_time(rng))
}

fn storms(server: Builder, rng: &Rng) -> Builder {
    let any = ErrorKind::ALL[rng.below(ErrorKind::ALL.len() as u64) as usize];
    server
        .fault(Fault::Slow { factor: 1.0 + 20.0 * rng.unit() }, some_time(rng))
        .fault(Fault::Hang { p: 0.2 * rng.unit() }, some_time(rng))
        .fault(Fault::CutStream { p: 0.3 * rng.unit() }, some_time(rng))
        .fault(Fault::ErrorRate { kind: any, p: 0.3 * rng.unit() }, some_time(rng))
}

fn some_time(rng: &Rng) -> std::ops::Range<Duration> {
    let start = Duration::from_secs(rng.below(60));
    start..start + Duration::from_secs(rng.below(40))
}

fn client(
    mood: Mood,
    servers: &[SimulatedProvider],
    watch: &Arc<Watch>,
    stores: Option<&Stores>,
    rng: &Rng,
) -> LlmClient {
    let mut builder = LlmClient::builder()
        .seed(rng.next_u64())
        .observer(eye(mood, watch, rng))
        .quota(QuotaLimiter::builder().per_tenant(limits(mood, rng)).build().unwrap())
        .timeouts(Timeouts::new().first_content(Duration::from_secs(10)).idle(FIVE_SECONDS));
    for server in servers {
        builder = builder.endpoint(endpoint(mood, server, watch, rng));
    }
    // Without a queue a call that finds every endpoint busy fails, which it must not in calm.
    if mood.is_patient() || rng.below(4) > 0 {
        builder = builder.queue(queue(mood, rng));
    }
    if rng.below(4) > 0 || stores.is_some() {
        builder = builder.cache(cache(mood, rng));
    }
    if let Some(stores) = stores {
        builder = builder.shared(shared(stores));
    }
    if mood == Mood::Wild && rng.below(2) == 0 {
        builder = builder.hedge(HedgePolicy::after(Duration::from_millis(700)));
    }
    builder.build().unwrap()
}

/// What instances share, and how many there are.
fn shared(stores: &Stores) -> Shared {
    let shared = Shared::new(SECRET).quota(stores.clone()).cache(stores.clone());
    shared.facts(stores.clone()).quota_with(|quota| quota.min_instances(INSTANCES as u32))
}

const INSTANCES: usize = 2;

pub(crate) const SECRET: [u8; 32] = [7; 32];

fn eye(mood: Mood, watch: &Arc<Watch>, rng: &Rng) -> Eye {
    let panics = mood == Mood::Wild && rng.below(5) == 0;
    let panics_at = panics.then(|| rng.below(100));
    Eye { watch: Arc::clone(watch), panics_at, seen: AtomicU64::new(0) }
}

/// What the fleet grants each tenant: more than any of them uses.
pub(crate) const FLEET_GRANT: u64 = 1_000_000;
/// As many as may run at once: for an instance that is on its own, as many as there are callers.
pub(crate) const FLEET_PLACES: u32 = 20;

pub(crate) fn fleet_limits() -> Limits {
    let ledger = Budget::new(Dimension::Tokens, FLEET_GRANT, Period::Month);
    Limits::new().budget(ledger).concurrency(FLEET_PLACES)
}

const FIVE_SECONDS: Duration = Duration::from_secs(5);

/// The ledger, which counts to the token what a tenant is charged, and in need what is too little.
fn limits(mood: Mood, rng: &Rng) -> Limits {
    let ledger = Limits::new().budget(Budget::new(Dimension::Tokens, u64::MAX, Period::Month));
    match mood {
        Mood::Calm => ledger,
        Mood::Fleet => fleet_limits(),
        Mood::Tight => {
            let tight = Limit::new(Dimension::Tokens, GRANT, WINDOW);
            ledger.limit(if rng.below(2) == 0 { tight.wait() } else { tight })
        }
        Mood::Wild if rng.below(2) == 0 => ledger.concurrency(1 + rng.below(6) as u32),
        Mood::Wild => ledger.requests_per_minute(60),
    }
}

fn endpoint(mood: Mood, server: &SimulatedProvider, watch: &Arc<Watch>, rng: &Rng) -> Endpoint {
    let backend = Backend {
        server: server.clone(),
        panics: if mood == Mood::Wild { 0.03 } else { 0.0 },
        rng: Rng::from_seed(rng.next_u64()),
        watch: Arc::clone(watch),
    };
    let endpoint =
        Endpoint::new(backend).weight(1 + rng.below(4) as u32).tier(u8::from(rng.below(4) == 0));
    match rng.below(3) {
        0 => endpoint.limits(EndpointLimits::new().concurrency(1 + rng.below(5) as u32)),
        _ => endpoint,
    }
}

fn queue(mood: Mood, rng: &Rng) -> RequestQueue {
    let depth = if mood.is_patient() { 10_000 } else { 4 + rng.below(60) as usize };
    RequestQueue::builder().max_depth(depth).max_wait(Duration::from_secs(300)).build().unwrap()
}

fn cache(mood: Mood, rng: &Rng) -> SemanticCache {
    let cache = SemanticCache::builder().seed(rng.next_u64()).secret(SECRET);
    let cache = match (mood, rng.below(2)) {
        (Mood::Wild, 0) => cache.embedder(Moody::new(rng)),
        (_, 0) => cache.embedder(LexicalEmbedder::new()),
        _ => cache,
    };
    let small = rng.below(2) == 0;
    if small { cache.max_entries(8) } else { cache }.build().unwrap()
}

/// A simulated server whose adapter has bugs.
struct Backend {
    server: SimulatedProvider,
    panics: f64,
    rng: Rng,
    watch: Arc<Watch>,
}

impl Backend {
    fn may_panic(&self) {
        if self.rng.unit() < self.panics {
            panic!("{PLANNED}");
        }
    }
}

#[async_trait]
impl Provider for Backend {
    fn id(&self) -> &str {
        self.server.id()
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        self.watch.given(self.count_tokens(request));
        self.may_panic();
        let mut answer = self.server.complete(request, cx).await?;
        self.may_panic();
        let mut marks = Marks::default();
        for part in &mut answer.content {
            if let Part::Text { text, .. } = part {
                *text = marks.mark(text);
            }
        }
        Ok(answer)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        self.watch.given(self.count_tokens(request));
        let chunks = self.server.stream(request, cx).await?;
        self.may_panic();
        // Of those that panic while they stream, each does so at a chunk of its own.
        let panics_at = (self.rng.unit() < self.panics).then(|| self.rng.below(8) as usize);
        let mut marks = Marks::default();
        let chunks = chunks.enumerate().map(move |(number, chunk)| {
            if panics_at == Some(number) {
                panic!("{PLANNED}");
            }
            Ok(match chunk? {
                Chunk::Text { index, text } => Chunk::text(index, marks.mark(&text)),
                chunk => chunk,
            })
        });
        Ok(chunks.boxed())
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    fn count_tokens(&self, request: &ChatRequest) -> Option<u64> {
        self.server.count_tokens(request)
    }
}
