//! What a pick costs, and a lease from its choice to its end.
//!
//! ```text
//! cargo bench --bench selection
//! ```

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::balance::{Demand, StrategyKind};
use evenkeel::error::{ErrorKind, ProviderError};
use evenkeel::outcome::{End, Outcome};
use evenkeel::time::now;
use evenkeel::{Balancer, ChatResponse, Endpoint, Price, provider_fn};

const MODEL: &str = "model";

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for endpoints in [3, 10, 100, 1_000] {
        let healthy = balancer(endpoints, StrategyKind::Weighted);
        let cooling = balancer(endpoints, StrategyKind::Weighted);
        cool(&cooling, endpoints / 2);
        for (state, balancer) in [("healthy", healthy), ("half cooling", cooling)] {
            let start = now();
            let pick = || {
                balancer.turn(Some(MODEL), start, |id| {
                    black_box(id);
                });
            };
            group.bench_function(BenchmarkId::new(state, endpoints), |bencher| bencher.iter(pick));
            group.bench_function(
                BenchmarkId::new(format!("{state}, two threads"), endpoints),
                |bencher| bencher.iter_custom(|picks| on_two_threads(picks, pick)),
            );
        }
    }
    group.finish();
}

fn leases(criterion: &mut Criterion) {
    let success = Outcome::new(End::Success).with_ttft(Some(Duration::from_millis(1)));
    let mut group = criterion.benchmark_group("lease");
    for strategy in [
        StrategyKind::Weighted,
        StrategyKind::Adaptive,
        StrategyKind::LeastBusy,
        StrategyKind::Affinity,
        StrategyKind::Cheapest,
    ] {
        for endpoints in [3, 10, 100] {
            let balancer = balancer(endpoints, strategy.clone());
            let mut demand = Demand::new(Some(MODEL));
            demand.affinity = Some(7);
            let start = now();
            let lease = || {
                let lease = balancer.try_lease(&demand, start).expect("all are healthy");
                lease.settle(black_box(&success), start + Duration::from_millis(2));
            };
            group.bench_function(BenchmarkId::new(strategy.name(), endpoints), |bencher| {
                bencher.iter(lease);
            });
        }
    }
    group.finish();
}

/// How long two threads take that share `runs` and start together.
fn on_two_threads(runs: u64, work: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let half = || {
        barrier.wait();
        let start = now();
        (0..runs.div_ceil(2)).for_each(|_| work());
        start.elapsed()
    };
    thread::scope(|scope| {
        let other = scope.spawn(half);
        half().max(other.join().expect("a pick does not panic"))
    })
}

/// Weights 3, 1, 1, 3, 1, 1, ...
fn balancer(endpoints: usize, strategy: StrategyKind) -> Balancer {
    let endpoint = |i: usize| {
        let answer = |_, _| async { Ok(ChatResponse::text_only("an answer")) };
        Endpoint::new(provider_fn(format!("endpoint-{i}"), answer))
            .weight(if i.is_multiple_of(3) { 3 } else { 1 })
            .price(Price::default())
            .model(MODEL)
    };
    let builder = Balancer::builder().strategy(strategy).seed(1);
    let builder =
        (0..endpoints).map(endpoint).fold(builder, |builder, next| builder.endpoint(next));
    builder.build().expect("endpoints with weights")
}

/// Has `count` endpoints refuse calls for the next ten minutes.
fn cool(balancer: &Balancer, count: usize) {
    let start = now();
    let error = ProviderError::new(ErrorKind::RateLimited, "slow down");
    let refusal = Outcome::failed(&error.with_retry_after(Duration::from_secs(600)), false);
    for _ in 0..count {
        let lease = balancer.try_lease(&Demand::new(Some(MODEL)), start);
        lease.expect("the others are in service").settle(&refusal, start);
    }
}

criterion_group!(benches, picks, leases);
criterion_main!(benches);
