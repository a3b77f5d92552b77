//! What a strategy is worth when one endpoint of six is sick: simulated traffic on a paused clock.
//!
//! Strategies, through the whole client, and two plain routers meet the same servers and the same
//! arrivals. The goals are ratios between figures of one run, so they hold on any machine. The seeds
//! are fixed, and `SIM_SEEDS=100-119` takes others:
//!
//! ```sh
//! cargo test --features test-util --test sim_balance -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod plain;
mod scenario;
mod setup;
mod tally;
mod traffic;

use std::collections::BTreeMap;

use scenario::Scenario;
use setup::Router;
use tally::Tally;

/// What each router made of a scenario, by its name.
type Results = BTreeMap<&'static str, Tally>;

/// Plays `scenario` with every router and prints a line for each.
async fn results(scenario: Scenario) -> Results {
    println!("{}", setup::described(scenario));
    let seeds = setup::seeds();
    let mut results = Results::new();
    for router in Router::ALL {
        let mut tally = Tally::default();
        for seed in seeds.clone() {
            tally.extend(traffic::play(scenario, router, seed).await);
        }
        let (scenario, strategy, seeds) = (scenario.name(), router.name(), setup::named(&seeds));
        println!("sim scenario={scenario} strategy={strategy} {tally} seeds={seeds}");
        results.insert(strategy, tally);
    }
    results
}

#[tokio::test(start_paused = true)]
async fn adaptive_keeps_calls_off_an_endpoint_that_is_slow() {
    let results = results(Scenario::Slow).await;
    let (adaptive, round_robin) = (&results["adaptive"], &results["round_robin"]);
    assert!(adaptive.p99() <= 0.3 * round_robin.p99());
    assert!(adaptive.missed_pct() <= 0.2 * round_robin.missed_pct());
}

#[tokio::test(start_paused = true)]
async fn adaptive_notices_an_endpoint_that_hangs_before_its_calls_time_out() {
    let results = results(Scenario::Hang).await;
    let (adaptive, round_robin) = (&results["adaptive"], &results["round_robin"]);
    assert!(adaptive.p99() <= 0.4 * round_robin.p99());
    assert!(adaptive.missed_pct() <= 0.2 * round_robin.missed_pct());
}

#[tokio::test(start_paused = true)]
async fn with_one_retry_an_endpoint_that_fails_fast_fails_no_calls() {
    let results = results(Scenario::Fail).await;
    assert!(results["adaptive"].failed_pct() <= 0.1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_fast_does_not_draw_traffic() {
    let results = results(Scenario::FailOnce).await;
    let (adaptive, round_robin) = (&results["adaptive"], &results["round_robin"]);
    assert!(adaptive.failed_pct() <= 0.5 * round_robin.failed_pct());
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_adaptive_is_no_worse_than_counting_calls() {
    let results = results(Scenario::Tight).await;
    let (adaptive, least) = (&results["adaptive"], &results["least_in_flight"]);
    assert!(adaptive.good_pct() >= 98.0);
    assert!(adaptive.good_pct() >= least.good_pct() - 0.5);
}

#[tokio::test(start_paused = true)]
async fn adaptive_gives_an_endpoint_that_has_recovered_its_share_back() {
    let fair = 1.0 / scenario::ENDPOINTS as f64;
    for scenario in [Scenario::Slow, Scenario::Hang, Scenario::Fail] {
        for rate in [traffic::BUSY, traffic::QUIET] {
            let mut shares = Vec::new();
            for seed in setup::seeds() {
                shares.push(traffic::share_after_recovery(scenario, rate, seed).await);
            }
            let mean = shares.iter().sum::<f64>() / shares.len() as f64 / fair;
            println!("sim recovered_from={} rate={rate} share={mean:.2}", scenario.name());
            assert!(mean >= 0.75);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_results() {
    for router in [Router::Adaptive, Router::LeastInFlight] {
        let first = traffic::play(Scenario::Hang, router, 1).await;
        assert_eq!(first, traffic::play(Scenario::Hang, router, 1).await, "{}", router.name());
    }
}
