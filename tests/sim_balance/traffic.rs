//! Calls that arrive whether or not the ones before were answered.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::StrategyKind;
use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{ChatRequest, LlmClient};
use futures::future::join_all;

use crate::plain::{PlainRouter, Rule};
use crate::scenario::Scenario;
use crate::setup::{self, Router};
use crate::tally::Ended;

/// Calls a second: three to four are running on every endpoint at a time.
pub(crate) const BUSY: f64 = 6.0;

/// Calls a second: now and then one is running somewhere.
pub(crate) const QUIET: f64 = 0.5;

/// How long calls arrive. All of them are waited for.
pub(crate) const LENGTH: Duration = Duration::from_secs(240);

/// How the calls of one run ended, in the order of their arrival. The sick endpoint never recovers.
pub(crate) async fn play(scenario: Scenario, router: Router, seed: u64) -> Vec<Ended> {
    let servers = scenario.servers(seed, Duration::MAX);
    let plain = |rule| PlainRouter::new(rule, scenario, &servers, seed);
    let client = |strategy| setup::client(strategy, scenario, &servers, seed);
    let arrivals = arrivals(seed, BUSY, LENGTH);
    match router {
        Router::RoundRobin => arrive_at(&plain(Rule::RoundRobin), arrivals).await,
        Router::LeastInFlight => arrive_at(&plain(Rule::LeastInFlight), arrivals).await,
        Router::Weighted => arrive_at(&client(StrategyKind::Weighted), arrivals).await,
        Router::LeastBusy => arrive_at(&client(StrategyKind::LeastBusy), arrivals).await,
        Router::Adaptive => arrive_at(&client(StrategyKind::Adaptive), arrivals).await,
    }
}

/// The share of the attempts that the first endpoint gets in the third [`LENGTH`], when it was sick
/// for the first half of the first.
pub(crate) async fn share_after_recovery(scenario: Scenario, rate: f64, seed: u64) -> f64 {
    let servers = scenario.servers(seed, LENGTH / 2);
    let client = setup::client(StrategyKind::Adaptive, scenario, &servers, seed);
    let attempts = || servers.iter().map(|server| server.stats().calls.started);
    let later = after(now(), LENGTH * 2);
    let observe = async {
        sleep_until(later).await;
        attempts().collect::<Vec<_>>()
    };
    let calls = arrive_at(&client, arrivals(seed, rate, LENGTH * 3));
    let (_, before) = futures::future::join(calls, observe).await;
    let late: Vec<_> = attempts().zip(before).map(|(all, before)| all - before).collect();
    late[0] as f64 / late.iter().sum::<u64>() as f64
}

/// Whatever answers calls.
pub(crate) trait Answers {
    /// Whether there was an answer.
    async fn answers(&self, request: &Arc<ChatRequest>) -> bool;
}

impl Answers for LlmClient {
    async fn answers(&self, request: &Arc<ChatRequest>) -> bool {
        self.complete(Arc::clone(request)).await.is_ok()
    }
}

async fn arrive_at(router: &impl Answers, arrivals: impl Iterator<Item = Duration>) -> Vec<Ended> {
    let start = now();
    let request = Arc::new(ChatRequest::from("q"));
    let call = async |offset: Duration| {
        let arrival = after(start, offset);
        sleep_until(arrival).await;
        let answered = router.answers(&request).await;
        Ended { answered, took: now() - arrival }
    };
    join_all(arrivals.map(call)).await
}

/// A Poisson process: what came before says nothing about when the next call comes.
fn arrivals(seed: u64, rate: f64, length: Duration) -> impl Iterator<Item = Duration> {
    let rng = Rng::from_seed(seed);
    let gaps = std::iter::repeat_with(move || -(1.0 - rng.unit()).ln() / rate);
    let offsets = gaps.scan(0.0, |at, gap| {
        *at += gap;
        Some(Duration::from_secs_f64(*at))
    });
    offsets.take_while(move |offset| *offset < length)
}
