//! What each strategy promises beyond the weights.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::{
    Balancer, Candidates, Demand, HealthPolicy, Lease, Strategy as Choice, StrategyKind,
};
use evenkeel::outcome::{End, Outcome};
use evenkeel::testing::ScriptedProvider;
use evenkeel::time::now;
use evenkeel::{ChatRequest, Endpoint, EndpointId, ErrorKind, Price};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::doubles::seconds;
use crate::leases::{
    count, endpoint, fail, label, lease_any, lease_on, numbered, over, picks_of, succeed,
};

fn keyed(balancer: &Balancer, key: u64) -> Lease {
    let mut demand = Demand::new(None);
    demand.affinity = Some(key);
    balancer.try_lease(&demand, now()).unwrap()
}

/// Where each key goes while nothing is running.
fn homes(balancer: &Balancer, keys: u64) -> BTreeMap<u64, EndpointId> {
    (0..keys).map(|key| (key, keyed(balancer, key).endpoint().clone())).collect()
}

#[test]
fn affinity_moves_the_keys_of_the_endpoint_that_leaves_and_no_others() {
    let weights = [1, 2, 3, 4];
    let endpoints = (0..4).map(|id| endpoint(id).weight(weights[id]));
    let balancer = over(endpoints).strategy(StrategyKind::Affinity).build().unwrap();
    let before = homes(&balancer, 5_000);
    for (id, weight) in weights.iter().enumerate() {
        let keys = before.values().filter(|home| home.as_str() == id.to_string()).count();
        let share = 500 * *weight as usize;
        assert!(keys.abs_diff(share) < share / 5, "{id} has {keys} keys, its share is {share}");
    }

    let leaver = EndpointId::from("2");
    balancer.remove(&leaver).unwrap();
    for (key, home) in homes(&balancer, 5_000) {
        assert_ne!(home, leaver);
        assert!(before[&key] == home || before[&key] == leaver, "{key} moved without need");
    }
    balancer.add(endpoint(2).weight(3)).unwrap();
    assert_eq!(homes(&balancer, 5_000), before, "it gets the same keys back");
}

#[test]
fn affinity_agrees_between_instances_whatever_the_order_of_their_endpoints() {
    let affine =
        |ids: [usize; 3]| over(ids.map(endpoint)).strategy(StrategyKind::Affinity).build().unwrap();
    assert_eq!(homes(&affine([0, 1, 2]), 500), homes(&affine([2, 0, 1]), 500));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn affinity_loads_nobody_beyond_its_bound(
        weights in prop::collection::vec(1u32..20, 1..6),
        keys in prop::collection::vec((0u64..4, any::<bool>()), 0..300),
    ) {
        let endpoints = weights.iter().enumerate();
        let endpoints = endpoints.map(|(id, &weight)| endpoint(id).weight(weight));
        let balancer = over(endpoints).strategy(StrategyKind::Affinity).build().unwrap();
        let mut running: Vec<Lease> = Vec::new();
        for (key, ends) in keys {
            if ends && !running.is_empty() {
                drop(running.swap_remove(key as usize % running.len()));
            }
            running.push(keyed(&balancer, key));
            assert_within_bound(&running, &weights);
        }
    }
}

#[test]
fn a_bound_that_is_a_whole_number_is_no_more_than_that() {
    let weights = [8, 13, 4];
    for key in 0..8 {
        let endpoints = (0..3).map(|id| endpoint(id).weight(weights[id]));
        let balancer = over(endpoints).strategy(StrategyKind::Affinity).build().unwrap();
        let mut running: Vec<Lease> = Vec::new();
        // With the 35th, the first may have 14.
        for _ in 0..40 {
            running.push(keyed(&balancer, key));
            assert_within_bound(&running, &weights);
        }
    }
}

/// The endpoint of the newest lease is not loaded beyond its bound.
fn assert_within_bound(running: &[Lease], weights: &[u32]) {
    let id = running.last().unwrap().endpoint().as_str();
    let weight = u64::from(weights[id.parse::<usize>().unwrap()]);
    let total = u64::from(weights.iter().sum::<u32>());
    let bound = (5 * running.len() as u64 * weight).div_ceil(4 * total).max(8);
    assert!(count(running, id) as u64 <= bound, "{id} has more than {bound}");
}

#[test]
fn one_session_stays_and_the_rest_goes_by_the_beginning_of_the_prompt() {
    let request = |text: &str| ChatRequest::default().system("s".repeat(2_000)).user(text);
    let key = |session, request: &ChatRequest| {
        Demand::of(request).with_affinity(session, request).affinity.unwrap()
    };
    let (first, second) = (request("one"), request("two"));
    assert_eq!(key(Some("a"), &first), key(Some("a"), &ChatRequest::default().user("x")));
    assert_ne!(key(Some("a"), &first), key(Some("b"), &first));
    assert_eq!(key(None, &first), key(None, &second), "alike for longer than a prefix");
    assert_ne!(key(None, &first), key(None, &ChatRequest::default().user("one")));
}

fn priced(id: &str, price: Price) -> Endpoint {
    endpoint(id).price(price)
}

#[test]
fn the_cheapest_serves_while_it_can_and_equals_share_by_weight() {
    let balancer = over([
        endpoint("unpriced"),
        priced("dear", Price::per_million(3.0, 15.0)),
        priced("one", Price::per_million(1.0, 2.0)).weight(2),
        priced("two", Price::per_million(1.0, 2.0)),
    ])
    .strategy(StrategyKind::Cheapest)
    .build()
    .unwrap();
    let now = now();
    let leases: Vec<Lease> = (0..300).map(|_| lease_any(&balancer, now)).collect();
    assert_eq!((count(&leases, "one"), count(&leases, "two")), (200, 100));

    for (next, rests) in [("two", "one"), ("dear", "two"), ("unpriced", "dear")] {
        fail(lease_on(&balancer, rests, now).unwrap(), ErrorKind::Auth, now);
        assert_eq!(picks_of(&balancer, next, 20, now), 20, "{rests} is out");
    }
}

#[test]
fn what_is_cheapest_depends_on_the_call() {
    let balancer = over([
        priced("cheap-input", Price::per_million(1.0, 20.0)),
        priced("cheap-output", Price::per_million(10.0, 2.0)),
    ])
    .strategy(StrategyKind::Cheapest)
    .build()
    .unwrap();
    for (input, output, cheapest) in [(100_000, 10, "cheap-input"), (10, 4_000, "cheap-output")] {
        let mut demand = Demand::new(None);
        (demand.input_tokens, demand.output_tokens) = (input, Some(output));
        for _ in 0..10 {
            let lease = balancer.try_lease(&demand, now()).unwrap();
            assert_eq!(lease.endpoint(), &cheapest);
        }
    }
}

#[test]
fn the_least_busy_serves_so_that_running_calls_follow_the_weights() {
    let endpoints = [1, 2, 3].map(|weight| endpoint(weight).weight(weight));
    let balancer = over(endpoints).strategy(StrategyKind::LeastBusy).build().unwrap();
    let mut leases: Vec<Lease> = (0..60).map(|_| lease_any(&balancer, now())).collect();
    let counts = |leases: &[Lease]| ["1", "2", "3"].map(|id| count(leases, id));
    assert_eq!(counts(&leases), [10, 20, 30]);
    leases.retain(|lease| lease.endpoint() != "3");
    leases.extend((0..30).map(|_| lease_any(&balancer, now())));
    assert_eq!(counts(&leases), [10, 20, 30], "whoever became free is filled first");
}

#[test]
fn adaptive_prefers_the_fast_and_is_not_drawn_to_what_fails_at_once() {
    let balancer = numbered(3).strategy(StrategyKind::Adaptive).build().unwrap();
    let start = now();
    let mut served = BTreeMap::<String, u32>::new();
    for call in 0..600 {
        let now = start + seconds(call) * 5;
        let lease = lease_any(&balancer, now);
        *served.entry(lease.endpoint().to_string()).or_default() += 1;
        match lease.endpoint().as_str() {
            "0" => lease
                .settle(&Outcome::new(End::Success).with_ttft(Some(seconds(1))), now + seconds(2)),
            "1" => lease
                .settle(&Outcome::new(End::Success).with_ttft(Some(seconds(3))), now + seconds(4)),
            // A fault of no kind that counts against health, at once.
            _ => lease.settle(
                &Outcome::new(End::Failed(ErrorKind::Server)).with_timeout(seconds(30)),
                now,
            ),
        }
    }
    assert!(served["0"] > 500, "{served:?}");
    assert!(served.get("2").copied().unwrap_or(0) < 10, "{served:?}");
}

#[test]
fn adaptive_notices_a_backend_that_hangs_before_its_first_timeout() {
    let balancer = numbered(2).strategy(StrategyKind::Adaptive).build().unwrap();
    let mut now = now();
    for _ in 0..20 {
        for id in ["0", "1"] {
            let lease = lease_on(&balancer, id, now).unwrap();
            lease.settle(&Outcome::new(End::Success).with_ttft(Some(seconds(1))), now + seconds(1));
        }
        now += seconds(1);
    }
    let _hangs = lease_on(&balancer, "0", now).unwrap();
    // One call more on the other one, so that both are as busy.
    let _busy = lease_on(&balancer, "1", now + seconds(9)).unwrap();
    let later = now + seconds(10);
    assert_eq!(picks_of(&balancer, "1", 50, later), 50);
}

#[test]
fn what_a_strategy_and_a_person_see_is_the_estimate_as_of_now() {
    struct Sees(Arc<Mutex<Vec<Option<Duration>>>>);
    impl Choice for Sees {
        fn choose(&self, candidates: &Candidates<'_>) -> Option<usize> {
            self.0.lock().extend(candidates.get(0).map(|candidate| candidate.ttft()));
            None
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let strategy = StrategyKind::custom(Sees(Arc::clone(&seen)));
    let balancer = numbered(2).strategy(strategy).build().unwrap();
    let start = now();
    let answer = |id: &str, ttft, at| {
        let answered = Outcome::new(End::Success).with_ttft(Some(ttft));
        lease_on(&balancer, id, at).unwrap().settle(&answered, at);
    };
    answer("0", seconds(60), start);
    let much_later = start + seconds(1_200);
    (0..200).for_each(|n| answer("1", seconds(2), much_later + Duration::from_millis(n)));
    let later = much_later + seconds(1);
    drop(lease_any(&balancer, later));
    let faded = seen.lock().last().copied().flatten().unwrap();
    assert!((1.9..2.1).contains(&faded.as_secs_f64()), "{faded:?}");
    assert_eq!(balancer.status(later)[0].ttft, Some(faded));
}

/// Strategies of users who made a mistake.
fn mistaken() -> Vec<StrategyKind> {
    struct Fixed(Option<usize>);
    impl Choice for Fixed {
        fn choose(&self, _: &Candidates<'_>) -> Option<usize> {
            self.0
        }
    }
    struct Panics;
    impl Choice for Panics {
        fn choose(&self, _: &Candidates<'_>) -> Option<usize> {
            // Unwinds without the message that a panic prints.
            resume_unwind(Box::new(()))
        }
    }
    let fixed = |choice| StrategyKind::custom(Fixed(choice));
    vec![fixed(None), fixed(Some(3)), fixed(Some(usize::MAX)), StrategyKind::custom(Panics)]
}

#[test]
fn a_strategy_with_a_mistake_leaves_the_choice_to_the_weights() {
    for strategy in mistaken() {
        let endpoints = [1, 2, 3].map(|weight| endpoint(weight).weight(weight));
        let balancer = over(endpoints).strategy(strategy).build().unwrap();
        let leases: Vec<Lease> = (0..60).map(|_| lease_any(&balancer, now())).collect();
        assert_eq!(["1", "2", "3"].map(|id| count(&leases, id)), [10, 20, 30]);
    }
}

#[test]
fn a_strategy_that_insists_on_a_full_endpoint_loses_no_call() {
    struct First;
    impl Choice for First {
        fn choose(&self, _: &Candidates<'_>) -> Option<usize> {
            Some(0)
        }
    }
    let limits = evenkeel::balance::EndpointLimits::new().concurrency(2);
    let balancer = over([endpoint("small").limits(limits), endpoint("large")])
        .strategy(StrategyKind::custom(First))
        .build()
        .unwrap();
    let leases: Vec<Lease> = (0..40).map(|_| lease_any(&balancer, now())).collect();
    assert_eq!((count(&leases, "small"), count(&leases, "large")), (2, 38));
}

#[tokio::test(start_paused = true)]
async fn whatever_the_strategy_a_probe_that_is_answered_brings_an_endpoint_back() {
    let mut strategies = mistaken();
    strategies.extend([
        StrategyKind::Weighted,
        StrategyKind::Adaptive,
        StrategyKind::LeastBusy,
        StrategyKind::Affinity,
        StrategyKind::Cheapest,
    ]);
    for strategy in strategies {
        let name = strategy.name();
        let sick = ScriptedProvider::new("sick");
        let balancer = over([Endpoint::new(sick.clone()), endpoint("well")])
            .strategy(strategy)
            .health(HealthPolicy::any_recent_error())
            .build()
            .unwrap();
        fail(lease_on(&balancer, "sick", now()).unwrap(), ErrorKind::Timeout, now());
        sick.set_probe(Err(evenkeel::ProviderError::new(ErrorKind::Transport, "")));
        assert!(balancer.probe(seconds(1)).await.is_empty());
        assert_eq!(picks_of(&balancer, "sick", 20, now()), 0, "{name}");
        sick.set_probe(Ok(()));
        assert_eq!(balancer.probe(seconds(1)).await, ["sick"]);
        assert_eq!(label(&balancer, "sick", now()), "eligible");
        let leases: Vec<Lease> = (0..20).map(|_| lease_any(&balancer, now())).collect();
        assert!(count(&leases, "sick") > 0, "{name}");
    }
}

#[test]
fn a_call_that_has_tried_the_preferred_endpoint_gets_the_next_one() {
    for strategy in [StrategyKind::Affinity, StrategyKind::Cheapest, StrategyKind::LeastBusy] {
        let name = strategy.name();
        let endpoints = [3, 1, 2].map(|price| priced(&price.to_string(), Price::new(price, 0)));
        let balancer = over(endpoints).strategy(strategy).build().unwrap();
        let mut demand = Demand::new(None);
        (demand.affinity, demand.input_tokens) = (Some(7), 100);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let lease = balancer.try_lease(&demand.excluding(&tried), now()).unwrap();
            tried.push(lease.key());
            succeed(lease, now() + Duration::from_millis(1));
        }
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 3, "{name}");
        assert!(balancer.try_lease(&demand.excluding(&tried), now()).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_session_go_to_one_endpoint_and_so_do_prompts_that_begin_alike() {
    for queue in [None, Some(evenkeel::RequestQueue::builder().build().unwrap())] {
        sessions_keep_their_endpoint(queue).await;
    }
}

async fn sessions_keep_their_endpoint(queue: Option<evenkeel::RequestQueue>) {
    let endpoints = ["a", "b", "c", "d"].map(|id| {
        Endpoint::new(ScriptedProvider::new(id).forever(evenkeel::testing::Answer::text("hi")))
    });
    let balancer = over(endpoints).strategy(StrategyKind::Affinity).build().unwrap();
    let builder = evenkeel::LlmClient::builder().balancer(balancer);
    let client = match queue {
        Some(queue) => builder.queue(queue).build().unwrap(),
        None => builder.build().unwrap(),
    };
    let home = async |call: evenkeel::Call| {
        let done = client.complete(call).await.unwrap();
        done.report.served_by.endpoint().unwrap().clone()
    };
    let mut homes = std::collections::BTreeSet::new();
    for session in 0..12 {
        let key = format!("session {session}");
        let first = home(ChatRequest::new("m").user("hello").session(key.clone())).await;
        let next = home(ChatRequest::new("m").user("something else").session(key)).await;
        assert_eq!(first, next);
        let system = format!("system prompt {session}").repeat(200);
        let alike = ["one", "two"].map(|q| ChatRequest::new("m").system(&*system).user(q));
        let [one, two] = alike;
        assert_eq!(home(one.into()).await, home(two.into()).await);
        homes.insert(first);
    }
    assert!(homes.len() > 1, "{homes:?}");
}
