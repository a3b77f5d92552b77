//! The same calls from this process: by the bare HTTP client, and by clients that do more.

use std::time::Duration;

use evenkeel::cache::SemanticCache;
use evenkeel::providers::OpenAi;
use evenkeel::{
    Call, ChatRequest, Endpoint, Limits, LlmClient, QuotaLimiter, RequestQueue, TenantId,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::question::{KEY, MODEL, Questions};
use crate::{alloc, clock, load};

/// A way to have a question answered.
pub trait Way: Clone + Send + 'static {
    /// Asks the next question.
    ///
    /// # Panics
    /// When it is not answered.
    fn ask(&self, questions: &mut Questions) -> impl Future<Output = ()> + Send;
}

/// What a call took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// CPU time of the process, in microseconds.
    pub cpu: f64,
    /// Allocations and reallocations.
    pub allocations: f64,
}

/// A way with a runtime of one thread of its own, on which its connections live.
#[derive(Debug)]
pub struct Driver<W> {
    runtime: Runtime,
    way: W,
}

impl<W: Way> Driver<W> {
    /// Drives the way that `make` builds.
    pub fn new(make: impl FnOnce() -> W) -> Self {
        let runtime = load::runtime();
        let way = {
            let _inside = runtime.enter();
            make()
        };
        Self { runtime, way }
    }

    /// Has `callers` ask `calls` questions altogether.
    pub fn run(&self, callers: u32, calls: u32) -> Cost {
        let (cpu, allocations) = (clock::own(), alloc::made());
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for _ in 0..callers {
                running.spawn(ask_all(self.way.clone(), calls / callers));
            }
            running.join_all().await;
        });
        let calls = f64::from(calls / callers * callers);
        let cpu = (clock::own() - cpu).as_secs_f64() * 1e6 / calls;
        Cost { cpu, allocations: (alloc::made() - allocations) as f64 / calls }
    }
}

async fn ask_all(way: impl Way, calls: u32) {
    let mut questions = Questions::new();
    for _ in 0..calls {
        way.ask(&mut questions).await;
    }
}

/// `reqwest` alone: the body goes out as it is, and the answer is not looked at.
#[derive(Debug, Clone)]
pub struct Bare {
    client: reqwest::Client,
    url: String,
}

impl Bare {
    /// To the server at `port`.
    pub fn to(port: u16) -> Self {
        Self { client: reqwest::Client::new(), url: format!("{}/chat/completions", base_url(port)) }
    }

    async fn post(&self, body: Vec<u8>) -> Vec<u8> {
        let request = self.client.post(&self.url).bearer_auth(KEY);
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        response.bytes().await.expect("a body").into()
    }
}

impl Way for Bare {
    async fn ask(&self, questions: &mut Questions) {
        self.post(questions.body().into()).await;
    }
}

/// `reqwest`, with the body built as a JSON value and the answer read as one: the least that a service
/// without any library does.
#[derive(Debug, Clone)]
pub struct BareJson(pub Bare);

impl Way for BareJson {
    async fn ask(&self, questions: &mut Questions) {
        let prompt = questions.prompt();
        let body = serde_json::json!({
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
        });
        let answer = self.0.post(body.to_string().into()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let text = answer["choices"][0]["message"]["content"].as_str();
        std::hint::black_box(text.expect("a text").to_owned());
    }
}

/// evenkeel with balancer, quotas, queue and cache. Each call asks something new, so the cache looks
/// for an answer, has none and keeps the one that comes.
#[derive(Debug, Clone)]
pub struct Evenkeel {
    client: LlmClient,
    tenant: TenantId,
}

impl Evenkeel {
    /// Three endpoints by weight, all of them the server at `port`.
    pub fn to(port: u16) -> Self {
        let server =
            OpenAi::compatible("server", base_url(port), KEY).expect("an address and a key");
        let limits = Limits::new().requests_per_minute(1 << 30).tokens_per_minute(1 << 40);
        let quota = QuotaLimiter::builder().per_tenant(limits).build().expect("limits");
        let endpoint = |id: &str, weight| Endpoint::new(server.clone()).with_id(id).weight(weight);
        let client = LlmClient::builder()
            .quota(quota)
            .cache(SemanticCache::builder().max_entries(2_000).build().expect("room for some"))
            .queue(RequestQueue::builder().build().expect("defaults"))
            .endpoint(endpoint("a", 3))
            .endpoint(endpoint("b", 1))
            .endpoint(endpoint("c", 1))
            .build()
            .expect("three endpoints");
        Self { client, tenant: TenantId::new("acme") }
    }
}

impl Way for Evenkeel {
    async fn ask(&self, questions: &mut Questions) {
        let request = ChatRequest::new(MODEL).user(questions.prompt());
        let call = Call::new(request).tenant(self.tenant.clone());
        let done = self.client.complete(call).await.expect("the server answers");
        std::hint::black_box(done);
    }
}

/// What stands before the path of the API.
pub fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/v1")
}

/// How many questions one batch asks: a fifth of a second's worth or so.
pub const BATCH: u32 = 2_048;

/// How long one candidate is loaded at a time.
pub const SLOT: Duration = Duration::from_millis(1_500);
