//! A plain exact index: the nearest vectors by a scan over all of them.

use parking_lot::RwLock;

use crate::embed::Embedding;

/// Why a vector cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// It has another number of dimensions than the index.
    #[error("the vector has {given} dimensions, the index {expected}")]
    Dimensions {
        /// What the index holds.
        expected: usize,
        /// What was given.
        given: usize,
    },
    /// An index of nothing.
    #[error("an index needs at least one dimension")]
    NoDimensions,
}

/// A stored vector that is near.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// What it was stored under.
    pub key: u64,
    /// The cosine of the angle between the two.
    pub similarity: f32,
}

/// Vectors by key, searched exactly.
#[derive(Debug)]
pub struct VectorIndex {
    dimensions: usize,
    rows: RwLock<Vec<(u64, Embedding)>>,
}

impl VectorIndex {
    /// An empty index.
    ///
    /// # Errors
    /// When `dimensions` is zero.
    pub fn new(dimensions: usize) -> Result<Self, VectorError> {
        match dimensions {
            0 => Err(VectorError::NoDimensions),
            _ => Ok(Self { dimensions, rows: RwLock::default() }),
        }
    }

    /// Stores a vector, in place of the one that was stored under `key`.
    ///
    /// # Errors
    /// When it has another number of dimensions.
    pub fn insert(&self, key: u64, vector: &Embedding) -> Result<(), VectorError> {
        self.check(vector)?;
        let mut rows = self.rows.write();
        rows.retain(|(other, _)| *other != key);
        rows.push((key, vector.clone()));
        Ok(())
    }

    /// Removes a vector; whether there was one.
    pub fn remove(&self, key: u64) -> bool {
        let mut rows = self.rows.write();
        let before = rows.len();
        rows.retain(|(other, _)| *other != key);
        rows.len() < before
    }

    /// The nearest vector that is at least as near as `threshold`.
    ///
    /// # Errors
    /// When `query` has another number of dimensions.
    pub fn best_above(
        &self,
        query: &Embedding,
        threshold: f32,
    ) -> Result<Option<Match>, VectorError> {
        Ok(self.top_above(query, 1, threshold)?.pop())
    }

    /// The `k` nearest vectors that are at least as near as `threshold`, nearest first.
    ///
    /// # Errors
    /// When `query` has another number of dimensions.
    pub fn top_above(
        &self,
        query: &Embedding,
        k: usize,
        threshold: f32,
    ) -> Result<Vec<Match>, VectorError> {
        self.check(query)?;
        let rows = self.rows.read();
        let all = rows.iter().map(|(key, row)| Match { key: *key, similarity: dot(query, row) });
        let mut near: Vec<_> = all.filter(|found| found.similarity >= threshold).collect();
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.key.cmp(&b.key)));
        near.truncate(k);
        Ok(near)
    }

    /// How many vectors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many coordinates a vector has.
    #[must_use]
    pub const fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// What the vectors take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.len() * (self.dimensions * size_of::<f32>() + size_of::<(u64, Embedding)>())
    }

    /// Removes all vectors.
    pub fn clear(&self) {
        self.rows.write().clear();
    }

    fn check(&self, vector: &Embedding) -> Result<(), VectorError> {
        let (expected, given) = (self.dimensions, vector.dimensions());
        if given == expected { Ok(()) } else { Err(VectorError::Dimensions { expected, given }) }
    }
}

fn dot(a: &Embedding, b: &Embedding) -> f32 {
    let (a, b) = (a.as_slice().chunks_exact(8), b.as_slice().chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    rest + lanes.iter().sum::<f32>()
}
