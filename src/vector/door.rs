//! What the fuzzers reach of the index: codes from the first entries on. No part of the interface.

use crate::vector::arch::kernels;
use crate::vector::{ExactIndex, VectorError};

/// An index that reads up to so many entries whole, where others read five hundred.
///
/// # Errors
/// Those of [`ExactIndex::new`].
pub fn index(dimensions: usize, read_whole: usize) -> Result<ExactIndex, VectorError> {
    ExactIndex::with(dimensions, kernels(), read_whole)
}
