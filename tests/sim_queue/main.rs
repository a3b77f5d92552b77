//! What waiting in a queue is worth when a key's limits are met: simulated traffic on a paused clock.
//!
//! The whole client with a queue and plain clients that retry meet the same server and the same
//! arrivals. The goals are ratios between figures of one run, so they hold on any machine. The seeds
//! are fixed, and `SIM_SEEDS=100-119` takes others:
//!
//! ```sh
//! cargo test --features test-util --test sim_queue -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod plain;
mod scenario;
mod setup;
mod tally;
mod traffic;

use std::collections::BTreeMap;

use scenario::{DEADLINE, Scenario};
use setup::Policy;
use tally::Tally;

/// What each policy made of a scenario, by its name.
type Results = BTreeMap<&'static str, Tally>;

/// Plays `scenario` with its policies and prints a line for each.
async fn results(scenario: Scenario) -> Results {
    println!("{}", setup::described(scenario));
    let seeds = setup::seeds();
    let mut results = Results::new();
    for policy in Policy::of(scenario) {
        let mut tally = Tally::default();
        for seed in seeds.clone() {
            tally.add(traffic::play(scenario, policy, seed).await);
        }
        let (scenario, policy, seeds) = (scenario.name(), policy.name(), setup::named(&seeds));
        println!("sim scenario={scenario} policy={policy} {tally} seeds={seeds}");
        results.insert(policy, tally);
    }
    results
}

/// What a queue is to be worth beside six retries, whose p99 wait it may have `part` of.
fn assert_worth_it(results: &Results, part: f64) {
    let (client, six) = (&results["client"], &results["six_retries"]);
    assert!(client.refusals() <= 0.02);
    assert!(client.success_pct() >= six.success_pct());
    assert!(client.p99() <= part * six.p99());
    assert!(client.attempts() <= 1.02);
}

#[tokio::test(start_paused = true)]
async fn a_queue_meets_no_refusals_and_halves_the_longest_waits() {
    assert_worth_it(&results(Scenario::Bursty).await, 0.5);
}

#[tokio::test(start_paused = true)]
async fn a_queue_makes_room_for_traffic_it_does_not_see() {
    assert_worth_it(&results(Scenario::Unseen).await, 0.6);
}

#[tokio::test(start_paused = true)]
async fn refusing_early_spares_the_others_the_wait_and_costs_no_answers() {
    let results = results(Scenario::Overload).await;
    let (client, patient) = (&results["client"], &results["patient"]);
    assert!(client.p50() <= 0.5 * DEADLINE.as_secs_f64());
    assert!(client.goodput() >= 0.99 * patient.goodput());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_results() {
    for policy in [setup::CLIENT, setup::SIX_RETRIES] {
        let first = traffic::play(Scenario::Unseen, policy, 1).await;
        assert_eq!(first, traffic::play(Scenario::Unseen, policy, 1).await, "{}", policy.name());
    }
}
