//! Declared limits: known before they are hit.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use evenkeel::balance::{Balancer, Demand, EndpointLimits, Lease, NoLease};
use evenkeel::error::NoEndpoint;
use evenkeel::outcome::{End, Outcome};
use evenkeel::rate_limits::{LimitWindow, RateLimits};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::time::{Instant, now};
use evenkeel::{Endpoint, Error, ErrorKind, LlmClient, Usage};
use proptest::prelude::*;

use crate::doubles::seconds;
use crate::leases::{count, endpoint, fail, lease_any, over};

const NANO: Duration = Duration::from_nanos(1);

/// Limits whose burst is the whole minute.
fn minute() -> EndpointLimits {
    EndpointLimits::new().burst(seconds(60))
}

fn limited(limits: EndpointLimits) -> Balancer {
    over([endpoint("limited").limits(limits)]).build().unwrap()
}

fn tokens(input: u64, output: u64) -> Demand<'static> {
    let mut demand = Demand::new(None);
    (demand.input_tokens, demand.output_tokens) = (input, Some(output));
    demand
}

fn refusal(balancer: &Balancer, demand: &Demand<'_>, now: Instant) -> NoLease {
    balancer.try_lease(demand, now).unwrap_err()
}

#[test]
fn concurrency_is_never_exceeded_whoever_comes_at_once() {
    let limits = EndpointLimits::new().concurrency(3);
    let balancer = over([endpoint("small").limits(limits), endpoint("spare").tier(1)]);
    let balancer = balancer.build().unwrap();
    let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let lease = lease_any(&balancer, now());
                    if lease.endpoint() != "small" {
                        continue;
                    }
                    let at_once = running.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(at_once, Ordering::Relaxed);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::Relaxed);
                    drop(lease);
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::Relaxed)), "{most:?}");
    let leases: Vec<Lease> = (0..5).map(|_| lease_any(&balancer, now())).collect();
    assert_eq!((count(&leases, "small"), count(&leases, "spare")), (3, 2), "all places are back");
}

#[test]
fn concurrency_counts_all_models_of_an_endpoint_together_and_rates_count_them_apart() {
    let endpoint = endpoint("both").model("a").model("b");
    let limits = minute().concurrency(3).requests_per_minute(2);
    let balancer = over([endpoint.limits(limits)]).build().unwrap();
    let lease = |model| balancer.try_lease(&Demand::new(Some(model)), now());
    let (first, second) = (lease("a").unwrap(), lease("a").unwrap());
    assert!(lease("a").is_err(), "the rate of a is used up");
    let _third = lease("b").unwrap();
    assert!(lease("b").is_err(), "three are running");
    drop((first, second));
    assert!(lease("b").is_ok());
}

#[test]
fn what_is_out_of_capacity_spills_over_to_the_next_tier_and_comes_back() {
    for limits in [
        minute().requests_per_minute(6),
        minute().tokens_per_minute(600),
        minute().input_tokens_per_minute(480),
        minute().output_tokens_per_minute(120),
    ] {
        let balancer = over([endpoint("main").limits(limits), endpoint("spare").tier(1)]);
        let balancer = balancer.build().unwrap();
        let demand = tokens(80, 20);
        let start = now();
        let lease = |now| balancer.try_lease(&demand, now).unwrap();
        let leases: Vec<Lease> = (0..10).map(|_| lease(start)).collect();
        assert_eq!((count(&leases, "main"), count(&leases, "spare")), (6, 4));
        assert_eq!(lease(start + seconds(10)).endpoint(), "main", "a sixth is back");
        assert_eq!(lease(start + seconds(10)).endpoint(), "spare");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_earliest_time_is_exact(
        requests in 1u64..2_000,
        per_minute in 100u64..1_000_000,
        burst in 1u64..=60,
        calls in prop::collection::vec((0u64..100, 0u64..=100, 0u64..3_000), 1..40),
    ) {
        let limits = EndpointLimits::new()
            .requests_per_minute(requests)
            .tokens_per_minute(per_minute)
            .burst(seconds(burst));
        let balancer = limited(limits);
        let mut now = now();
        let mut leases = Vec::new();
        for (input, percent, pause) in calls {
            now += Duration::from_millis(pause);
            let demand = tokens(input, (per_minute - input) * percent / 100);
            let at = balancer.earliest(&demand, now).unwrap();
            if at > now {
                prop_assert_eq!(refusal(&balancer, &demand, now), NoLease::NotBefore(Some(at)));
                prop_assert!(balancer.try_lease(&demand, at - NANO).is_err());
            }
            leases.push(balancer.try_lease(&demand, at).unwrap());
            now = at;
        }
    }
}

#[test]
fn what_was_reserved_and_not_used_is_given_back() {
    let balancer = limited(minute().output_tokens_per_minute(1_000));
    let now = now();
    let lease = balancer.try_lease(&tokens(5, 900), now).unwrap();
    assert!(balancer.try_lease(&tokens(5, 200), now).is_err());
    lease.settle(&Outcome::new(End::Success).with_usage(Usage::counted(5, 50)), now);
    let _fits = balancer.try_lease(&tokens(5, 900), now).unwrap();
    assert!(balancer.try_lease(&tokens(5, 51), now).is_err());
}

#[test]
fn a_refused_call_costs_no_tokens_but_counts_as_a_request() {
    let balancer = limited(minute().requests_per_minute(3).tokens_per_minute(1_000));
    let now = now();
    for _ in 0..3 {
        fail(balancer.try_lease(&tokens(500, 500), now).unwrap(), ErrorKind::InvalidRequest, now);
    }
    assert!(balancer.try_lease(&tokens(1, 1), now).is_err());
}

#[test]
fn headers_lower_what_is_left_and_never_raise_it() {
    let balancer = limited(minute().requests_per_minute(100));
    let now = now();
    let said = |remaining| {
        let window = LimitWindow::new().with_remaining(remaining);
        Outcome::new(End::Success).with_rate_limits(Some(RateLimits::new().with_requests(window)))
    };
    let left = || {
        let leases: Vec<Lease> =
            std::iter::from_fn(|| balancer.try_lease(&Demand::new(None), now).ok()).collect();
        leases.len()
    };
    let (first, _second) = (lease_any(&balancer, now), lease_any(&balancer, now));
    // Somebody else uses the account: ten were left, and one was sent since.
    first.settle(&said(10), now);
    let third = lease_any(&balancer, now);
    third.settle(&said(u64::MAX), now);
    assert_eq!(left(), 8);
}

#[test]
fn what_is_too_large_for_every_limit_is_never() {
    let endpoints = || {
        [
            endpoint("small").limits(minute().tokens_per_minute(1_000)),
            endpoint("large").limits(minute().tokens_per_minute(5_000)),
        ]
    };
    let balancer = over(endpoints()).build().unwrap();
    let now = now();
    let never = NoLease::Never(NoEndpoint::TooLarge { most: 5_000 });
    let huge = tokens(4_000, 1_001);
    assert_eq!(refusal(&balancer, &huge, now), never);
    assert_eq!(balancer.earliest(&huge, now), Err(never));
    let large = tokens(4_000, 1_000);
    let lease = balancer.try_lease(&large, now).unwrap();
    assert_eq!(lease.endpoint(), "large");
    let tried = [lease.key()];
    assert_eq!(
        refusal(&balancer, &large.excluding(&tried), now),
        NoLease::NotBefore(None),
        "the one that was tried could serve it"
    );
    assert!(matches!(refusal(&balancer, &large, now), NoLease::NotBefore(Some(_))));
}

#[test]
fn what_is_only_guessed_of_an_answer_is_never_too_large() {
    let balancer = limited(minute().tokens_per_minute(200).output_tokens_per_minute(100));
    let now = now();
    let mut demand = Demand::new(None);
    demand.input_tokens = 150;
    let lease = balancer.try_lease(&demand, now).unwrap();
    assert!(matches!(refusal(&balancer, &demand, now), NoLease::NotBefore(Some(_))));
    let used = Outcome::new(End::Success).with_usage(Usage::counted(150, 10));
    lease.settle(&used, now);
    assert_eq!(
        refusal(&balancer, &tokens(10, 101), now),
        NoLease::Never(NoEndpoint::TooLarge { most: 100 })
    );
    demand.input_tokens = 201;
    assert_eq!(
        refusal(&balancer, &demand, now),
        NoLease::Never(NoEndpoint::TooLarge { most: 200 })
    );
}

#[test]
fn an_attempt_that_finds_no_place_leaves_the_rate_alone() {
    let balancer = limited(minute().requests_per_minute(2).concurrency(1));
    let now = now();
    let running = lease_any(&balancer, now);
    for _ in 0..10 {
        assert_eq!(refusal(&balancer, &Demand::new(None), now), NoLease::NotBefore(None));
    }
    drop(running);
    drop(lease_any(&balancer, now));
}

#[test]
fn an_attempt_that_is_refused_hides_no_free_place_from_another() {
    let balancer = limited(minute().tokens_per_minute(1_000).concurrency(1));
    let now = now();
    let used = Outcome::new(End::Success).with_usage(Usage::counted(900, 0));
    balancer.try_lease(&tokens(900, 0), now).unwrap().settle(&used, now);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                assert!(balancer.try_lease(&tokens(500, 0), now).is_err());
            }
        });
        let refused =
            (0..100_000).filter(|_| balancer.try_lease(&tokens(0, 0), now).is_err()).count();
        running.store(false, Ordering::Relaxed);
        assert_eq!(refused, 0, "nobody else holds a place");
    });
}

#[test]
fn a_refusal_names_no_return_of_an_endpoint_that_cannot_serve_the_call() {
    let text_only =
        ScriptedProvider::new("text-only").with_capabilities(evenkeel::Capabilities::text_only());
    let limits = EndpointLimits::new().concurrency(1);
    let balancer = over([Endpoint::new(text_only), endpoint("able").limits(limits)]);
    let balancer = balancer.build().unwrap();
    let now = now();
    let rests = lease_any(&balancer, now);
    assert_eq!(rests.endpoint(), "text-only");
    fail(rests, ErrorKind::RateLimited, now);
    let mut needy = Demand::new(None);
    needy.needs = evenkeel::Capabilities::all();
    let _running = balancer.try_lease(&needy, now).unwrap();
    assert_eq!(refusal(&balancer, &needy, now), NoLease::NotBefore(None));
}

#[tokio::test(start_paused = true)]
async fn a_client_never_sends_what_the_declared_limit_forbids() {
    let provider = ScriptedProvider::new("p").forever(Answer::text("hi"));
    let endpoint = Endpoint::new(provider.clone()).limits(minute().requests_per_minute(2));
    let client = LlmClient::builder().endpoint(endpoint).build().unwrap();
    for _ in 0..2 {
        client.complete("q").await.unwrap();
    }
    let refused = client.complete("q").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    let wait = refused.retry_after().unwrap();
    assert_eq!(provider.counts().started, 2);
    assert!((seconds(30)..seconds(30) + Duration::from_millis(1)).contains(&wait), "{wait:?}");
    tokio::time::advance(wait).await;
    client.complete("q").await.unwrap();
}
