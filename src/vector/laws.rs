//! What an index promises, against reading everything.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use crate::embed::Embedding;
use crate::rng::Rng;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::vector::arch::{available, kernels};
use crate::vector::{ExactIndex, Match, VectorError, dot};

/// Few enough that a test passes the size where codes begin, at any number of dimensions.
const READ_WHOLE: usize = 10;

/// An index, and what it ought to hold.
struct Pair {
    index: ExactIndex,
    model: BTreeMap<u64, Embedding>,
}

impl Pair {
    fn new(dimensions: usize) -> Self {
        let index = ExactIndex::with(dimensions, kernels(), READ_WHOLE).unwrap();
        Self { index, model: BTreeMap::new() }
    }

    fn insert(&mut self, key: u64, vector: Embedding) {
        self.index.insert(key, &vector).unwrap();
        self.model.insert(key, vector);
    }

    fn remove(&mut self, key: u64) {
        assert_eq!(self.index.remove(key), self.model.remove(&key).is_some());
    }

    /// Everything read, scored and sorted.
    fn ranked(&self, query: &Embedding) -> Vec<(u64, f32)> {
        let score = |vector: &Embedding| dot(query.as_slice(), vector.as_slice()).unwrap();
        let scored = self.model.iter().map(|(&key, vector)| (key, score(vector).clamp(-1.0, 1.0)));
        let mut ranked: Vec<_> = scored.collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    /// At thresholds all over the interval, at those that decide about an entry, and next to them.
    fn check(&self, query: &Embedding) {
        let ranked = self.ranked(query);
        let middle = ranked.len() / 2;
        let decisive = [ranked.first(), ranked.get(1), ranked.get(middle), ranked.last()];
        let decisive = decisive.into_iter().flatten().map(|found| found.1);
        let beside = decisive.flat_map(|at| [at.next_down(), at, at.next_up()]);
        let fixed = [-1.0, -0.5, 0.0, 0.3, 0.7, 0.9, 0.97, 1.0];
        let thresholds = fixed.into_iter().chain(beside).filter(|at| at.abs() <= 1.0);
        for threshold in thresholds.step_by(if cfg!(miri) { 7 } else { 1 }) {
            for k in [1, usize::MAX] {
                let above = ranked.iter().filter(|(_, similarity)| *similarity >= threshold);
                let expected: Vec<_> = above.take(k).copied().collect();
                let found = self.index.top_above(query, k, threshold).unwrap();
                assert_eq!(plain(&found), expected, "the best {k} above {threshold}");
            }
        }
        let three = self.index.top_above(query, 3, -1.0).unwrap();
        assert_eq!(plain(&three), ranked[..ranked.len().min(3)]);
        let best = self.index.best_above(query, -1.0).unwrap();
        assert_eq!(best.as_ref().map(|best| best.key), ranked.first().map(|best| best.0));
    }
}

fn plain(found: &[Match]) -> Vec<(u64, f32)> {
    found.iter().map(|found| (found.key, found.similarity)).collect()
}

/// Where the vectors of a test come from.
type Source = fn(&Rng, usize) -> Vec<f32>;

const SOURCES: &[Source] = &[random, clustered, alike, sparse, even, nearly_equal];

fn random(rng: &Rng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| rng.unit() as f32 - 0.5).collect()
}

/// Seven directions, each with its neighbours.
fn clustered(rng: &Rng, dimensions: usize) -> Vec<f32> {
    let centre = random(&Rng::from_seed(rng.below(7)), dimensions);
    centre.into_iter().map(|x| x + 0.2 * (rng.unit() as f32 - 0.5)).collect()
}

/// All close to one direction: cosines of about 0.9.
fn alike(rng: &Rng, dimensions: usize) -> Vec<f32> {
    random(rng, dimensions).into_iter().map(|x| x + 0.8).collect()
}

/// One coordinate, and another that is next to nothing.
fn sparse(rng: &Rng, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    vector[rng.below(dimensions as u64) as usize] = 1e-30;
    vector[rng.below(dimensions as u64) as usize] = if rng.unit() < 0.5 { 1.0 } else { -1.0 };
    vector
}

/// Coordinates of one size: ties without end.
fn even(rng: &Rng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| if rng.unit() < 0.5 { 1.0 } else { -1.0 }).collect()
}

/// One vector, but for the last bit of some coordinates.
fn nearly_equal(rng: &Rng, dimensions: usize) -> Vec<f32> {
    let vector = random(&Rng::from_seed(1), dimensions).into_iter();
    vector.map(|x| if rng.unit() < 0.1 { x.next_up() } else { x }).collect()
}

fn unit(source: Source, rng: &Rng, dimensions: usize) -> Embedding {
    // A random vector of one dimension can be zero.
    std::iter::repeat_with(|| source(rng, dimensions)).find_map(|v| Embedding::new(v).ok()).unwrap()
}

/// As many as are feasible: Miri takes a thousand times as long for each.
const fn feasible(changes: usize) -> usize {
    if cfg!(miri) { 24 } else { changes }
}

/// Inserts, replaces and removes at random; asks for what is there, its opposite, and others.
fn search_is_exact(source: Source, dimensions: usize, changes: usize) {
    let changes = feasible(changes);
    let rng = Rng::from_seed(dimensions as u64);
    let mut pair = Pair::new(dimensions);
    for change in 0..changes {
        let key = rng.below(changes as u64 / 2);
        // Grows, then shrinks to nothing.
        let grows = rng.unit() < if change < changes * 2 / 3 { 0.85 } else { 0.05 };
        match grows {
            true => pair.insert(key, unit(source, &rng, dimensions)),
            false => pair.remove(key),
        }
        assert_eq!(pair.index.len(), pair.model.len());
        if change % (changes / 4) == changes / 5 {
            check_with_queries(&pair, source, &rng, dimensions);
        }
    }
    for key in 0..changes as u64 {
        pair.remove(key);
    }
    check_with_queries(&pair, source, &rng, dimensions);
    assert!(pair.index.is_empty());
}

fn check_with_queries(pair: &Pair, source: Source, rng: &Rng, dimensions: usize) {
    let (fresh, other) = (unit(source, rng, dimensions), unit(random, rng, dimensions));
    let inside = pair.model.values().nth(pair.model.len() / 2).unwrap_or(&fresh).clone();
    let opposite = inside.as_slice().iter().map(|x| -x).collect();
    for query in [fresh, other, inside, Embedding::new(opposite).unwrap()] {
        pair.check(&query);
    }
}

#[test]
fn search_equals_brute_force_in_few_dimensions() {
    for &source in SOURCES {
        let step = if cfg!(miri) { 8 } else { 1 };
        (1..=17).step_by(step).for_each(|dimensions| search_is_exact(source, dimensions, 250));
    }
}

#[test]
#[cfg_attr(miri, ignore = "few dimensions run the same code")]
fn search_equals_brute_force_in_many_dimensions() {
    for &source in SOURCES {
        for dimensions in [64, 100, 384] {
            search_is_exact(source, dimensions, 240);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "few dimensions run the same code")]
fn search_equals_brute_force_in_the_most_dimensions() {
    for &source in SOURCES {
        search_is_exact(source, 1_536, 120);
        search_is_exact(source, 4_096, 120);
    }
}

#[test]
#[cfg_attr(miri, ignore = "a chunk takes more changes than are feasible")]
fn search_equals_brute_force_over_several_chunks_and_means() {
    for &source in SOURCES {
        search_is_exact(source, 24, 3_000);
    }
}

#[test]
fn every_kernel_finds_the_same() {
    let rng = Rng::from_seed(4);
    let many = if cfg!(miri) { 80 } else { 200 };
    let vectors: Vec<_> = (0..many).map(|_| unit(clustered, &rng, 48)).collect();
    let mut answers = available().map(|kernels| {
        let index = ExactIndex::with(48, kernels, READ_WHOLE).unwrap();
        (0..).zip(&vectors).for_each(|(key, vector)| index.insert(key, vector).unwrap());
        let found = index.top_above(&vectors[7], 50, 0.9).unwrap();
        found.into_iter().map(|found| found.key).collect::<Vec<_>>()
    });
    let first = answers.next().unwrap();
    assert!(first.len() > 10 && answers.all(|answer| answer == first));
}

#[test]
fn what_does_not_fit_is_refused() {
    let most = 1 << 16;
    let refused = |dimensions| ExactIndex::new(dimensions).unwrap_err();
    assert_eq!(refused(0), VectorError::DimensionsOutOfRange { dimensions: 0, most });
    assert_eq!(refused(most + 1), VectorError::DimensionsOutOfRange { dimensions: most + 1, most });
    let index = ExactIndex::new(2).unwrap();
    let three = unit(random, &Rng::from_seed(1), 3);
    let wrong = VectorError::Dimensions { expected: 2, found: 3 };
    assert_eq!(index.insert(1, &three), Err(wrong));
    assert_eq!(index.best_above(&three, 0.5), Err(wrong));
    let two = unit(random, &Rng::from_seed(1), 2);
    for threshold in [1.01, -1.01, f32::INFINITY] {
        assert_eq!(index.best_above(&two, threshold), Err(VectorError::Threshold { threshold }));
    }
    assert!(index.top_above(&two, 1, f32::NAN).is_err());
    assert!(index.is_empty());
}

#[test]
fn a_key_holds_its_last_vector() {
    let rng = Rng::from_seed(2);
    let index = ExactIndex::new(8).unwrap();
    let [old, new] = [0, 1].map(|_| unit(random, &rng, 8));
    index.insert(5, &old).unwrap();
    index.insert(5, &new).unwrap();
    assert_eq!(index.len(), 1);
    assert_eq!(index.best_above(&new, 0.999).unwrap().map(|found| found.key), Some(5));
    assert_eq!(index.best_above(&old, 0.999).unwrap(), None);
}

#[test]
fn a_cleared_index_starts_anew() {
    let mut pair = Pair::new(8);
    let rng = Rng::from_seed(2);
    (0..feasible(100) as u64).for_each(|key| pair.insert(key, unit(alike, &rng, 8)));
    pair.index.clear();
    pair.model.clear();
    assert!(pair.index.is_empty() && pair.index.memory_bytes() == 0);
    (0..feasible(100) as u64).for_each(|key| pair.insert(key, unit(random, &rng, 8)));
    check_with_queries(&pair, random, &rng, 8);
}

/// At whatever size: a table of keys that has just doubled, a chunk that has just begun.
#[test]
#[cfg_attr(miri, ignore = "two thousand entries are not feasible")]
fn memory_is_the_vectors_and_128_bytes_an_entry() {
    let rng = Rng::from_seed(8);
    let index = ExactIndex::new(384).unwrap();
    for key in 0..2_000_u64 {
        index.insert(key, &unit(random, &rng, 384)).unwrap();
        let entries = key as usize + 1;
        let beside = index.memory_bytes() - entries * 384 * 4;
        assert!(entries < 100 || beside <= 128 * entries, "{beside} bytes at {entries}");
    }
    (0..2_000).for_each(|key| assert!(index.remove(key)));
    assert_eq!(index.memory_bytes(), 0);
}

/// Readers look for entries that are always there, among writers that make everything move: keys
/// below `FIXED` stay, those above come and go.
#[test]
fn a_search_sees_what_was_there_all_along_and_nothing_removed_before() {
    const FIXED: u64 = if cfg!(miri) { 6 } else { 60 };
    const ROUNDS: u64 = if cfg!(miri) { 12 } else { 400 };
    let rng = Rng::from_seed(11);
    let index = ExactIndex::with(16, kernels(), READ_WHOLE).unwrap();
    let vectors: Vec<_> = (0..2 * FIXED).map(|_| unit(random, &rng, 16)).collect();
    // Passing entries first, so that every removal moves one of the others into the gap.
    let order = (FIXED..2 * FIXED).chain(0..FIXED);
    order.for_each(|key| index.insert(key, &vectors[key as usize]).unwrap());
    // The round and the key it removed, as long as that is certainly out; zero in between.
    let (removed, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let barrier = Barrier::new(3);
    let read = || {
        barrier.wait();
        let mut searches = 0;
        while !done.load(Ordering::Relaxed) || searches < ROUNDS {
            // Acquire: pairs with the release below: what is removed then was so before.
            let before = removed.load(Ordering::Acquire);
            let key = before % (2 * FIXED);
            let found = index.top_above(&vectors[key as usize], 200, -1.0).unwrap();
            let fixed = found.iter().filter(|found| found.key < FIXED).count() as u64;
            assert_eq!(fixed, FIXED, "an entry was missed");
            let seen = found.iter().any(|found| found.key == key);
            let still_out = before != 0 && removed.load(Ordering::Relaxed) == before;
            assert!(!(still_out && seen), "{key} was removed before");
            searches += 1;
        }
    };
    thread::scope(|scope| {
        scope.spawn(read);
        scope.spawn(read);
        barrier.wait();
        for round in 1..=ROUNDS {
            let key = FIXED + round % FIXED;
            assert!(index.remove(key));
            // Release: whoever reads it sees the index without the key.
            removed.store(round * 2 * FIXED + key, Ordering::Release);
            thread::yield_now();
            // Release: a search that still reads the round saw the index before the key is back.
            removed.store(0, Ordering::Release);
            index.insert(key, &vectors[key as usize]).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.len() as u64, 2 * FIXED);
}
