//! What finding the most similar of many vectors costs, beside reading them all.
//!
//! ```text
//! cargo bench --bench search
//! ```
//!
//! Vectors lie in clusters; a tenth of the queries has an entry above the threshold of 0.9.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::Embedding;
use evenkeel::rng::Rng;
use evenkeel::vector::{ExactIndex, dot};

const THRESHOLD: f32 = 0.9;

/// Entries, dimensions, and the part that all vectors have in common.
const SHAPES: [(usize, usize, f32); 5] = [
    (1_000, 384, 0.0),
    (10_000, 384, 0.0),
    (100_000, 384, 0.0),
    (10_000, 1_536, 0.0),
    (10_000, 384, 1.5),
];

fn searches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    for (entries, dimensions, shared) in SHAPES {
        let data = Data::new(entries, dimensions, shared);
        let (index, flat) = (data.index(), data.flat());
        let shape = if shared == 0.0 { "clusters" } else { "one direction" };
        let name = format!("{shape} {entries} x {dimensions}");
        group.throughput(Throughput::Elements(entries as u64));
        let mut queries = data.queries.iter().cycle();
        group.bench_function(BenchmarkId::new("best_above", &name), |bencher| {
            bencher
                .iter(|| index.best_above(black_box(queries.next().expect("a cycle")), THRESHOLD));
        });
        group.bench_function(BenchmarkId::new("read all", &name), |bencher| {
            bencher.iter(|| best_of(&flat, black_box(queries.next().expect("a cycle"))));
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    for (entries, dimensions) in [(10_000, 384), (10_000, 1_536)] {
        let data = Data::new(entries, dimensions, 0.0);
        let index = data.index();
        let mut at = 0;
        group.bench_function(BenchmarkId::new("remove and insert", dimensions), |bencher| {
            bencher.iter(|| {
                at = (at + 7_919) % entries;
                index.remove(at as u64);
                index.insert(at as u64, &data.entries[at]).expect("it fits");
            });
        });
    }
    group.finish();
}

/// A search alone, and one beside a thread that never stops changing the index.
fn beside_a_writer(criterion: &mut Criterion) {
    let data = Data::new(10_000, 384, 0.0);
    let index = data.index();
    let mut group = criterion.benchmark_group("reader");
    let mut queries = data.queries.iter().cycle();
    let mut search = || index.best_above(queries.next().expect("a cycle"), THRESHOLD);
    group.bench_function("alone", |bencher| bencher.iter(&mut search));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for (key, vector) in (0..).zip(&data.entries).cycle() {
                index.remove(key);
                index.insert(key, vector).expect("it fits");
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        group.bench_function("beside a writer", |bencher| bencher.iter(&mut search));
        done.store(true, Ordering::Relaxed);
    });
    group.finish();
}

/// Entries in clusters of about 20, and queries.
struct Data {
    entries: Vec<Embedding>,
    queries: Vec<Embedding>,
}

impl Data {
    fn new(entries: usize, dimensions: usize, shared: f32) -> Self {
        let rng = Rng::from_seed(1);
        let random = |around: &[f32], spread: f32| -> Vec<f32> {
            around.iter().map(|x| x + spread * (rng.unit() as f32 - 0.5)).collect()
        };
        let common = vec![shared / (dimensions as f32).sqrt(); dimensions];
        // One unit of length at random, whatever the number of dimensions.
        let length = (12.0 / dimensions as f32).sqrt();
        let centres: Vec<_> = (0..entries / 20).map(|_| random(&common, length)).collect();
        let member = |at: usize| random(&centres[at % centres.len()], 0.7 * length);
        let unit = |vector| Embedding::new(vector).expect("a direction");
        let entries: Vec<_> = (0..entries).map(|at| unit(member(at))).collect();
        let query = |at: usize| match at % 10 {
            0 => unit(random(entries[at * 37 % entries.len()].as_slice(), 0.3 * length)),
            _ => unit(member(at * 13)),
        };
        let queries = (0..100).map(query).collect();
        Self { entries, queries }
    }

    fn index(&self) -> ExactIndex {
        let index = ExactIndex::new(self.entries[0].dimensions()).expect("some dimensions");
        let entries = (0..).zip(&self.entries);
        entries.for_each(|(key, vector)| index.insert(key, vector).expect("it fits"));
        index
    }

    fn flat(&self) -> Vec<f32> {
        self.entries.iter().flat_map(|entry| entry.as_slice()).copied().collect()
    }
}

/// The best entry of a contiguous array, by the crate's own kernel.
fn best_of(flat: &[f32], query: &Embedding) -> Option<(usize, f32)> {
    let score = |row| dot(query.as_slice(), row).expect("equal lengths");
    let scored = flat.chunks_exact(query.dimensions()).map(score).enumerate();
    let above = scored.filter(|(_, similarity)| *similarity >= THRESHOLD);
    above.max_by(|a, b| a.1.total_cmp(&b.1))
}

criterion_group!(benches, searches, changes, beside_a_writer);
criterion_main!(benches);
