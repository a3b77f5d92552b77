//! Calls through services.

use evenkeel::interop::tower::{ServiceProvider, StreamingService};
use evenkeel::testing::drop_at_every_poll;
use evenkeel::time::now;
use evenkeel::{CallContext, ChatRequest, ChatResponse, Provider as _, ProviderError};
use std::sync::Arc;
use tower::{ServiceExt as _, service_fn};

use crate::house::{House, WORDS, ask};
use crate::{SECOND, pass};

#[tokio::test(start_paused = true)]
async fn a_service_leaves_nothing_wherever_its_call_is_dropped() {
    let house = House::new();
    let call = || house.client.clone().oneshot(ask("q"));
    let done = drop_at_every_poll(call, |polls| house.balances(polls)).await;
    assert_eq!(done.unwrap().text(), WORDS);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_service_leaves_nothing_wherever_its_call_is_dropped() {
    let house = House::new();
    let call = || async {
        let stream = StreamingService::new(house.client.clone()).oneshot(ask("q")).await?;
        stream.into_completion().await
    };
    let done = drop_at_every_poll(call, |polls| house.balances(polls)).await;
    assert_eq!(done.unwrap().text(), WORDS);
}

#[tokio::test(start_paused = true)]
async fn a_service_behind_a_provider_is_dropped_with_its_attempt() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let provider = ServiceProvider::new(
        "stack",
        service_fn(move |_: ChatRequest| {
            let held = Arc::clone(&held);
            async move {
                pass(SECOND).await;
                pass(SECOND).await;
                drop(held);
                Ok::<_, ProviderError>(ChatResponse::text_only("x"))
            }
        }),
    );
    let (request, cx) = (ChatRequest::new("m").user("q"), CallContext::new(now() + 60 * SECOND));
    // One is the test's, one the service's.
    let stop = |polls| assert_eq!(Arc::strong_count(&alive), 2, "after {polls} polls");
    let done = drop_at_every_poll(|| provider.complete(&request, &cx), stop).await;
    assert_eq!(done.unwrap().text(), "x");
}
