//! What fair order is worth when one tenant of ten floods: simulated traffic on a paused clock.
//!
//! First come first served, tenants in turn, and the queue meet the same arrivals at the same forty
//! places. The goals are ratios between figures of one run, so they hold on any machine:
//!
//! ```sh
//! cargo test --features test-util --test sim_fairness -- --nocapture
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod load;
mod plain;
mod queued;
mod tally;

use load::{Call, TENANTS};
use plain::Order;
use tally::Tally;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// What each order made of the same flood.
async fn flooded(seed: u64) -> [Tally; 3] {
    let calls = load::flood(seed);
    let fifo = plain::play(Order::Arrival, &calls);
    let turns = plain::play(Order::Turns, &calls);
    [fifo, turns, queued::play(&calls, &[]).await]
}

#[tokio::test(start_paused = true)]
async fn polite_tenants_wait_a_fraction_beside_one_that_floods() {
    println!("ten tenants, 40 places; one sends 10 times the calls, each 4 times the size");
    let mut all = [Tally::default(), Tally::default(), Tally::default()];
    for seed in SEEDS {
        let tallies = flooded(seed).await;
        report(&seed.to_string(), &tallies);
        all.iter_mut().zip(tallies).for_each(|(all, tally)| all.extend(tally));
    }
    report("all", &all);
    let [fifo, turns, ours] = all.map(|tally| tally.polite_wait(0.99));
    println!(
        "p99 over that of round robin: {:.3}, over that of fifo: {:.3}",
        ours / turns,
        ours / fifo
    );
    assert!(ours <= 0.2 * turns);
    assert!(ours <= 0.04 * fifo);
}

fn report(seed: &str, tallies: &[Tally; 3]) {
    for (name, tally) in ["fifo", "round robin", "queue"].into_iter().zip(tallies) {
        let (p50, p99) = (tally.polite_wait(0.5), tally.polite_wait(0.99));
        let flooder = 100.0 * tally.share(0);
        println!(
            "seed={seed:<3} {name:<12} p50={p50:>6.1}s p99={p99:>6.1}s flooder={flooder:>5.1}%"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn equal_tenants_that_all_have_calls_waiting_get_equal_tokens() {
    for seed in SEEDS {
        let tally = queued::play(&load::backlog(seed, &[1; TENANTS]), &[]).await;
        println!("seed={seed} jain={:.5}", tally.jain(TENANTS));
        assert!(tally.jain(TENANTS) >= 0.99);
    }
}

#[tokio::test(start_paused = true)]
async fn weights_are_met_within_two_percent() {
    for seed in SEEDS {
        let weights = [1, 2, 4];
        let tally = queued::play(&load::backlog(seed, &weights), &weights).await;
        let shares = [0, 1, 2].map(|tenant| tally.share(tenant));
        println!("seed={seed} shares={shares:.4?}");
        for (share, weight) in shares.into_iter().zip(weights) {
            let due = f64::from(weight) / 7.0;
            assert!((share / due - 1.0).abs() <= 0.02, "seed {seed}: {share} instead of {due}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_results() {
    let mut calls: Vec<Call> = load::flood(SEEDS[0]);
    calls.truncate(1_000);
    assert_eq!(queued::play(&calls, &[]).await, queued::play(&calls, &[]).await);
}
