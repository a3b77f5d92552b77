//! Traffic follows the weights.

use std::collections::BTreeMap;

use evenkeel::balance::{Balancer, BalancerBuilder, Condition, Demand, NoLease};
use evenkeel::error::NoEndpoint;
use evenkeel::outcome::{End, Outcome};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Capabilities, ChatRequest, Endpoint, ErrorKind, LlmClient, Tool, time};
use proptest::prelude::*;

use crate::doubles::{always, client_over, seconds};
use crate::leases::{fail, lease_on, numbered};

fn endpoint(id: usize, weight: u32) -> Endpoint {
    Endpoint::new(ScriptedProvider::new(id.to_string())).weight(weight)
}

/// Who gets each of the next `picks` leases, every attempt a success.
fn picks(balancer: &Balancer, picks: u32) -> BTreeMap<String, u32> {
    let mut served = BTreeMap::new();
    for _ in 0..picks {
        let lease = balancer.try_lease(&Demand::new(None), time::now()).unwrap();
        *served.entry(lease.endpoint().to_string()).or_default() += 1;
        lease.settle(&Outcome::new(End::Success), time::now());
    }
    served
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_weights_are_exact_over_every_cycle(weights in prop::collection::vec(0u32..50, 1..8), scale in 1u32..1000) {
        let sum: u32 = weights.iter().sum();
        prop_assume!(sum > 0);
        let endpoints = weights.iter().enumerate();
        let balancer = endpoints
            .fold(Balancer::builder(), |b, (id, weight)| b.endpoint(endpoint(id, weight * scale)))
            .build()
            .unwrap();
        picks(&balancer, 7);
        let served = picks(&balancer, sum);
        for (id, &weight) in weights.iter().enumerate() {
            prop_assert_eq!(served.get(&id.to_string()).copied().unwrap_or(0), weight);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_tier_is_used_only_while_the_higher_one_is_out() {
    let main = ScriptedProvider::new("main")
        .then(Answer::rate_limited(seconds(5)))
        .forever(Answer::text("main"));
    let spare = always("spare", Answer::text("spare"));
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(main))
        .endpoint(Endpoint::new(spare).tier(1).weight(100))
        .build()
        .unwrap();

    assert_eq!(client.complete("q").await.unwrap().text(), "spare");
    assert_eq!(client.complete("q").await.unwrap().text(), "spare");
    tokio::time::advance(seconds(7)).await;
    for _ in 0..10 {
        assert_eq!(client.complete("q").await.unwrap().text(), "main");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_reaches_only_endpoints_that_serve_it_under_their_own_names() {
    let both = always("both", Answer::text("hi"));
    let one = always("one", Answer::text("hi"));
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(both.clone()).map_model("smart", "both-smart-2").model("cheap"))
        .endpoint(Endpoint::new(one.clone()).map_model("cheap", "one-cheap-7"))
        .build()
        .unwrap();

    for _ in 0..4 {
        client.complete(ChatRequest::new("smart").user("q")).await.unwrap();
    }
    assert_eq!((both.counts().started, one.counts().started), (4, 0));
    assert_eq!(both.recorded()[0].context.model.as_deref(), Some("both-smart-2"));

    for _ in 0..4 {
        client.complete(ChatRequest::new("cheap").user("q")).await.unwrap();
    }
    assert_eq!((both.counts().started, one.counts().started), (6, 2));
    assert_eq!(one.recorded()[0].context.model.as_deref(), Some("one-cheap-7"));

    let unknown = client.complete(ChatRequest::new("nobody's").user("q")).await.unwrap_err();
    assert!(unknown.to_string().contains("nobody's"), "{unknown}");
    assert_eq!(unknown.retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_model_uses_each_endpoints_default() {
    let mapped = always("mapped", Answer::text("hi"));
    let plain = always("plain", Answer::text("hi"));
    let client = LlmClient::builder()
        .endpoint(
            Endpoint::new(mapped.clone())
                .map_model("a", "up-a")
                .map_model("b", "up-b")
                .default_model("b"),
        )
        .endpoint(Endpoint::new(plain.clone()).default_model("house"))
        .build()
        .unwrap();
    client.complete("q").await.unwrap();
    client.complete("q").await.unwrap();
    assert_eq!(mapped.recorded()[0].context.model.as_deref(), Some("up-b"));
    assert_eq!(plain.recorded()[0].context.model.as_deref(), Some("house"));
}

#[tokio::test(start_paused = true)]
async fn a_request_never_reaches_an_endpoint_that_lacks_what_it_needs() {
    let plain = always("plain", Answer::text("hi")).with_capabilities(Capabilities::text_only());
    let able = always("able", Answer::text("hi"));
    let with_tools =
        || ChatRequest::default().user("q").tool(Tool::new("t", serde_json::json!({})));

    let client = client_over([&plain, &able]);
    for _ in 0..6 {
        client.complete(with_tools()).await.unwrap();
    }
    assert_eq!((plain.counts().started, able.counts().started), (0, 6));

    let refused = client_over([&plain]).complete(with_tools()).await.unwrap_err();
    assert!(refused.to_string().contains("tools"), "{refused}");
}

#[test]
fn a_lease_that_is_dropped_is_given_back() {
    let balancer = Balancer::builder().endpoint(endpoint(0, 1)).build().unwrap();
    let lease = balancer.try_lease(&Demand::new(None), time::now()).unwrap();
    assert_eq!(balancer.status(time::now())[0].in_flight, 1);
    drop(lease);
    assert_eq!(balancer.status(time::now())[0].in_flight, 0);
}

#[test]
fn exclusions_alone_are_not_yet_and_not_never() {
    let balancer = Balancer::builder().endpoint(endpoint(0, 1)).build().unwrap();
    let lease = balancer.try_lease(&Demand::new(None), time::now()).unwrap();
    let tried = [lease.key()];
    let refusal = balancer.try_lease(&Demand::new(None).excluding(&tried), time::now());
    assert!(matches!(refusal, Err(NoLease::NotBefore(None))), "{refusal:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_model_has_a_rest_of_its_own_where_no_model_is_the_default() {
    let several = endpoint(0, 1).model("a").model("b");
    let balancer = Balancer::builder().endpoint(several).build().unwrap();
    let (now, lease) = (time::now(), |model| balancer.try_lease(&Demand::new(model), time::now()));
    let limited = Outcome::new(End::Failed(ErrorKind::RateLimited));
    lease(None).unwrap().settle(&limited, now);
    assert!(lease(None).is_err());
    assert!(lease(Some("a")).is_ok() && lease(Some("b")).is_ok());
    lease(Some("a")).unwrap().settle(&limited, now);
    let status = &balancer.status(now)[0];
    assert_eq!(status.models[1], ("b".to_owned(), Condition::Eligible));
    assert!(matches!(status.condition, Condition::Cooling { .. }));
}

#[test]
fn an_endpoint_without_weight_gets_nothing_until_it_is_given_some() {
    let drained = endpoint(1, 0).model("m");
    let balancer = Balancer::builder().endpoint(endpoint(0, 1)).endpoint(drained).build().unwrap();
    let lease = || balancer.try_lease(&Demand::new(Some("m")), time::now()).unwrap();
    for _ in 0..20 {
        assert_eq!(lease().endpoint(), "0");
    }
    balancer.reweight(&"1".into(), 1).unwrap();
    assert!((0..2).any(|_| lease().endpoint() == "1"));
    balancer.reweight(&"0".into(), 0).unwrap();
    balancer.reweight(&"1".into(), 0).unwrap();
    let refusal = balancer.try_lease(&Demand::new(Some("m")), time::now()).unwrap_err();
    assert_eq!(refusal, NoLease::NotBefore(None), "weight may return");
}

#[test]
fn what_has_no_weight_is_not_waited_for() {
    let balancer = numbered(2).build().unwrap();
    let now = time::now();
    fail(lease_on(&balancer, "1", now).unwrap(), ErrorKind::RateLimited, now);
    balancer.reweight(&"1".into(), 0).unwrap();
    balancer.reweight(&"0".into(), 0).unwrap();
    let refusal = balancer.try_lease(&Demand::new(None), now).unwrap_err();
    assert_eq!(refusal, NoLease::NotBefore(None));
}

#[test]
fn a_model_whose_endpoints_have_no_weight_is_refused_by_its_name() {
    let build = |endpoints: [Endpoint; 3]| {
        endpoints.into_iter().fold(Balancer::builder(), BalancerBuilder::endpoint).build()
    };
    let served = || endpoint(0, 1).model("served");
    let error = build([served(), endpoint(1, 0).model("idle"), endpoint(2, 0).model("idle")]);
    let error = error.unwrap_err();
    assert_eq!(error.field(), "endpoints.weight");
    assert!(error.reason().contains("\"idle\""), "{error}");
    assert!(build([served(), endpoint(1, 0).model("served"), endpoint(2, 1)]).is_ok());
    assert!(build([served(), endpoint(1, 0).model("idle"), endpoint(2, 1)]).is_ok(), "2 has any");
}

#[test]
fn a_model_nobody_serves_is_never_and_the_largest_weights_are_exact() {
    let endpoint = |id| endpoint(id, u32::MAX - id as u32).model("m");
    let balancer = Balancer::builder().endpoint(endpoint(0)).endpoint(endpoint(1)).build().unwrap();
    let refusal = balancer.try_lease(&Demand::new(Some("n")), time::now()).unwrap_err();
    assert_eq!(refusal, NoLease::Never(NoEndpoint::UnknownModel { model: "n".into() }));
    let lease = || balancer.try_lease(&Demand::new(Some("m")), time::now()).unwrap();
    let first = (0..1_000).filter(|_| lease().endpoint() == "0").count();
    assert!(first.abs_diff(500) <= 7, "{first}");
}

#[test]
fn what_is_printed_of_a_balancer_does_not_grow_with_its_schedule() {
    let balancer = |weight| {
        let endpoints = [endpoint(0, 1), endpoint(1, weight)].map(|endpoint| endpoint.model("m"));
        endpoints.into_iter().fold(Balancer::builder(), BalancerBuilder::endpoint).build().unwrap()
    };
    let [small, large] = [1, 4_000].map(|weight| format!("{:?}", balancer(weight)));
    assert_eq!(small, large);
    assert!(small.len() < 300, "{small}");
}

#[test]
fn a_bad_configuration_is_refused_with_the_name_of_the_field() {
    let fails = |builder: evenkeel::client::LlmClientBuilder| {
        builder.build().unwrap_err().field().to_owned()
    };
    let builder = LlmClient::builder;
    let named = |id: &str| Endpoint::new(ScriptedProvider::new(id));
    let balancer = || Balancer::builder().endpoint(endpoint(0, 1)).build().unwrap();

    assert_eq!(fails(builder()), "endpoints");
    assert_eq!(fails(builder().endpoint(endpoint(0, 0))), "endpoints.weight");
    assert_eq!(
        fails(builder().endpoint(named("a")).endpoint(named("b").tier(1).weight(0))),
        "endpoints.weight"
    );
    assert_eq!(fails(builder().endpoint(named("a")).endpoint(named("a"))), "endpoints[1].id");
    assert_eq!(fails(builder().endpoint(named(""))), "endpoints[0].id");
    assert_eq!(
        fails(builder().endpoint(named("a").model("x").default_model("y"))),
        "endpoints[0].default_model"
    );
    assert_eq!(fails(builder().endpoint(named("a")).balancer(balancer())), "balancer");
    let no_time = evenkeel::Timeouts::new().idle(seconds(0));
    assert_eq!(fails(builder().endpoint(named("a")).timeouts(no_time)), "timeouts.idle");
    let no_attempts = evenkeel::client::RetryPolicy::new().max_attempts(0);
    assert_eq!(fails(builder().endpoint(named("a")).retry(no_attempts)), "retry.max_attempts");
    let nan = evenkeel::client::RetryPolicy::new().budget(f64::NAN, 1.0);
    assert_eq!(fails(builder().endpoint(named("a")).retry(nan)), "retry.budget_ratio");
}
