//! What a shared index is asked, and what it answers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::answer::SharedAnswer;
use crate::embed::Embedding;
use crate::remote::StoreError;

/// Where similar questions of several instances are found, with their answers beside their vectors.
///
/// Every method is one round trip. An error says that the index did not answer; what it then did is
/// unknown, and the same may be asked again. An index may be approximate and may forget: what it does
/// not find is fetched again. What it must not do is to look beyond the partition.
///
/// Dropping a future leaves open whether the index did what was asked.
#[async_trait]
pub trait VectorIndex: Send + Sync + 'static {
    /// The entries of a partition whose cosine with `vector` is `at_least` that, nearest first, those
    /// that have expired left out. A handful: the first four are looked at.
    ///
    /// Vectors of another number of dimensions than `vector` has are not comparable and not found.
    ///
    /// # Errors
    /// Where the index could not be asked, and [`StoreError::Garbled`] where an entry is not what was
    /// inserted.
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Result<Vec<Neighbour>, StoreError>;

    /// Inserts an entry, in place of the one of the same partition and question.
    ///
    /// # Errors
    /// Where the index could not be asked or takes no such entry.
    async fn insert(&self, entry: &SharedEntry) -> Result<(), StoreError>;

    /// Removes the entry of a question, if there is one.
    ///
    /// # Errors
    /// Where the index could not be asked.
    async fn remove(&self, partition: u128, exact: u128) -> Result<(), StoreError>;

    /// Removes entries that have expired, as many as suit one round trip; how many. Nothing asks for
    /// it by itself: call it now and then, from one instance.
    ///
    /// # Errors
    /// Where the index could not be asked.
    async fn clean_up(&self) -> Result<u64, StoreError>;
}

/// A question that was answered, as it lies in an index.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct SharedEntry {
    /// Where it may be found: a hash of scope, embedder, and everything of the request but its last
    /// user text.
    pub partition: u128,
    /// The hash of the whole request.
    pub exact: u128,
    /// The last user text.
    pub question: Arc<str>,
    /// The question's vector. An index may round its coordinates: whoever decides compares anew, by
    /// what it gets back.
    pub vector: Embedding,
    /// The answer, with how long it is to be served.
    pub answer: SharedAnswer,
}

impl SharedEntry {
    /// An entry.
    #[must_use]
    pub fn new(
        (partition, exact): (u128, u128),
        question: impl Into<Arc<str>>,
        vector: Embedding,
        answer: SharedAnswer,
    ) -> Self {
        Self { partition, exact, question: question.into(), vector, answer }
    }

    /// Bytes of memory, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.question.len()
            + self.vector.dimensions() * size_of::<f32>()
            + self.answer.bytes()
    }
}

impl fmt::Debug for SharedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedEntry")
            .field("question", &self.question.len())
            .field("vector", &self.vector)
            .finish_non_exhaustive()
    }
}

/// An entry near the vector that was asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Neighbour {
    /// The cosine of the two vectors, as near as the index knows it.
    pub similarity: f32,
    /// The entry, with what is left of its answer's time.
    pub entry: SharedEntry,
}

impl Neighbour {
    /// An entry at so much similarity.
    #[must_use]
    pub const fn new(similarity: f32, entry: SharedEntry) -> Self {
        Self { similarity, entry }
    }
}

#[async_trait]
impl<S: VectorIndex + ?Sized> VectorIndex for Arc<S> {
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Result<Vec<Neighbour>, StoreError> {
        (**self).nearest(partition, vector, at_least).await
    }

    async fn insert(&self, entry: &SharedEntry) -> Result<(), StoreError> {
        (**self).insert(entry).await
    }

    async fn remove(&self, partition: u128, exact: u128) -> Result<(), StoreError> {
        (**self).remove(partition, exact).await
    }

    async fn clean_up(&self) -> Result<u64, StoreError> {
        (**self).clean_up().await
    }
}
