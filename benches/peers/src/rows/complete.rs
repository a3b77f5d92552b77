//! A whole call, quota and queue included, against the bare provider call that it ends in.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::time::now;
use evenkeel::{
    Call, CallContext, Capabilities, ChatRequest, ChatResponse, Endpoint, Limits, LlmClient,
    Provider, ProviderError, QuotaLimiter, RequestQueue, TenantId, async_trait,
};
use tokio::runtime::{Builder, Runtime};

use super::{Goal, Row};
use crate::measure::{self, Effort};

/// Values are microseconds a call, at the prompt length in the name.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "complete_1kB_us", goal: Goal::AtMost(5.25), run: |effort| added(1_000, effort) },
    Row {
        name: "complete_100kB_us",
        goal: Goal::AtMost(30.0),
        run: |effort| added(100_000, effort),
    },
];

fn added(prompt: usize, effort: Effort) -> f64 {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let request = Arc::new(ChatRequest::new("model").user("x".repeat(prompt)));
    measure::added(effort, bare(&runtime, &request), whole(&runtime, &request)) / 1e3
}

fn bare(runtime: &Runtime, request: &Arc<ChatRequest>) -> impl FnMut() {
    let provider: Arc<dyn Provider> = Arc::new(Instantaneous("bare"));
    let cx = CallContext::new(now() + Duration::from_secs(3600));
    move || drop(black_box(runtime.block_on(provider.complete(request, &cx))))
}

fn whole(runtime: &Runtime, request: &Arc<ChatRequest>) -> impl FnMut() {
    let limits = Limits::new().requests_per_minute(1 << 30).tokens_per_minute(1 << 40);
    let client = LlmClient::builder()
        .quota(QuotaLimiter::builder().per_tenant(limits).build().expect("limits"))
        .queue(RequestQueue::builder().build().expect("defaults"))
        .endpoint(Endpoint::new(Instantaneous("a")).weight(3))
        .endpoint(Endpoint::new(Instantaneous("b")))
        .endpoint(Endpoint::new(Instantaneous("c")))
        .build()
        .expect("three endpoints with weights");
    let tenant = TenantId::new("acme");
    move || {
        drop(black_box(
            runtime
                .block_on(client.complete(Call::from(Arc::clone(request)).tenant(tenant.clone()))),
        ))
    }
}

/// Answers whole, at once.
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
        Ok(ChatResponse::text_only("an answer of a few words"))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all().streaming(false)
    }
}
