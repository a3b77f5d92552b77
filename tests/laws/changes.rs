//! Endpoints come, change and go while calls run.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::{Balancer, Demand, HealthPolicy};
use evenkeel::client::RetryPolicy;
use evenkeel::rng::Rng;
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    Call, Endpoint, EndpointId, Error, ErrorKind, Event, LlmClient, Observer, ProviderError, time,
};
use futures::StreamExt as _;
use futures::future::{join, join_all};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::doubles::{always, seconds};
use crate::leases::{
    endpoint, fail, label, lease_any, lease_on, numbered, over, picks_of, succeed,
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// How many endpoints there are beside the one that always stays.
const COMING_AND_GOING: u64 = 12;

const CHANGES: u32 = 10_000;

const CALLERS: u32 = 64;

/// A backend that takes its time; every fourth one refuses each other call.
fn backend(number: u64) -> ScriptedProvider {
    let provider = ScriptedProvider::new(format!("{number}")).recording(0);
    let answer = Answer::text("one two").delay(MILLISECOND * number as u32).pace(MILLISECOND * 3);
    if !number.is_multiple_of(4) {
        return provider.forever(answer);
    }
    let refusal = Answer::rate_limited(MILLISECOND * 60);
    (0..2_000).fold(provider, |provider, _| provider.then(refusal.clone()).then(answer.clone()))
}

/// One change of any kind that is possible.
fn change(balancer: &Balancer, backends: &[ScriptedProvider], rng: &Rng) -> &'static str {
    let number = rng.below(COMING_AND_GOING) as usize;
    let endpoint = Endpoint::new(backends[number].clone()).weight(1 + rng.below(5) as u32);
    let id = endpoint.id().clone();
    let steady = EndpointId::from("steady");
    let (done, name) = match rng.below(6) {
        0 | 1 => (balancer.add(endpoint), "add"),
        2 => (balancer.drain(&id), "drain"),
        3 => (balancer.remove(&id), "remove"),
        4 => (balancer.replace(endpoint), "replace"),
        _ => (balancer.reweight(&steady, 1 + rng.below(3) as u32), "reweight"),
    };
    // Adding what is there and changing what is not is refused, and changes nothing.
    done.map_or("refused", |()| name)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_changes_under_load_lose_no_call_and_leak_no_lease() {
    let backends: Vec<ScriptedProvider> = (0..COMING_AND_GOING).map(backend).collect();
    let steady = always("steady", Answer::text("one two").delay(MILLISECOND * 5)).recording(0);
    let balancer = over([Endpoint::new(steady.clone())]).build().unwrap();
    let client = LlmClient::builder()
        .balancer(balancer.clone())
        .retry(RetryPolicy::new().max_attempts(50).budget(1.0, 1e6))
        .build()
        .unwrap();

    let running = Cell::new(true);
    let caller = async |number: u32| {
        let mut calls = 0;
        while running.get() {
            // The streaming half reads its answer piece by piece.
            let ended = match number % 2 {
                0 => client.complete("q").await,
                _ => match client.stream("q").await {
                    Ok(stream) => stream.into_completion().await,
                    Err(error) => Err(error),
                },
            };
            assert_eq!(ended.unwrap().text(), "one two");
            calls += 1;
        }
        calls
    };
    let changer = async {
        let rng = Rng::from_seed(7);
        let mut kinds = std::collections::BTreeMap::<_, u32>::new();
        let mut made = 0;
        while made < CHANGES {
            let kind = change(&balancer, &backends, &rng);
            *kinds.entry(kind).or_default() += 1;
            if kind != "refused" {
                made += 1;
                time::sleep_until(time::now() + MILLISECOND * rng.below(3) as u32).await;
            }
        }
        running.set(false);
        kinds
    };
    let (kinds, calls) = join(changer, join_all((0..CALLERS).map(caller))).await;

    assert!(kinds.values().all(|&times| times > 500), "{kinds:?}");
    let calls: u32 = calls.into_iter().sum();
    assert!(calls > 10_000, "{calls}");
    assert_eq!(client.running(), 0);
    for status in balancer.status(time::now()) {
        assert_eq!(status.in_flight, 0, "a lease on {} is left", status.id);
    }
    let mut served = 0;
    for backend in backends.iter().chain([&steady]) {
        let counts = backend.counts();
        assert_eq!((counts.open, counts.cancelled, counts.failed), (0, 0, 0), "{backend:?}");
        assert_eq!(counts.started, counts.served + counts.rate_limited);
        assert!(counts.served > 0, "{backend:?} had no part in it");
        served += counts.served;
    }
    assert_eq!(served, u64::from(calls), "each call was answered once");
}

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_ends_its_streams_and_gets_no_more() {
    let leaver = always("leaver", Answer::text("a b c d").pace(seconds(1)));
    let stayer = always("stayer", Answer::text("x"));
    let balancer = over([Endpoint::new(leaver.clone())]).build().unwrap();
    let client = LlmClient::builder().balancer(balancer.clone()).build().unwrap();
    let mut stream = client.stream("q").await.unwrap();
    balancer.add(Endpoint::new(stayer)).unwrap();
    balancer.remove(&"leaver".into()).unwrap();
    for _ in 0..4 {
        assert_eq!(client.complete("q").await.unwrap().text(), "x");
    }
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().as_text().unwrap_or(""));
    }
    assert_eq!(text, "a b c d");
    let counts = leaver.counts();
    assert_eq!((counts.started, counts.served, counts.open), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_draining_endpoint_is_shown_until_it_is_idle_and_gets_no_more() {
    let balancer = numbered(2).build().unwrap();
    let running = lease_on(&balancer, "0", time::now()).unwrap();
    balancer.drain(&"0".into()).unwrap();
    assert_eq!(label(&balancer, "0", time::now()), "draining");
    assert_eq!(picks_of(&balancer, "1", 20, time::now()), 20);
    assert_eq!(balancer.status(time::now())[0].in_flight, 1);
    succeed(running, time::now());
    assert_eq!(balancer.status(time::now())[0].in_flight, 0);
    assert_eq!(label(&balancer, "0", time::now()), "draining", "a success does not undo it");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_ends_a_disabled_state_at_once() {
    let revoked = always("a", Answer::error(ErrorKind::Auth));
    let client = LlmClient::builder().endpoint(Endpoint::new(revoked)).build().unwrap();
    for _ in 0..2 {
        let refused = client.complete("q").await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    }
    let renewed = always("a", Answer::text("hi"));
    client.balancer().replace(Endpoint::new(renewed)).unwrap();
    assert_eq!(client.complete("q").await.unwrap().text(), "hi");
}

#[test]
fn what_an_old_key_did_says_nothing_about_the_new_one() {
    let balancer = numbered(1).build().unwrap();
    let now = time::now();
    let old = lease_any(&balancer, now);
    balancer.replace(endpoint("0")).unwrap();
    fail(old, ErrorKind::Auth, now);
    assert_eq!(label(&balancer, "0", now), "eligible");
    let old = lease_any(&balancer, now);
    balancer.remove(&"0".into()).unwrap();
    balancer.add(endpoint("0")).unwrap();
    fail(old, ErrorKind::Auth, now);
    assert_eq!(label(&balancer, "0", now), "eligible");
}

#[test]
fn an_endpoint_that_is_configured_anew_is_forgiven_also_over_the_same_provider() {
    let endpoint = endpoint("0");
    let balancer = over([endpoint.clone()]).build().unwrap();
    let now = time::now();
    fail(lease_any(&balancer, now), ErrorKind::Auth, now);
    assert_eq!(label(&balancer, "0", now), "disabled");
    balancer.replace(endpoint).unwrap();
    assert_eq!(lease_any(&balancer, now).endpoint(), &"0");
}

#[test]
fn an_endpoint_that_is_configured_anew_over_the_same_provider_keeps_its_running_calls() {
    let provider: std::sync::Arc<dyn evenkeel::Provider> =
        std::sync::Arc::new(ScriptedProvider::new("p"));
    let endpoint = || Endpoint::shared(std::sync::Arc::clone(&provider));
    let balancer = over([endpoint().model("a").model("b")]).build().unwrap();
    let now = time::now();
    let lease = balancer.try_lease(&Demand::new(Some("b")), now).unwrap();
    balancer.replace(endpoint().model("a")).unwrap();
    assert_eq!(balancer.status(now)[0].in_flight, 1);
    // Of a model it no longer has; whatever comes of that, nothing else may break.
    fail(lease, ErrorKind::ModelNotFound, now);
    assert_eq!(balancer.status(now)[0].in_flight, 0);
    assert!(!balancer.serves("b"));
}

#[test]
fn a_change_that_cannot_be_made_names_the_field_and_changes_nothing() {
    let balancer = numbered(2).build().unwrap();
    let before = balancer.status(time::now());
    let nobody = EndpointId::from("nobody");
    for refused in [
        balancer.add(endpoint("0")),
        balancer.add(endpoint("")),
        balancer.replace(endpoint("nobody")),
        balancer.reweight(&nobody, 3),
        balancer.drain(&nobody),
        balancer.remove(&nobody),
    ] {
        assert_eq!(refused.unwrap_err().field(), "endpoint.id");
    }
    let limits = evenkeel::balance::EndpointLimits::new().concurrency(0);
    let refused = balancer.replace(endpoint("0").limits(limits)).unwrap_err();
    assert_eq!(refused.field(), "endpoint.limits.concurrency");
    assert_eq!(balancer.status(time::now()), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn however_often_weights_change_shares_follow_them(
        weights in prop::collection::vec(1u32..8, 2..5),
        every in 1usize..8,
    ) {
        let endpoints = (0..).zip(&weights);
        let balancer = over(endpoints.map(|(id, &weight): (usize, _)| endpoint(id).weight(weight)));
        let balancer = balancer.build().unwrap();
        let total = weights.iter().sum::<u32>() as usize;
        let mut served = vec![0.0; weights.len()];
        let picks = 100 * total;
        for pick in 0..picks {
            // Changes nothing but the snapshot.
            if pick % every == 0 {
                let id = (pick / every) % weights.len();
                balancer.reweight(&id.to_string().as_str().into(), weights[id]).unwrap();
            }
            let lease = lease_any(&balancer, time::now());
            served[lease.endpoint().as_str().parse::<usize>().unwrap()] += 1.0;
        }
        for (served, &weight) in served.into_iter().zip(&weights) {
            let due = (picks * weight as usize / total) as f64;
            prop_assert!((served - due).abs() <= 2.0, "{served} instead of {due}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_to_try_again_finds_the_endpoint_that_came_meanwhile() {
    let down = always("down", Answer::error(ErrorKind::Server));
    let policy = RetryPolicy::new().delays(seconds(8), seconds(8)).budget(1.0, 10.0);
    let client = LlmClient::builder().endpoint(Endpoint::new(down)).retry(policy).seed(1);
    let client = client.build().unwrap();
    let repair = async {
        time::sleep_until(time::now() + MILLISECOND).await;
        client.balancer().add(Endpoint::new(always("new", Answer::text("hi")))).unwrap();
    };
    let (done, ()) = join(client.complete(Call::from("q").max_attempts(2)), repair).await;
    assert_eq!(done.unwrap().text(), "hi");
}

#[tokio::test(start_paused = true)]
async fn without_any_endpoint_a_call_is_refused_for_now_and_not_for_ever() {
    let client = LlmClient::builder().endpoint(endpoint("0")).build().unwrap();
    client.balancer().remove(&"0".into()).unwrap();
    let refused = client.complete("q").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_eq!(refused.provider_error().map(ProviderError::kind), None);
    client.balancer().add(Endpoint::new(always("0", Answer::text("hi")))).unwrap();
    assert_eq!(client.complete("q").await.unwrap().text(), "hi");
}

/// What an observer is told of the states of endpoints, in short.
#[derive(Clone, Default)]
struct States(Arc<Mutex<Vec<String>>>);

impl States {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Observer for States {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::EndpointState { endpoint, state, why, lasts, .. } = event {
            let lasts = if lasts.is_some() { "for a time" } else { "for good" };
            self.0.lock().push(format!("{endpoint} {state} {why} {lasts}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_of_a_state_is_reported_once_with_what_led_to_it() {
    let states = States::default();
    let endpoints = [endpoint("a").model("m").model("n"), endpoint("b")];
    let balancer = over(endpoints)
        .health(HealthPolicy::any_recent_error())
        .observer(states.clone())
        .build()
        .unwrap();
    let now = time::now;
    assert!(states.told().is_empty(), "what it starts as has not happened");

    fail(lease_on(&balancer, "a", now()).unwrap(), ErrorKind::Server, now());
    assert_eq!(states.told(), ["a unhealthy server for a time"]);
    tokio::time::advance(seconds(29)).await;
    drop(lease_any(&balancer, now()));
    assert!(states.told().is_empty());
    tokio::time::advance(seconds(1)).await;
    drop(lease_any(&balancer, now()));
    drop(lease_any(&balancer, now()));
    assert_eq!(states.told(), ["a eligible expired for good"]);

    balancer.reweight(&"b".into(), 3).unwrap();
    assert!(states.told().is_empty());
    balancer.drain(&"b".into()).unwrap();
    assert_eq!(states.told(), ["b draining configuration for good"]);
    balancer.replace(endpoint("b")).unwrap();
    assert_eq!(states.told(), ["b eligible configuration for good"]);
    balancer.add(endpoint("c")).unwrap();
    assert_eq!(states.told(), ["c eligible configuration for good"]);
    balancer.remove(&"c".into()).unwrap();
    assert_eq!(states.told(), ["c removed configuration for good"]);
}

#[test]
fn a_late_refusal_rests_the_model_it_was_about_whatever_its_place_is_by_then() {
    let provider: Arc<dyn evenkeel::Provider> = Arc::new(ScriptedProvider::new("p"));
    let serving = |models: [&str; 2]| {
        models.into_iter().fold(Endpoint::shared(Arc::clone(&provider)), Endpoint::model)
    };
    let balancer = over([serving(["a", "b"])]).build().unwrap();
    let now = time::now();
    let late = balancer.try_lease(&Demand::new(Some("b")), now).unwrap();
    balancer.replace(serving(["b", "c"])).unwrap();
    fail(late, ErrorKind::RateLimited, now);
    let models = &balancer.status(now)[0].models;
    let labels = models.iter().map(|(model, condition)| (model.as_str(), condition.label()));
    assert_eq!(labels.collect::<Vec<_>>(), [("b", "cooling"), ("c", "eligible")]);
}
