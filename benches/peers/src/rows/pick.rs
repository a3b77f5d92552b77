//! Choosing an endpoint, against the weighted round robin that scans every provider, and against
//! tower's balancer.
//!
//! A *pick* is the snapshot, the model look-up and the turn, with `now` passed in; a *lease* is the
//! whole cycle of an attempt, from the choice to what its end teaches. Our clock is read at both ends,
//! which is more than a third of the cycle; tower reads it four times. Where a row's name ends in
//! `_now`, our side is told the time, as by a caller that knows it already: a call through the client
//! reads the clock for its deadline and its report anyway. Tower cannot be told, so it reads its clock
//! there too.
//!
//! The round robin of `pingora-load-balancing` is left out: its tree of 136 crates compiles zlib-ng
//! from C sources, which takes minutes and needs CMake on the machine.

use std::hint::black_box;
use std::time::Duration;

use evenkeel::balance::{Demand, StrategyKind};
use evenkeel::error::{ErrorKind, ProviderError};
use evenkeel::outcome::{End, Outcome};
use evenkeel::time::{Instant, now};
use evenkeel::{Balancer, ChatResponse, Endpoint, provider_fn};

use super::{Goal, Row};
use crate::alloc::allocations_of;
use crate::measure::{self, Effort};
use crate::seed_select::{LoadBalancer, ProviderState};
use crate::tower_balance;

pub(crate) const ROWS: &[Row] = &[
    Row { name: "pick_3", goal: Goal::AtLeast(1.5), run: |effort| against_seed(3, effort) },
    Row { name: "pick_10", goal: Goal::AtLeast(5.0), run: |effort| against_seed(10, effort) },
    Row { name: "pick_100", goal: Goal::AtLeast(20.0), run: |effort| against_seed(100, effort) },
    Row {
        name: "pick_1000",
        goal: Goal::AtLeast(150.0),
        run: |effort| against_seed(1_000, effort),
    },
    Row { name: "pick_flat", goal: Goal::AtMost(1.3), run: many_over_few },
    Row { name: "pick_half_cooling", goal: Goal::AtMost(1.5), run: cooling_over_healthy },
    Row { name: "pick_allocs", goal: Goal::AtMost(0.0), run: |_| allocations() as f64 },
    Row { name: "pick_tower", goal: Goal::AtLeast(6.0), run: pick_tower },
    Row { name: "lease_tower", goal: Goal::AtLeast(5.0), run: lease_tower },
    Row { name: "lease_tower_now", goal: Goal::AtLeast(5.0), run: lease_tower_now },
];

/// Endpoints where the number is not the point.
const SOME: usize = 10;

const MODEL: &str = "model";

/// How many times as long the scan takes, over `endpoints` healthy endpoints.
fn against_seed(endpoints: usize, effort: Effort) -> f64 {
    measure::ratio(effort, seed_pick(endpoints), pick(weighted(endpoints)))
}

/// The scan against itself: how far from 1 a value can be by chance.
pub(crate) fn noise(effort: Effort) -> f64 {
    measure::ratio(effort, seed_pick(SOME), seed_pick(SOME))
}

/// How many times as long a pick among a thousand takes as one among three.
fn many_over_few(effort: Effort) -> f64 {
    measure::ratio(effort, pick(weighted(1_000)), pick(weighted(3)))
}

/// How many times as long a pick among a thousand takes when every second one is cooling.
fn cooling_over_healthy(effort: Effort) -> f64 {
    let cooling = weighted(1_000);
    cool(&cooling, 500);
    measure::ratio(effort, pick(cooling), pick(weighted(1_000)))
}

/// Those of ten thousand picks and of ten thousand leases together.
fn allocations() -> u64 {
    let runs = |mut work: Box<dyn FnMut()>| {
        work();
        allocations_of(|| (0..10_000).for_each(|_| work()))
    };
    let leases = [StrategyKind::Weighted, StrategyKind::Adaptive, StrategyKind::LeastBusy];
    let leases = leases.map(|strategy| runs(Box::new(lease(balancer(SOME, strategy), now))));
    runs(Box::new(pick(weighted(SOME)))) + leases.into_iter().sum::<u64>()
}

fn pick_tower(effort: Effort) -> f64 {
    measure::ratio(effort, tower_balance::pick(SOME), pick(weighted(SOME)))
}

/// Among twenty, where both compare two: below seventeen, ours compares them all.
fn lease_tower(effort: Effort) -> f64 {
    let ours = lease(balancer(20, StrategyKind::Adaptive), now);
    measure::ratio(effort, tower_balance::lease(20), ours)
}

/// The same without our two clock reads, but with tower's four.
fn lease_tower_now(effort: Effort) -> f64 {
    let ours = lease(balancer(20, StrategyKind::Adaptive), passing());
    measure::ratio(effort, tower_balance::lease(20), ours)
}

/// A clock that costs nothing to read and is about as fast as the real one at two reads a cycle.
fn passing() -> impl FnMut() -> Instant {
    let mut time = now();
    move || {
        time += Duration::from_nanos(50);
        time
    }
}

fn seed_pick(endpoints: usize) -> impl FnMut() {
    let states = weights(endpoints).enumerate();
    let states = states.map(|(i, weight)| ProviderState::new(&format!("endpoint-{i}"), weight));
    let balancer = LoadBalancer::new(states.collect());
    move || {
        black_box(black_box(&balancer).select());
    }
}

fn pick(balancer: Balancer) -> impl FnMut() {
    let now = now();
    move || {
        black_box(&balancer).turn(Some(MODEL), now, |id| {
            black_box(id);
        });
    }
}

/// An attempt that succeeds, its first content after about a millisecond: never the same time
/// twice in a row, for an average may find it easy to learn nothing new.
fn lease(balancer: Balancer, mut clock: impl FnMut() -> Instant) -> impl FnMut() {
    let success = |turn: u64| {
        let ttft = Duration::from_micros(1_000 + 37 * (turn * 5 % 8));
        Outcome::new(End::Success).with_ttft(Some(ttft))
    };
    let successes = [0, 1, 2, 3, 4, 5, 6, 7].map(success);
    let mut turn = 0;
    move || {
        turn = (turn + 1) % successes.len();
        let lease = black_box(&balancer).try_lease(&Demand::new(Some(MODEL)), clock());
        lease.expect("all endpoints are healthy").settle(black_box(&successes[turn]), clock());
    }
}

fn weighted(endpoints: usize) -> Balancer {
    balancer(endpoints, StrategyKind::Weighted)
}

fn balancer(endpoints: usize, strategy: StrategyKind) -> Balancer {
    let endpoint = |(i, weight)| {
        let id = format!("endpoint-{i}");
        let provider = provider_fn(id, |_, _| async { Ok(ChatResponse::text_only("hi")) });
        Endpoint::new(provider).weight(weight).model(MODEL)
    };
    let endpoints = weights(endpoints).enumerate().map(endpoint);
    let builder = Balancer::builder().strategy(strategy).seed(1);
    endpoints.fold(builder, |builder, endpoint| builder.endpoint(endpoint)).build().expect("valid")
}

/// Has `count` endpoints refuse calls for the next ten minutes.
fn cool(balancer: &Balancer, count: usize) {
    let start = now();
    let error = ProviderError::new(ErrorKind::RateLimited, "slow down");
    let refusal = Outcome::failed(&error.with_retry_after(Duration::from_secs(600)), false);
    for _ in 0..count {
        let lease = balancer.try_lease(&Demand::new(Some(MODEL)), start);
        lease.expect("half of the endpoints are left").settle(&refusal, start);
    }
}

/// 3, 1, 1, 3, 1, 1, ...: one provider carries most of the traffic and two stand beside it.
fn weights(endpoints: usize) -> impl Iterator<Item = u32> {
    [3, 1, 1].into_iter().cycle().take(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_allocates_and_a_pick_does_not() {
        assert!(allocations_of(seed_pick(SOME)) > 0);
        assert!(allocations_of(tower_balance::pick(SOME)) > 0);
        assert_eq!(allocations(), 0);
    }

    #[test]
    fn cooling_endpoints_are_out() {
        let balancer = weighted(SOME);
        cool(&balancer, 4);
        let states = balancer.status(now());
        let cooling = states.iter().filter(|status| status.condition.label() == "cooling");
        assert_eq!(cooling.count(), 4);
    }
}
