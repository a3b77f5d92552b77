//! A whole call that the cache answers: the very same was asked before.

use std::hint::black_box;
use std::sync::Arc;

use evenkeel::cache::SemanticCache;
use evenkeel::{Call, ChatRequest, ChatResponse, Endpoint, LlmClient, TenantId, provider_fn};
use tokio::runtime::{Builder, Runtime};

use super::{Goal, Row};
use crate::alloc::allocations_of;
use crate::measure::{self, Effort};

/// Times are microseconds a call, at the prompt length in the name.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "hit_1kB_us", goal: Goal::AtMost(2.2), run: |effort| time(1_000, effort) },
    Row { name: "hit_100kB_us", goal: Goal::AtMost(22.0), run: |effort| time(100_000, effort) },
    // The answer is shared by all who are given it, however long it is.
    Row { name: "hit_allocs", goal: Goal::AtMost(0.0), run: |_| allocations() },
];

fn time(prompt: usize, effort: Effort) -> f64 {
    measure::time(effort, hit(prompt)) / 1e3
}

fn allocations() -> f64 {
    let mut hit = hit(1_000);
    hit();
    allocations_of(hit) as f64
}

/// Asks again and again what was answered before.
fn hit(prompt: usize) -> impl FnMut() {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let client = client();
    let request = Arc::new(ChatRequest::new("model").user("x".repeat(prompt)));
    let tenant = TenantId::new("acme");
    let ask = move || {
        let call = Call::from(Arc::clone(&request)).tenant(tenant.clone());
        answered(&runtime, &client, call);
    };
    ask();
    ask
}

fn answered(runtime: &Runtime, client: &LlmClient, call: Call) {
    let answer = runtime.block_on(client.complete(call)).expect("it is in the cache");
    drop(black_box(answer));
}

fn client() -> LlmClient {
    let provider = provider_fn("only", |_, _| async {
        Ok(ChatResponse::text_only("an answer of a few words"))
    });
    LlmClient::builder()
        .endpoint(Endpoint::new(provider))
        .cache(SemanticCache::builder().build().expect("defaults"))
        .build()
        .expect("one endpoint")
}
