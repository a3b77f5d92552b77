//! What a whole `complete` costs over the bare provider call, and one that the cache answers.
//!
//! ```text
//! cargo bench --bench pipeline
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::cache::SemanticCache;
use evenkeel::client::LlmClientBuilder;
use evenkeel::time::now;
use evenkeel::{
    Call, CallContext, Capabilities, ChatRequest, ChatResponse, Endpoint, LlmClient, Provider,
    ProviderError, ServedBy,
};
use tokio::runtime::{Builder, Runtime};

/// Answers at once, streaming or whole.
struct Instantaneous {
    id: &'static str,
    streaming: bool,
}

#[async_trait]
impl Provider for Instantaneous {
    fn id(&self) -> &str {
        self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        black_box(request);
        Ok(ChatResponse::text_only("an answer of a few words"))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all().streaming(self.streaming)
    }
}

fn client(streaming: bool) -> LlmClient {
    builder(streaming).build().expect("three endpoints with weights")
}

fn builder(streaming: bool) -> LlmClientBuilder {
    let endpoint = |id| Endpoint::new(Instantaneous { id, streaming });
    LlmClient::builder()
        .endpoint(endpoint("a").weight(3))
        .endpoint(endpoint("b"))
        .endpoint(endpoint("c"))
}

fn prompt(bytes: usize) -> Arc<ChatRequest> {
    Arc::new(ChatRequest::new("model").user("x".repeat(bytes)))
}

fn pipeline(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let bare: Arc<dyn Provider> = Arc::new(Instantaneous { id: "bare", streaming: false });
    let (whole, streaming) = (client(false), client(true));
    let caching = builder(false)
        .cache(SemanticCache::builder().build().expect("defaults"))
        .build()
        .expect("three endpoints with weights");
    let mut group = criterion.benchmark_group("pipeline");
    for bytes in [1_000, 100_000] {
        let request = prompt(bytes);
        let cx = CallContext::new(now() + Duration::from_secs(60));
        group.bench_with_input(BenchmarkId::new("bare", bytes), &request, |bencher, request| {
            bencher.iter(|| runtime.block_on(bare.complete(request, &cx)));
        });
        group.bench_with_input(BenchmarkId::new("whole", bytes), &request, |bencher, request| {
            bencher.iter(|| runtime.block_on(whole.complete(Call::from(Arc::clone(request)))));
        });
        group.bench_with_input(
            BenchmarkId::new("streamed", bytes),
            &request,
            |bencher, request| {
                bencher
                    .iter(|| runtime.block_on(streaming.complete(Call::from(Arc::clone(request)))));
            },
        );
        group.bench_with_input(BenchmarkId::new("hit", bytes), &request, |bencher, request| {
            let ask = || runtime.block_on(caching.complete(Call::from(Arc::clone(request))));
            ask().expect("the first one is fetched");
            bencher.iter(|| {
                let hit = ask().expect("it is in the cache");
                assert_eq!(hit.report.served_by, ServedBy::ExactHit);
                hit
            });
        });
    }
    group.finish();
    print_overhead(&runtime, &bare, &whole);
}

/// The median over alternating batches, so that a noisy neighbour meets both sides.
fn print_overhead(runtime: &Runtime, bare: &Arc<dyn Provider>, client: &LlmClient) {
    let request = prompt(1_000);
    let cx = CallContext::new(now() + Duration::from_secs(60));
    let mut overheads: Vec<f64> = (0..201)
        .map(|_| {
            let base = per_call(|| drop(black_box(runtime.block_on(bare.complete(&request, &cx)))));
            let call = || Call::from(Arc::clone(&request));
            per_call(|| drop(black_box(runtime.block_on(client.complete(call()))))) - base
        })
        .collect();
    overheads.sort_by(f64::total_cmp);
    println!("overhead of complete over the bare call, median: {:.0} ns", overheads[100]);
}

fn per_call(mut work: impl FnMut()) -> f64 {
    const BATCH: u32 = 1_000;
    let start = now();
    (0..BATCH).for_each(|_| work());
    start.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
