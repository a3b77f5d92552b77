//! The index against reading everything, under any sequence of changes; dot products against sums in
//! twice the precision.

use std::collections::BTreeMap;

use evenkeel::Embedding;
use evenkeel::vector::{ExactIndex, VectorError, door, dot, dot_four};

use crate::bytes::Bytes;

/// Codes begin beyond so many entries.
const READ_WHOLE: usize = 6;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let dimensions = *bytes.pick(&[1, 2, 3, 8, 31, 64]);
    let index = door::index(dimensions, READ_WHOLE).expect("a usual number of dimensions");
    let mut pair = Pair { index, dimensions, model: BTreeMap::new() };
    let mut steps = 0;
    while !bytes.is_empty() && steps < 160 {
        pair.step(&mut bytes);
        steps += 1;
    }
    assert_eq!(pair.index.len(), pair.model.len());
    let mut keys = pair.index.keys();
    keys.sort_unstable();
    assert!(keys.iter().eq(pair.model.keys()));
}

struct Pair {
    index: ExactIndex,
    dimensions: usize,
    model: BTreeMap<u64, Embedding>,
}

impl Pair {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 16 {
            0 if bytes.byte() == 0 => {
                self.index.clear();
                self.model.clear();
            }
            1 | 2 => {
                let key = bytes.below(64) as u64;
                assert_eq!(self.index.remove(key), self.model.remove(&key).is_some());
            }
            3 | 4 => {
                if let Some(query) = self.vector(bytes) {
                    self.search(bytes, &query);
                }
            }
            5 => self.of_other_dimensions(),
            _ => {
                let key = bytes.below(64) as u64;
                if let Some(vector) = self.vector(bytes) {
                    self.index.insert(key, &vector).expect("of the right dimensions");
                    self.model.insert(key, vector);
                }
            }
        }
    }

    /// Often near another, or the same; sometimes of extreme coordinates.
    fn vector(&self, bytes: &mut Bytes<'_>) -> Option<Embedding> {
        let kind = bytes.byte();
        if kind < 64 {
            let near = self.model.values().nth(usize::from(kind) % self.model.len().max(1))?;
            let mut near = near.as_slice().to_vec();
            near[usize::from(bytes.byte()) % self.dimensions] += f32::from(bytes.byte()) / 4_096.0;
            return Embedding::new(near).ok();
        }
        let coordinate = |bytes: &mut Bytes<'_>| match kind {
            64..=79 => f32::from_bits(bytes.word() as u32),
            80..=95 => f32::from(bytes.byte().cast_signed()).signum(),
            _ => f32::from(bytes.byte().cast_signed()) + 0.25,
        };
        // A few bytes are enough for many coordinates.
        let few: Vec<f32> = (0..self.dimensions.min(8)).map(|_| coordinate(bytes)).collect();
        let turn = |at: usize| if (at / few.len()).is_multiple_of(2) { 1.0 } else { -0.5 };
        let all = (0..self.dimensions).map(|at| few[at % few.len()] * turn(at)).collect();
        let embedding = Embedding::new(all).ok()?;
        let length: f32 = embedding.as_slice().iter().map(|it| it * it).sum();
        assert!((length - 1.0).abs() < 1e-3, "of unit length, not {length}");
        Some(embedding)
    }

    fn search(&self, bytes: &mut Bytes<'_>, query: &Embedding) {
        let ranked = self.ranked(query);
        let threshold = match bytes.byte() {
            // One that decides about an entry, or the next to it.
            at @ 0..128 if !ranked.is_empty() => {
                let at = ranked[usize::from(at) % ranked.len()].1;
                *bytes.pick(&[at, at.next_up(), at.next_down()])
            }
            other => f32::from(other.cast_signed()) / 127.0,
        };
        let threshold = threshold.clamp(-1.0, 1.0);
        let k = 1 + bytes.below(70);
        let found = self.index.top_above(query, k, threshold).expect("a usual threshold");
        let found: Vec<_> = found.iter().map(|found| (found.key, found.similarity)).collect();
        let above = ranked.iter().filter(|(_, similarity)| *similarity >= threshold);
        let expected: Vec<_> = above.take(k).copied().collect();
        assert_eq!(found, expected, "the best {k} above {threshold}");
        let best = self.index.best_above(query, threshold).expect("a usual threshold");
        assert_eq!(best.map(|best| best.key), expected.first().map(|best| best.0));
    }

    /// Everything read, scored and sorted.
    fn ranked(&self, query: &Embedding) -> Vec<(u64, f32)> {
        let score = |vector: &Embedding| {
            let (query, vector) = (query.as_slice(), vector.as_slice());
            let dot = dot(query, vector).expect("of equal length");
            let exact: f64 =
                query.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(dot) - exact).abs() < 1e-5, "{dot}, exactly {exact}");
            let four = dot_four(query, [vector; 4]).expect("of equal length");
            assert!(four.iter().all(|it| (f64::from(*it) - exact).abs() < 1e-5));
            dot.clamp(-1.0, 1.0)
        };
        let mut ranked: Vec<_> =
            self.model.iter().map(|(&key, vector)| (key, score(vector))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    fn of_other_dimensions(&self) {
        let other = Embedding::new(vec![1.0; self.dimensions + 1]).expect("finite and not zero");
        let refused = self.index.insert(0, &other);
        assert!(matches!(refused, Err(VectorError::Dimensions { .. })), "{refused:?}");
        let query = Embedding::new(vec![1.0; self.dimensions]).expect("finite and not zero");
        for threshold in [f32::NAN, 1.5, -1.5] {
            assert!(self.index.best_above(&query, threshold).is_err());
        }
    }
}
