//! Comparing vectors, and finding the most similar of many.
//!
//! A tenth of the queries has an entry above the threshold; the others lie in a cluster, whose
//! entries are not similar enough. The contiguous scan is `FlatScan`: one array, sixteen partial
//! sums, compiled for the same baseline as everything else.

use std::hint::black_box;

use evenkeel::Embedding;
use evenkeel::rng::Rng;
use evenkeel::vector::{ExactIndex, dot, dot_four};
use simsimd::SpatialSimilarity;

use super::{Goal, Row};
use crate::cache_read;
use crate::measure::{self, Effort};
use crate::seed_cosine::{self, FlatScan, FuzzyCache};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "cosine_384", goal: Goal::AtLeast(20.0), run: |effort| pair_seed(384, effort) },
    Row { name: "cosine_1536", goal: Goal::AtLeast(28.0), run: |effort| pair_seed(1_536, effort) },
    Row { name: "cosine_simsimd", goal: Goal::AtLeast(1.4), run: pair_simsimd },
    Row { name: "cosine_1536_l1_pct", goal: Goal::AtLeast(80.0), run: share_of_cache_speed },
    Row { name: "cosine_four_rows", goal: Goal::AtLeast(1.4), run: four_rows },
    Row { name: "search_10k_seed", goal: Goal::AtLeast(200.0), run: search_seed },
    Row {
        name: "search_10k_flat",
        goal: Goal::AtLeast(20.0),
        run: |effort| search_flat(10_000, 384, effort),
    },
    Row {
        name: "search_100k_flat",
        goal: Goal::AtLeast(20.0),
        run: |effort| search_flat(100_000, 384, effort),
    },
    Row {
        name: "search_10k_1536_flat",
        goal: Goal::AtLeast(8.0),
        run: |effort| search_flat(10_000, 1_536, effort),
    },
    Row { name: "search_growth", goal: Goal::AtMost(14.0), run: growth },
    Row { name: "insert_us", goal: Goal::AtMost(15.0), run: insert },
    Row { name: "bytes_per_entry", goal: Goal::AtMost(128.0), run: |_| bytes_beside_vectors() },
];

const THRESHOLD: f32 = 0.9;

/// How many times as long the three passes take.
fn pair_seed(dimensions: usize, effort: Effort) -> f64 {
    let theirs = of_pair(dimensions, seed_cosine::cosine);
    measure::ratio(effort, theirs, of_pair(dimensions, dot))
}

/// How many times as long simsimd's dot product takes, where that is less.
fn pair_simsimd(effort: Effort) -> f64 {
    let at = |dimensions| {
        let theirs = of_pair(dimensions, <f32 as SpatialSimilarity>::dot);
        measure::ratio(effort, theirs, of_pair(dimensions, dot))
    };
    at(384).min(at(1_536))
}

/// Of the speed at which both vectors can be read from the first-level cache, in percent.
fn share_of_cache_speed(effort: Effort) -> f64 {
    100.0 * measure::ratio(effort, of_pair(1_536, cache_read::read), of_pair(1_536, dot))
}

/// How many times as long eight rows take one by one as by four, from the first-level cache.
fn four_rows(effort: Effort) -> f64 {
    let vectors = vectors(&Rng::from_seed(3), 9, 384);
    let rows: Vec<&[f32]> = vectors[1..].iter().map(Embedding::as_slice).collect();
    let query = vectors[0].as_slice();
    let (fours, _) = rows.as_chunks::<4>();
    let pairs = || {
        for row in &rows {
            let _ = black_box(dot(black_box(query), row));
        }
    };
    let by_four = || {
        for four in fours {
            let _ = black_box(dot_four(black_box(query), *four));
        }
    };
    measure::ratio(effort, pairs, by_four)
}

fn of_pair<T>(dimensions: usize, of: fn(&[f32], &[f32]) -> T) -> impl FnMut() {
    let vectors = vectors(&Rng::from_seed(2), 2, dimensions);
    move || {
        black_box(of(black_box(vectors[0].as_slice()), black_box(vectors[1].as_slice())));
    }
}

fn search_seed(effort: Effort) -> f64 {
    let data = Data::new(10_000, 384);
    let theirs = FuzzyCache::new(data.entries(), THRESHOLD);
    let theirs = data.asking(|query| {
        black_box(theirs.get(query.as_slice()));
    });
    let index = data.index();
    measure::ratio(effort, theirs, data.asking(|query| search(&index, query)))
}

fn search_flat(entries: usize, dimensions: usize, effort: Effort) -> f64 {
    let data = Data::new(entries, dimensions);
    let theirs = FlatScan::new(data.entries(), dimensions, THRESHOLD);
    let theirs = data.asking(|query| {
        black_box(theirs.best(query.as_slice()));
    });
    let index = data.index();
    measure::ratio(effort, theirs, data.asking(|query| search(&index, query)))
}

/// How many times as long a search among ten times as many entries takes.
fn growth(effort: Effort) -> f64 {
    let (large, small) = (Data::new(100_000, 384), Data::new(10_000, 384));
    let (large_index, small_index) = (large.index(), small.index());
    let large = large.asking(|query| search(&large_index, query));
    measure::ratio(effort, large, small.asking(|query| search(&small_index, query)))
}

fn search(index: &ExactIndex, query: &Embedding) {
    black_box(index.best_above(query, THRESHOLD).expect("equal dimensions"));
}

/// Microseconds an insertion into an index of ten to twenty thousand: half of the first round is
/// new, what comes after takes the place of something.
fn insert(effort: Effort) -> f64 {
    let data = Data::new(20_000, 384);
    let index = ExactIndex::new(384).expect("some dimensions");
    let mut entries = (0..).zip(&data.entries).cycle();
    let mut insert = || {
        let (key, vector) = entries.next().expect("a cycle");
        index.insert(key, vector).expect("equal dimensions");
    };
    (0..10_000).for_each(|_| insert());
    // Not nothing: a loop without a body takes no time, however often it runs.
    let nothing = || {
        black_box(0);
    };
    measure::added(effort, nothing, insert) / 1e3
}

/// Bytes an entry beside its vector.
fn bytes_beside_vectors() -> f64 {
    let data = Data::new(10_000, 384);
    data.index().memory_bytes() as f64 / 10_000.0 - 4.0 * 384.0
}

/// Entries in clusters of about 20, and queries.
struct Data {
    entries: Vec<Embedding>,
    queries: Vec<Embedding>,
}

impl Data {
    fn new(entries: usize, dimensions: usize) -> Self {
        let rng = Rng::from_seed(1);
        let centres = vectors(&rng, entries / 20, dimensions);
        let member = |at: usize| near(&rng, &centres[at % centres.len()], 0.7);
        let entries: Vec<_> = (0..entries).map(member).collect();
        let query = |at: usize| match at % 10 {
            0 => near(&rng, &entries[at * 37 % entries.len()], 0.3),
            _ => member(at * 13),
        };
        let queries = (0..200).map(query).collect();
        Self { entries, queries }
    }

    fn entries(&self) -> impl Iterator<Item = Vec<f32>> {
        self.entries.iter().map(|entry| entry.as_slice().to_vec())
    }

    fn index(&self) -> ExactIndex {
        let index = ExactIndex::new(self.entries[0].dimensions()).expect("some dimensions");
        let entries = (0..).zip(&self.entries);
        entries.for_each(|(key, vector)| index.insert(key, vector).expect("equal dimensions"));
        index
    }

    /// Asks one query after another.
    fn asking(&self, ask: impl Fn(&Embedding)) -> impl FnMut() {
        let mut queries = self.queries.iter().cycle();
        move || ask(queries.next().expect("a cycle"))
    }
}

fn vectors(rng: &Rng, count: usize, dimensions: usize) -> Vec<Embedding> {
    let origin = vec![0.0; dimensions];
    (0..count).map(|_| displaced(rng, &origin, 1.0)).collect()
}

/// At random around `centre`: a cosine of `1 / sqrt(1 + distance^2)`, about.
fn near(rng: &Rng, centre: &Embedding, distance: f32) -> Embedding {
    displaced(rng, centre.as_slice(), distance)
}

fn displaced(rng: &Rng, from: &[f32], distance: f32) -> Embedding {
    // The variance of a number between -1/2 and 1/2 is a twelfth.
    let scale = distance * (12.0 / from.len() as f32).sqrt();
    let vector = from.iter().map(|x| x + scale * (rng.unit() as f32 - 0.5)).collect();
    Embedding::new(vector).expect("random coordinates are a direction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_queries_is_found_by_every_search() {
        let data = Data::new(2_000, 384);
        let (index, flat) = (data.index(), FlatScan::new(data.entries(), 384, THRESHOLD));
        let fuzzy = FuzzyCache::new(data.entries(), THRESHOLD);
        let mut found = 0;
        for query in &data.queries {
            let best = index.best_above(query, THRESHOLD).expect("equal dimensions");
            let key = flat.best(query.as_slice()).map(|(at, _)| at as u64);
            assert_eq!(best.map(|best| best.key), key);
            assert_eq!(best.is_some(), fuzzy.get(query.as_slice()).is_some());
            found += usize::from(best.is_some());
        }
        assert_eq!(found, data.queries.len() / 10);
    }
}
