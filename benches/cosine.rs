//! What comparing two vectors costs, beside the textbook's three passes over iterators.
//!
//! ```text
//! cargo bench --bench cosine
//! ```
//!
//! simsimd's kernels stand beside these in `cargo ratios`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::Embedding;
use evenkeel::rng::Rng;
use evenkeel::vector::{cosine, dot, dot_four};

fn pairs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pair");
    for dimensions in [384, 768, 1536] {
        let [a, b] = [1, 2].map(|seed| unit(dimensions, seed));
        let (a, b) = (a.as_slice(), b.as_slice());
        group.throughput(Throughput::Bytes(8 * dimensions as u64));
        group.bench_function(BenchmarkId::new("dot", dimensions), |bencher| {
            bencher.iter(|| dot(black_box(a), black_box(b)));
        });
        group.bench_function(BenchmarkId::new("cosine", dimensions), |bencher| {
            bencher.iter(|| cosine(black_box(a), black_box(b)));
        });
        group.bench_function(BenchmarkId::new("three passes", dimensions), |bencher| {
            bencher.iter(|| three_passes(black_box(a), black_box(b)));
        });
    }
    group.finish();
}

/// Eight rows of one vector each in the first-level cache: one by one, and by four.
fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("eight rows");
    for dimensions in [384, 768] {
        let query = unit(dimensions, 1);
        let rows: [Embedding; 8] = std::array::from_fn(|row| unit(dimensions, 2 + row as u64));
        let rows = rows.each_ref().map(Embedding::as_slice);
        let (fours, _) = rows.as_chunks::<4>();
        group.bench_function(BenchmarkId::new("pairs", dimensions), |bencher| {
            bencher.iter(|| rows.map(|row| dot(black_box(query.as_slice()), row)));
        });
        group.bench_function(BenchmarkId::new("fours", dimensions), |bencher| {
            bencher.iter(|| {
                let mut sums = [[0.0; 4]; 2];
                for (sums, four) in sums.iter_mut().zip(fours) {
                    *sums = dot_four(black_box(query.as_slice()), *four).expect("equal lengths");
                }
                sums
            });
        });
    }
    group.finish();
}

/// One pass for each of the three sums, each addition waiting for the one before.
fn three_passes(a: &[f32], b: &[f32]) -> f32 {
    let product: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let [of_a, of_b] = [a, b].map(|vector| vector.iter().map(|x| x * x).sum::<f32>().sqrt());
    product / (of_a * of_b)
}

fn unit(dimensions: usize, seed: u64) -> Embedding {
    let rng = Rng::from_seed(seed);
    let vector = (0..dimensions).map(|_| (rng.unit() - 0.5) as f32).collect();
    Embedding::new(vector).expect("random coordinates are a direction")
}

criterion_group!(benches, pairs, rows);
criterion_main!(benches);
