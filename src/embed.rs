//! Texts as vectors.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{ErrorKind, ProviderError};

/// Turns texts into vectors whose direction is their meaning.
#[async_trait]
pub trait Embedder: Send + Sync + 'static {
    /// Model and revision. Vectors of different ids are never compared.
    fn id(&self) -> &str;

    /// Embeds each text, in order.
    ///
    /// # Errors
    /// When the backend fails, or answers with something that is not one vector a text.
    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError>;
}

#[async_trait]
impl<E: Embedder + ?Sized> Embedder for Arc<E> {
    fn id(&self) -> &str {
        (**self).id()
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        (**self).embed(texts).await
    }
}

/// A vector of unit length with finite coordinates. Holding one proves both, so that comparing two
/// is a dot product and cannot meet a NaN.
#[derive(Clone, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Scales `vector` to unit length.
    ///
    /// # Errors
    /// When it is empty, has a coordinate that is not finite, or is too short to have a direction.
    pub fn new(mut vector: Vec<f32>) -> Result<Self, InvalidVector> {
        if vector.is_empty() {
            return Err(InvalidVector::Empty);
        }
        if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
            return Err(InvalidVector::NotFinite { position });
        }
        // In f64 the squares of the largest f32 cannot overflow.
        let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if length < f64::from(f32::MIN_POSITIVE) {
            return Err(InvalidVector::Zero);
        }
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        Ok(Self(vector.into_boxed_slice()))
    }

    /// The coordinates.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// How many coordinates there are.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({} dimensions)", self.0.len())
    }
}

/// Why a vector is not an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidVector {
    /// It has no coordinates.
    #[error("the vector is empty")]
    Empty,
    /// It has no direction.
    #[error("the vector is zero")]
    Zero,
    /// A coordinate is infinite or not a number.
    #[error("coordinate {position} is not finite")]
    NotFinite {
        /// Which one.
        position: usize,
    },
}

impl From<InvalidVector> for ProviderError {
    fn from(invalid: InvalidVector) -> Self {
        Self::new(ErrorKind::Malformed, "the embedding is not a direction").with_source(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedding_has_unit_length() {
        for vector in [vec![3.0, 4.0], vec![f32::MAX, f32::MAX], vec![1e-30, 0.0]] {
            let embedding = Embedding::new(vector).unwrap();
            let length: f32 = embedding.as_slice().iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        assert_eq!(Embedding::new(vec![]), Err(InvalidVector::Empty));
        assert_eq!(Embedding::new(vec![0.0, -0.0]), Err(InvalidVector::Zero));
        assert_eq!(
            Embedding::new(vec![1.0, f32::NAN]),
            Err(InvalidVector::NotFinite { position: 1 })
        );
        assert_eq!(
            Embedding::new(vec![f32::NEG_INFINITY]),
            Err(InvalidVector::NotFinite { position: 0 })
        );
    }
}
