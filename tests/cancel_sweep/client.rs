//! Calls, streams and the end of a client.

use evenkeel::quota::SharedQuota;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::{CompletionStream, Error, LlmClient, SemanticCache, time};
use futures::StreamExt as _;
use futures::future::join;

use crate::house::{House, WORDS, ask};
use crate::stores::{Mood, Moody};
use crate::{SECOND, pass};

/// One call, then two that queue for one place, then two that share a flight.
async fn all_kinds_of_calls(client: &LlmClient) {
    let first = client.complete(ask("alone")).await.unwrap();
    assert_eq!(first.text(), WORDS);
    let queued = join(client.complete(ask("first in line")), client.complete(ask("second")));
    let shared = join(client.complete(ask("the same")), client.complete(ask("the same")));
    let (queued, shared) = join(queued, shared).await;
    for answer in [queued.0, queued.1, shared.0, shared.1] {
        assert_eq!(answer.unwrap().text(), WORDS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_nothing_wherever_it_is_dropped() {
    for house in [House::new(), House::hedging()] {
        let calls = || all_kinds_of_calls(&house.client);
        drop_at_every_poll(calls, |polls| house.balances(polls)).await;
    }
}

/// The stores take their time, so that there are waits for them to be dropped at.
#[tokio::test(start_paused = true)]
async fn a_call_over_shared_stores_leaves_nothing_wherever_it_is_dropped() {
    let store = Moody::of(Mood::TakesItsTime);
    let cache = SemanticCache::builder().secret([7; 32]).shared(store.clone());
    let house = House::with(|builder| builder.cache(cache.build().unwrap()));
    let call = || house.client.complete(ask("q"));
    let done = drop_at_every_poll(call, |polls| house.balances(polls)).await;
    assert_eq!(done.unwrap().text(), WORDS);
}

async fn read(mut stream: CompletionStream) -> String {
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().as_text().unwrap_or_default());
    }
    text
}

async fn all_kinds_of_streams(client: &LlmClient) {
    let open = async |question| read(client.stream(ask(question)).await.unwrap()).await;
    assert_eq!(open("alone").await, WORDS);
    let (queued, shared) = (join(open("first"), open("second")), join(open("same"), open("same")));
    let (queued, shared) = join(queued, shared).await;
    for text in [queued.0, queued.1, shared.0, shared.1] {
        assert_eq!(text, WORDS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_leaves_nothing_wherever_it_is_dropped() {
    for house in [House::new(), House::hedging()] {
        let streams = || all_kinds_of_streams(&house.client);
        drop_at_every_poll(streams, |polls| house.balances(polls)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_awaited_whole_leaves_nothing_wherever_it_is_dropped() {
    let house = House::new();
    let whole = || async { house.client.stream(ask("q")).await?.into_completion().await };
    let done = drop_at_every_poll(whole, |polls| house.balances(polls)).await;
    assert_eq!(done.unwrap().text(), WORDS);
}

/// Whoever leads a flight leaves after every number of polls: who follows is answered all the same.
#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_anywhere_takes_nobody_with_it() {
    for polls in 0.. {
        let house = House::new();
        let leader = drop_after_polls(house.client.complete(ask("q")), polls);
        let (led, followed) = join(leader, house.client.complete(ask("q"))).await;
        assert_eq!(followed.unwrap().text(), WORDS, "{polls}");
        house.balances(polls);
        if led.is_some() {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_cuts_nobody_off() {
    for polls in 0.. {
        let house = House::new();
        let reading = async { read(house.client.stream(ask("q")).await.unwrap()).await };
        let draining = async {
            pass(SECOND / 2).await;
            drop_after_polls(house.client.drain(time::now() + 60 * SECOND), polls).await
        };
        let (text, drained) = join(reading, draining).await;
        assert_eq!(text, WORDS, "{polls}");
        assert_eq!(house.client.is_closed(), polls > 0);
        house.balances(polls);
        if let Some(drained) = drained {
            assert_eq!(drained.cut_off, 0);
            let refused = house.client.complete(ask("q")).await;
            assert!(matches!(refused, Err(Error::Closed { .. })));
            break;
        }
    }
}

/// Quotas in a store: what dropped calls may have taken is given back.
#[tokio::test(start_paused = true)]
async fn a_call_with_a_quota_in_a_store_leaves_nothing_wherever_it_is_dropped() {
    let shared = SharedQuota::new(MemoryQuotaStore::new()).secret([7; 32]);
    let limits = evenkeel::Limits::new().concurrency(1);
    let quota = evenkeel::QuotaLimiter::builder().per_tenant(limits).shared(shared);
    let provider = evenkeel::testing::ScriptedProvider::new("p")
        .forever(evenkeel::testing::Answer::text(WORDS).pace(SECOND));
    let client = LlmClient::builder()
        .endpoint(evenkeel::Endpoint::new(provider.clone()))
        .quota(quota.build().unwrap())
        .build()
        .unwrap();
    for polls in 0.. {
        let done = drop_after_polls(client.complete(ask("q")), polls).await;
        assert_eq!((client.running(), provider.counts().open), (0, 0), "{polls}");
        // One at a time: a place that is not given back refuses the next.
        assert!(client.quota().unwrap().flush(time::now() + 60 * SECOND).await);
        if let Some(done) = done {
            assert_eq!(done.unwrap().text(), WORDS);
            break;
        }
    }
}
