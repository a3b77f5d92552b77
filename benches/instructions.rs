//! The hot paths, one an argument, for a counter of instructions.
//!
//! ```text
//! instructions PATH TURNS
//! ```
//!
//! Takes a path so many turns and ends. What it takes to get there is the same for every number of turns,
//! so the difference of two runs is that of the turns alone. One thread, fixed seeds, and a clock that
//! stands still. `tests/instructions.rs` runs it under callgrind and says what may not grow.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use evenkeel::balance::Demand;
use evenkeel::cache::SemanticCache;
use evenkeel::client::LlmClientBuilder;
use evenkeel::outcome::{End, Outcome};
use evenkeel::queue::{Gate, Passage, Place};
use evenkeel::quota::{Amounts, Whose};
use evenkeel::time::{Instant, now};
use evenkeel::{
    Balancer, Call, CallContext, Capabilities, ChatRequest, ChatResponse, Chunk, ChunkStream,
    Endpoint, FinishReason, Limits, LlmClient, Provider, ProviderError, QuotaLimiter, RequestQueue,
    TenantId, Usage,
};
use futures::StreamExt as _;
use tokio::runtime::Builder;

/// Turns a path takes before those that count: tables have grown and caches are full by then.
const WARM_UP: u64 = 600;

/// Answers the cache holds: fewer than are stored before the turns that count.
const CACHED: usize = 200;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes this when it benches; nothing is measured without a counter around it.
    let [path, turns] = arguments.as_slice() else {
        println!("run with `cargo test --test instructions`");
        return;
    };
    let turns = turns.parse().expect("the second argument is a number of turns");
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async { take(path, turns).await });
}

async fn take(path: &str, turns: u64) {
    match path {
        "lease" => repeat(turns, lease()),
        "quota" => repeat(turns, quota()),
        "queue" => repeat(turns, queue()),
        "hit" => repeat(turns, hit(1_000)),
        "hit_100kB" => repeat(turns, hit(100_000)),
        "miss" => repeat(turns, miss(1_000)),
        "miss_100kB" => repeat(turns, miss(100_000)),
        "chunk" => chunks(client(builder()), turns).await,
        "chunk_shared" => chunks(client(builder().cache(cache())), turns).await,
        unknown => panic!("there is no path {unknown}"),
    }
}

fn repeat(turns: u64, mut turn: impl FnMut()) {
    (0..WARM_UP + turns).for_each(|_| turn());
}

/// Chooses an endpoint, and tells how it did.
fn lease() -> impl FnMut() {
    let balancer = ["a", "b", "c"].into_iter().fold(Balancer::builder(), |builder, id| {
        builder.endpoint(Endpoint::new(Instantaneous(id)))
    });
    let balancer = balancer.seed(1).build().expect("three endpoints");
    let (demand, at) = (Demand::new(Some("model")), now());
    let outcome = Outcome::new(End::Success).with_ttft(Some(Duration::from_millis(300)));
    move || {
        let lease = balancer.try_lease(black_box(&demand), at).expect("they are healthy");
        lease.settle(black_box(&outcome), at);
    }
}

/// Reserves two limits of a known tenant, and settles what was used.
fn quota() -> impl FnMut() {
    let (quota, tenant, mut at) = (limiter(), TenantId::new("acme"), now());
    move || {
        at += Duration::from_micros(100);
        let whose = Whose::tenant(black_box(&tenant));
        let reserved = quota.try_reserve_at(&whose, &Amounts::tokens(200, 800), at);
        reserved.expect("it fits").settle_at(&Amounts::tokens(200, 300), at);
    }
}

/// Passes the queue where nobody waits, and leaves.
fn queue() -> impl FnMut() {
    struct Open;

    impl Gate for Open {
        type Demand = ();
        type Pass = ();
        type Never = ();

        fn try_pass(&self, (): &(), _: Instant) -> Passage<(), ()> {
            Passage::Pass(())
        }
    }

    let (queue, gate) = (RequestQueue::builder().build().expect("defaults"), Arc::new(Open));
    let place = Place::new(now() + Duration::from_secs(3600)).tenant("acme");
    move || {
        let passed = at_once(black_box(&queue).acquire(&gate, (), place.clone()));
        drop(black_box(passed.expect("nobody is in front")));
    }
}

/// Asks what was answered before.
fn hit(prompt: usize) -> impl FnMut() {
    let client = client(builder().cache(cache()));
    let request = Question::new(prompt).next();
    let tenant = TenantId::new("acme");
    move || answered(&client, Arc::clone(&request), &tenant)
}

/// Asks something new, with everything on.
fn miss(prompt: usize) -> impl FnMut() {
    let queue = RequestQueue::builder().build().expect("defaults");
    let client = client(builder().cache(cache()).quota(limiter()).queue(queue));
    let (mut question, tenant) = (Question::new(prompt), TenantId::new("acme"));
    move || answered(&client, question.next(), &tenant)
}

fn answered(client: &LlmClient, request: Arc<ChatRequest>, tenant: &TenantId) {
    let call = Call::from(request).tenant(tenant.clone());
    drop(black_box(at_once(client.complete(call)).expect("somebody answers")));
}

/// One stream of so many chunks.
async fn chunks(client: LlmClient, turns: u64) {
    let request =
        ChatRequest::new("model").user("x".repeat(1_000)).max_output_tokens(WARM_UP + turns);
    let mut stream = client.stream(request).await.expect("somebody answers");
    while let Some(chunk) = stream.next().await {
        black_box(chunk.expect("nothing breaks"));
    }
}

fn builder() -> LlmClientBuilder {
    ["a", "b", "c"].into_iter().fold(LlmClient::builder().seed(1), |builder, id| {
        builder.endpoint(Endpoint::new(Instantaneous(id)))
    })
}

fn client(builder: LlmClientBuilder) -> LlmClient {
    builder.build().expect("what the paths are made of is valid")
}

fn cache() -> SemanticCache {
    SemanticCache::builder()
        .seed(1)
        .secret([7; 32])
        .max_entries(CACHED)
        .build()
        .expect("room for some")
}

fn limiter() -> QuotaLimiter {
    let limits = Limits::new().requests_per_minute(1 << 30).tokens_per_minute(1 << 40);
    QuotaLimiter::builder().per_tenant(limits).build().expect("limits above zero")
}

fn at_once<F: Future>(work: F) -> F::Output {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing on the path waits"),
    }
}

/// A request that asks something new each time, written in place.
struct Question(Arc<ChatRequest>);

impl Question {
    fn new(prompt: usize) -> Self {
        Self(Arc::new(ChatRequest::new("model").user("x".repeat(prompt))))
    }

    fn next(&mut self) -> Arc<ChatRequest> {
        let request = Arc::get_mut(&mut self.0).expect("the last call has ended");
        *request.sampling.seed.get_or_insert(0) += 1;
        Arc::clone(&self.0)
    }
}

/// Answers whole, or in as many chunks as it may use tokens, at once.
struct Instantaneous(&'static str);

#[async_trait]
impl Provider for Instantaneous {
    fn id(&self) -> &str {
        self.0
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        black_box(request);
        Ok(ChatResponse::text_only("an answer of a few words").with_usage(Usage::counted(250, 6)))
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let many = request.sampling.max_output_tokens.unwrap_or_default();
        let words = (0..many).map(|_| Ok(Chunk::text(0, "word ")));
        let end = [Ok(Chunk::done(FinishReason::Stop))];
        Ok(futures::stream::iter(words.chain(end)).boxed())
    }

    fn capabilities(&self) -> Capabilities {
        // Whole answers are asked for whole.
        Capabilities::all().streaming(false)
    }
}
