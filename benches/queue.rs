//! What passing costs, alone and in line.
//!
//! ```text
//! cargo bench --bench queue
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::queue::{Gate, Passage, Place, RequestQueue};
use evenkeel::time::{Instant, now};
use tokio::runtime::{Builder, Runtime};

/// So many at once.
struct Places(AtomicUsize);

struct Pass(Arc<Places>);

impl Gate for Places {
    type Demand = Arc<Self>;
    type Pass = Pass;
    type Never = ();

    fn try_pass(&self, gate: &Arc<Self>, _: Instant) -> Passage<Pass, ()> {
        let take = |free: usize| free.checked_sub(1);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Passage::Pass(Pass(Arc::clone(gate))),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn queue() -> RequestQueue {
    RequestQueue::builder().max_depth(1_000_000).build().expect("a depth above zero")
}

fn uncontended(criterion: &mut Criterion) {
    let (runtime, queue, gate) = (runtime(), queue(), Arc::new(Places(AtomicUsize::new(1))));
    let place = Place::new(now() + Duration::from_secs(3600)).tenant("tenant");
    criterion.bench_function("enter and leave", |bencher| {
        bencher.iter(|| {
            let acquired = queue.acquire(&gate, Arc::clone(&gate), place.clone());
            let (slot, pass) = runtime.block_on(acquired).expect("nobody is in front");
            drop(black_box(pass));
            drop(slot);
        });
    });
}

/// Waiters that line up, and pass one after the other.
fn chain(runtime: &Runtime, waiters: usize, tenants: usize) {
    let (queue, gate) = (queue(), Arc::new(Places(AtomicUsize::new(1))));
    let place = Place::new(now() + Duration::from_secs(50)).cost(100);
    runtime.block_on(async {
        let first = queue.acquire(&gate, Arc::clone(&gate), place.clone()).await;
        let (slot, pass) = first.expect("nobody is in front");
        let tasks: Vec<_> = (0..waiters)
            .map(|waiter| {
                let (queue, gate) = (queue.clone(), Arc::clone(&gate));
                let place = place.clone().tenant((waiter % tenants).to_string());
                runtime.spawn(async move {
                    let passed = queue.acquire(&gate, Arc::clone(&gate), place).await;
                    let (slot, pass) = passed.expect("there is time");
                    drop(pass);
                    drop(slot);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(pass);
        drop(slot);
        for task in tasks {
            task.await.expect("nothing panics");
        }
    });
}

fn hand_over(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("hand over");
    for (waiters, tenants) in [(100, 1), (100, 10), (10_000, 1), (10_000, 10), (10_000, 10_000)] {
        group.throughput(Throughput::Elements(waiters as u64));
        let id = BenchmarkId::new(format!("{waiters} waiters"), format!("{tenants} tenants"));
        group.bench_function(id, |bencher| bencher.iter(|| chain(&runtime, waiters, tenants)));
    }
    group.finish();
}

criterion_group!(benches, uncontended, hand_over);
criterion_main!(benches);
