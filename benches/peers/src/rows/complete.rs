//! A whole call, against the bare provider call that it ends in: the exact cache is asked and has
//! nothing, quota and queue let it pass, an endpoint is chosen, and the answer is stored.
//!
//! Each call asks something new, on both sides: a number in front of the prompt says which. What the
//! cache keeps of it is the answer and a hash, and it is full, so that something leaves each time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::SemanticCache;
use evenkeel::time::now;
use evenkeel::{
    Call, CallContext, Capabilities, ChatRequest, ChatResponse, Endpoint, Limits, LlmClient, Part,
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
    measure::added(effort, bare(&runtime, prompt), whole(&runtime, prompt)) / 1e3
}

fn bare(runtime: &Runtime, prompt: usize) -> impl FnMut() {
    let mut question = Question::new(prompt);
    let provider: Arc<dyn Provider> = Arc::new(Instantaneous("bare"));
    let cx = CallContext::new(now() + Duration::from_secs(3600));
    move || {
        let request = question.next();
        drop(black_box(runtime.block_on(provider.complete(&request, &cx))));
    }
}

fn whole(runtime: &Runtime, prompt: usize) -> impl FnMut() {
    let mut question = Question::new(prompt);
    let limits = Limits::new().requests_per_minute(1 << 30).tokens_per_minute(1 << 40);
    let client = LlmClient::builder()
        .quota(QuotaLimiter::builder().per_tenant(limits).build().expect("limits"))
        .cache(SemanticCache::builder().max_entries(CACHED).build().expect("room for some"))
        .queue(RequestQueue::builder().build().expect("defaults"))
        .endpoint(Endpoint::new(Instantaneous("a")).weight(3))
        .endpoint(Endpoint::new(Instantaneous("b")))
        .endpoint(Endpoint::new(Instantaneous("c")))
        .build()
        .expect("three endpoints with weights");
    let tenant = TenantId::new("acme");
    let mut ask = move || {
        let call = Call::from(question.next()).tenant(tenant.clone());
        drop(black_box(runtime.block_on(client.complete(call)).expect("somebody answers")));
    };
    // From here on something has to leave.
    (0..CACHED).for_each(|_| ask());
    ask
}

/// How many answers the cache holds.
const CACHED: usize = 2_000;

/// A request that asks something new each time. Its text is written in place: nobody holds the one
/// before any more.
struct Question {
    request: Arc<ChatRequest>,
    number: u64,
}

impl Question {
    fn new(prompt: usize) -> Self {
        let request = Arc::new(ChatRequest::new("model").user("x".repeat(prompt)));
        Self { request, number: 0 }
    }

    fn next(&mut self) -> Arc<ChatRequest> {
        self.number += 1;
        let request = Arc::get_mut(&mut self.request).expect("the last call has ended");
        let Part::Text { text } = &mut request.messages[0].content[0] else {
            unreachable!("the prompt is a text");
        };
        text.replace_range(..16, &format!("{:016x}", self.number));
        Arc::clone(&self.request)
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
