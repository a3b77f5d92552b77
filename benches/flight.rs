//! What a chunk of a shared call costs, and what joining one costs.
//!
//! ```text
//! cargo bench --bench flight
//! ```
//!
//! `chunk` is the whole of what happens between two chunks: the work wakes, those who were woken are
//! polled until they wait again. Divided by the participants it is the cost to one of them. `bare` is
//! the same work polled without a flight.

use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::Chunk;
use evenkeel::cache::flight::{
    Boarded, FlightBounds, Flights, Joined, Leader, Participant, Upstream,
};
use evenkeel::time::now;
use futures::task::AtomicWaker;
use futures::{FutureExt as _, Stream, StreamExt as _};

type Answers = Flights<u128, Arc<Chunk>>;

/// Work that gives a chunk for each that was asked of it.
struct Source {
    asked: AtomicU64,
    waker: AtomicWaker,
}

impl Source {
    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.waker.wake();
    }

    fn work(self: &Arc<Self>, chunk: &Arc<Chunk>) -> Upstream<Arc<Chunk>> {
        let (source, chunk) = (Arc::clone(self), Arc::clone(chunk));
        let mut given = 0;
        futures::stream::poll_fn(move |cx| {
            source.waker.register(cx.waker());
            if given == source.asked.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            given += 1;
            Poll::Ready(Some(Ok(Arc::clone(&chunk))))
        })
        .boxed()
    }
}

fn source() -> (Arc<Source>, Arc<Chunk>) {
    let source = Source { asked: AtomicU64::new(0), waker: AtomicWaker::new() };
    (Arc::new(source), Arc::new(Chunk::text(0, "word")))
}

/// The tasks of an executor on one thread: those that were woken, as bits.
#[derive(Default)]
struct Woken(AtomicU64);

struct Task {
    woken: Arc<Woken>,
    bit: u64,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.0.fetch_or(self.bit, Ordering::Relaxed);
    }
}

fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    bare(&mut group);
    for followers in [0, 1, 10] {
        group.throughput(Throughput::Elements(followers + 1));
        group.bench_function(BenchmarkId::new("followers", followers), |bencher| {
            let flights = Answers::new(FlightBounds::of_bytes(1 << 20));
            let (source, chunk) = source();
            let mut riders = riders(&flights, followers, source.work(&chunk));
            let woken = Arc::new(Woken::default());
            let wakers: Vec<_> = (0..riders.len()).map(|index| task(&woken, index)).collect();
            poll_woken(&mut riders, &wakers, u64::MAX >> (63 - followers));
            bencher.iter(|| {
                source.ask();
                poll_all_woken(&mut riders, &wakers, &woken);
            });
        });
    }
    group.finish();
}

fn bare(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare", |bencher| {
        let (source, chunk) = source();
        let mut work = source.work(&chunk);
        let woken = Arc::new(Woken::default());
        let waker = task(&woken, 0);
        let mut cx = Context::from_waker(&waker);
        assert!(work.as_mut().poll_next(&mut cx).is_pending());
        bencher.iter(|| {
            source.ask();
            woken.0.store(0, Ordering::Relaxed);
            while let Poll::Ready(chunk) = work.as_mut().poll_next(&mut cx) {
                black_box(chunk);
            }
        });
    });
}

fn task(woken: &Arc<Woken>, index: usize) -> Waker {
    Waker::from(Arc::new(Task { woken: Arc::clone(woken), bit: 1 << index }))
}

/// The participants of one flight, the leader first.
fn riders(
    flights: &Answers,
    followers: u64,
    work: Upstream<Arc<Chunk>>,
) -> Vec<Participant<u128, Arc<Chunk>>> {
    let leader = leader(flights);
    let followers: Vec<_> = (0..followers)
        .map(|_| match flights.join(0, now()) {
            Joined::Follow(follower) => follower,
            Joined::Lead(_) => unreachable!("one leads"),
        })
        .collect();
    // The first chunk opens the flight for the followers.
    let chunk = futures::stream::once(async { Ok(Arc::new(Chunk::text(0, "first"))) });
    let mut riders = vec![leader.launch(chunk.chain(work).boxed())];
    riders.extend(followers.into_iter().map(|follower| match follower.now_or_never() {
        Some(Boarded::Ride(rider)) => rider,
        _ => unreachable!("the first chunk is there"),
    }));
    riders
}

fn leader(flights: &Answers) -> Leader<u128, Arc<Chunk>> {
    match flights.join(0, now()) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => unreachable!("nobody leads"),
    }
}

fn poll_all_woken(riders: &mut [Participant<u128, Arc<Chunk>>], wakers: &[Waker], woken: &Woken) {
    loop {
        match woken.0.swap(0, Ordering::Relaxed) {
            0 => return,
            bits => poll_woken(riders, wakers, bits),
        }
    }
}

fn poll_woken(riders: &mut [Participant<u128, Arc<Chunk>>], wakers: &[Waker], mut bits: u64) {
    while bits != 0 {
        let index = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        let mut cx = Context::from_waker(&wakers[index]);
        while let Poll::Ready(chunk) = Pin::new(&mut riders[index]).poll_next(&mut cx) {
            black_box(chunk);
        }
    }
}

fn joins(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join");
    let start = now();
    group.bench_function("a flight of its own, launched and left", |bencher| {
        let flights = Answers::default();
        bencher.iter(|| {
            let Joined::Lead(leader) = flights.join(black_box(7), start) else {
                unreachable!("nobody leads")
            };
            leader.launch(futures::stream::pending().boxed())
        });
    });
    group.bench_function("a running flight, and left", |bencher| {
        let flights = Answers::default();
        let _leading = leader(&flights).launch(futures::stream::pending().boxed());
        bencher.iter(|| flights.join(black_box(0), start));
    });
    group.finish();
}

criterion_group!(benches, chunks, joins);
criterion_main!(benches);
