//! What the module refuses.

use crate::embed::InvalidVector;

/// Why vectors cannot be compared, stored or searched for.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// Two vectors that were to be compared have different lengths.
    #[error("the vectors have {left} and {right} coordinates")]
    Lengths {
        /// Coordinates of the first.
        left: usize,
        /// Coordinates of the second.
        right: usize,
    },
    /// The first vector is none that can be compared.
    #[error("first vector: {0}")]
    Left(#[source] InvalidVector),
    /// The second vector is none that can be compared.
    #[error("second vector: {0}")]
    Right(#[source] InvalidVector),
    /// The product of two finite vectors is larger than an `f32`.
    #[error("the dot product is too large for an f32")]
    Overflow,
    /// An embedding does not fit the index.
    #[error("the embedding has {found} dimensions, the index has {expected}")]
    Dimensions {
        /// Of the index.
        expected: usize,
        /// Of the embedding.
        found: usize,
    },
    /// An index cannot have this many dimensions.
    #[error("an index of {dimensions} dimensions: there must be 1 to {most}")]
    DimensionsOutOfRange {
        /// What was asked for.
        dimensions: usize,
        /// The most an index can have.
        most: usize,
    },
    /// No cosine compares with this threshold.
    #[error("threshold {threshold} is not between -1 and 1")]
    Threshold {
        /// What was given.
        threshold: f32,
    },
    /// The index holds as many entries as it can count.
    #[error("the index is full: it holds {entries} entries")]
    Full {
        /// How many it holds.
        entries: usize,
    },
}
