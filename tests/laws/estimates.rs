//! What calls teach the balancer of an endpoint's times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::{Balancer, Candidates, Demand, EndpointKey, Lease, Strategy, StrategyKind};
use evenkeel::client::RetryPolicy;
use evenkeel::outcome::{End, Outcome};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Endpoint, ErrorKind, LlmClient, Timeouts, time};
use futures::StreamExt as _;
use parking_lot::Mutex;

use crate::doubles::{always, builder_over, seconds};

/// Remembers what it was shown of the first endpoint's waits.
#[derive(Clone, Default)]
struct Onlooker(Arc<Mutex<Option<Duration>>>);

impl Strategy for Onlooker {
    fn choose(&self, candidates: &Candidates<'_>) -> Option<usize> {
        *self.0.lock() = candidates.get(0).and_then(|candidate| candidate.oldest_wait());
        None
    }
}

impl Onlooker {
    /// The longest wait for first content that `balancer` knows of.
    fn oldest_wait(&self, balancer: &Balancer) -> Option<Duration> {
        drop(balancer.try_lease(&Demand::new(None), time::now()));
        *self.0.lock()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_its_first_content_and_no_longer() {
    let answer = Answer::text("one two three").delay(seconds(5)).pace(seconds(2));
    let onlooker = Onlooker::default();
    let balancer = Balancer::builder()
        .endpoint(Endpoint::new(ScriptedProvider::new("a").forever(answer)))
        .strategy(StrategyKind::custom(onlooker.clone()))
        .build()
        .unwrap();
    let client = LlmClient::builder().balancer(balancer.clone()).build().unwrap();

    let mut opening = std::pin::pin!(client.stream("q"));
    assert!(tokio::time::timeout(seconds(3), &mut opening).await.is_err());
    assert_eq!(onlooker.oldest_wait(&balancer), Some(seconds(3)));

    let mut stream = opening.await.unwrap();
    assert!(stream.next().await.is_some());
    assert_eq!(balancer.status(time::now())[0].in_flight, 1, "the answer is still arriving");
    assert_eq!(onlooker.oldest_wait(&balancer), None);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_as_all_the_time_it_had() {
    let broken = always("broken", Answer::error(ErrorKind::Server));
    let client = builder_over([&broken])
        .retry(RetryPolicy::never())
        .timeouts(Timeouts::new().first_content(seconds(45)))
        .build()
        .unwrap();
    client.complete("q").await.unwrap_err();
    assert_eq!(client.balancer().status(time::now())[0].ttft, Some(seconds(45)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_too_long_speaks_against_its_endpoint_before_it_ends() {
    let balancer = Balancer::builder()
        .endpoint(Endpoint::new(ScriptedProvider::new("silent")))
        .endpoint(Endpoint::new(ScriptedProvider::new("lively")))
        .strategy(StrategyKind::Adaptive)
        .build()
        .unwrap();
    let other_than = |key: Option<EndpointKey>| {
        let demand = Demand::new(None);
        balancer.try_lease(&demand.excluding(key.as_slice()), time::now()).unwrap()
    };
    // Both have answered within a second.
    let (first, second) = (other_than(None), other_than(None));
    let keys = BTreeMap::from([first, second].map(|lease| {
        let key = (lease.endpoint().to_string(), lease.key());
        let answer = Outcome::new(End::Success).with_ttft(Some(seconds(1)));
        lease.settle(&answer, time::now());
        key
    }));
    let _waiting = other_than(Some(keys["lively"]));
    let mut answering = [other_than(Some(keys["silent"])), other_than(Some(keys["silent"]))];
    answering.iter_mut().for_each(Lease::first_content);

    tokio::time::advance(seconds(2)).await;
    assert_eq!(other_than(None).endpoint(), "silent", "it has fewer calls, and may well be quick");
    tokio::time::advance(seconds(3)).await;
    assert_eq!(other_than(None).endpoint(), "lively");
}
