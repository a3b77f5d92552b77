//! What it costs to take a call from its tenant's quota and to settle it.
//!
//! ```text
//! cargo bench --bench quota
//! ```

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel::TenantId;
use evenkeel::quota::{Amounts, Limits, QuotaLimiter, Whose};
use evenkeel::time::{Instant, now};

/// What a call is expected to use, and what it used.
const EXPECTED: Amounts = Amounts::tokens(200, 800);
const USED: Amounts = Amounts::tokens(200, 300);

/// Two limits a tenant, `now` passed in.
fn keyed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quota");
    for tenants in [1, 10_000, 1_000_000] {
        let quota = limiter();
        let names: Vec<_> =
            (0..tenants).map(|tenant| TenantId::new(format!("tenant-{tenant}"))).collect();
        let start = now();
        names.iter().for_each(|tenant| cycle(&quota, tenant, start));
        let turn = AtomicU64::new(1);
        let work = || {
            let at = start + Duration::from_micros(turn.fetch_add(1, Ordering::Relaxed));
            let tenant = scattered(at.duration_since(start).as_micros() as u64, tenants);
            cycle(&quota, black_box(&names[tenant]), at);
        };
        group.bench_function(BenchmarkId::new("keyed", tenants), |bencher| bencher.iter(work));
        group.bench_function(BenchmarkId::new("keyed, two threads", tenants), |bencher| {
            bencher.iter_custom(|runs| on_two_threads(runs, work));
        });
    }
    group.finish();
}

fn through_a_handle(criterion: &mut Criterion) {
    let quota = limiter();
    let handles = ["a", "b"].map(|name| quota.handle(&TenantId::new(name)).expect("there is room"));
    let start = now();
    let cycle = |handle: &evenkeel::quota::TenantHandle| {
        let reservation = handle.try_reserve_at(&EXPECTED, start).expect("it fits");
        reservation.settle_at(black_box(&USED), start);
    };
    let mut group = criterion.benchmark_group("quota");
    group.bench_function("handle", |bencher| bencher.iter(|| cycle(&handles[0])));
    group.bench_function("handle, two threads", |bencher| {
        bencher.iter_custom(|runs| on_two_threads(runs, || cycle(&handles[0])));
    });
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let limits = Limits::new().requests_per_minute(1).tokens_per_minute(1_000);
    let quota = QuotaLimiter::builder().per_tenant(limits).build().expect("valid");
    let tenant = TenantId::new("flooder");
    let start = now();
    let _all = quota.try_reserve_at(&Whose::tenant(&tenant), &EXPECTED, start).expect("it fits");
    criterion.bench_function("quota/refused", |bencher| {
        bencher.iter(|| quota.try_reserve_at(&Whose::tenant(&tenant), &EXPECTED, start).is_err());
    });
}

fn cycle(quota: &QuotaLimiter, tenant: &TenantId, at: Instant) {
    let reservation = quota.try_reserve_at(&Whose::tenant(tenant), &EXPECTED, at);
    reservation.expect("it fits").settle_at(black_box(&USED), at);
}

fn limiter() -> QuotaLimiter {
    let limits = Limits::new();
    let limits = limits.requests_per_minute(1_000_000_000_000).tokens_per_minute(1_000_000_000_000);
    QuotaLimiter::builder().per_tenant(limits).most_scopes(2_000_000).build().expect("valid")
}

/// A place below `bound` that no prefetcher foresees.
fn scattered(turn: u64, bound: u64) -> usize {
    let mixed = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    ((u128::from(mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9)) * u128::from(bound)) >> 64) as usize
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
        half().max(other.join().expect("a reservation does not panic"))
    })
}

criterion_group!(benches, keyed, through_a_handle, refusals);
criterion_main!(benches);
