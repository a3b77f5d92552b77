//! Quotas and the queue under threads: nothing is lost, whoever leaves and whenever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::quota::{Dimension, Limit};
use evenkeel::rng::Rng;
use evenkeel::testing::drop_after_polls;
use evenkeel::{
    ChatRequest, ChatResponse, Endpoint, ErrorKind, Limits, LlmClient, ProviderError, QuotaLimiter,
    RequestQueue, TenantId, Usage, provider_fn,
};

const CALLERS: usize = 16;
const CALLS: usize = 250;
const PLACES: usize = 3;

/// Answers after some turns of the scheduler; one attempt in 200 meets a window that is not open.
fn endpoint(id: &'static str, running: &Arc<AtomicUsize>, seed: u64) -> Endpoint {
    let (running, rng) = (Arc::clone(running), Arc::new(Rng::from_seed(seed)));
    let provider = provider_fn(id, move |_, _| {
        let (running, turns) = (Running::enter(&running), rng.below(6));
        let refused = rng.below(200) == 0;
        async move {
            let _running = running;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if refused {
                let wait = Duration::from_millis(1);
                return Err(ProviderError::new(ErrorKind::RateLimited, "").with_retry_after(wait));
            }
            Ok(ChatResponse::text_only("done").with_usage(Usage::counted(3, 2)))
        }
    });
    Endpoint::new(provider).limits(EndpointLimits::new().concurrency(PLACES as u32))
}

/// Fails the test where more run than there are places.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn enter(running: &Arc<AtomicUsize>) -> Self {
        let before = running.fetch_add(1, Ordering::Relaxed);
        assert!(before < PLACES, "{before} ran already");
        Self(Arc::clone(running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client() -> LlmClient {
    let limits = Limits::new()
        .limit(Limit::new(Dimension::Tokens, 1 << 40, Duration::from_secs(60)))
        .concurrency(CALLERS as u32);
    let running = Arc::new(AtomicUsize::new(0));
    let others = Arc::new(AtomicUsize::new(0));
    LlmClient::builder()
        .endpoint(endpoint("a", &running, 1))
        .endpoint(endpoint("b", &others, 2))
        .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
        .queue(RequestQueue::builder().patience(1.0).build().unwrap())
        .build()
        .unwrap()
}

/// A third of the calls is dropped after a few polls; all others must be answered in time, which a
/// lost wake-up would not let them be.
async fn caller(client: LlmClient, tenant: usize) -> usize {
    let rng = Rng::from_seed(tenant as u64);
    let mut answered = 0;
    for _ in 0..CALLS {
        let call = ChatRequest::new("m").user("q").tenant(format!("tenant {}", tenant % 5));
        let call = client.complete(call.deadline_in(Duration::from_secs(60)));
        let polls = if rng.below(3) == 0 { rng.below(8) as usize } else { usize::MAX };
        if let Some(done) = drop_after_polls(Box::pin(call), polls).await {
            done.unwrap();
            answered += 1;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_no_token_and_no_wake_up_is_lost_under_threads() {
    let client = client();
    let callers = (0..CALLERS).map(|tenant| tokio::spawn(caller(client.clone(), tenant)));
    let answered: usize =
        futures::future::join_all(callers).await.into_iter().map(Result::unwrap).sum();
    assert!(answered >= CALLERS * CALLS / 2, "{answered}");
    assert_eq!(client.running(), 0);
    let stats = client.queue().unwrap().stats();
    assert_eq!((stats.depth, stats.running), (0, 0));
    for status in client.balancer().status(evenkeel::time::now()) {
        assert_eq!(status.in_flight, 0);
    }
    for tenant in 0..5 {
        let tenant = TenantId::new(format!("tenant {tenant}"));
        assert_eq!(client.quota().unwrap().usage(&tenant).unwrap().running, 0);
    }
}
