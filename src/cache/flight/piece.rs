//! What flights are told apart by, and what they carry.

use std::hash::Hash;
use std::sync::Arc;

use crate::chunk::Chunk;
use crate::error::Error;

/// What makes calls identical: a digest of the whole request and of whom it may be shared with.
///
/// Calls of equal keys receive the same answer, so whatever must not be shared belongs in the key;
/// 128 bits or more, or strangers will meet.
pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Key for K {}

/// One item of an answer. Every participant gets a clone, so a clone should cost a pointer.
///
/// The methods are called under the flight's lock. They must be quick and must not panic.
pub trait Piece: Clone + Send + 'static {
    /// How the upstream work fails. Every participant gets a clone.
    type Error: Clone + Send + 'static;

    /// Bytes it keeps in memory beside its own size. Always the same for one piece.
    fn bytes(&self) -> usize;

    /// Whether the answer is complete with it. Nothing may follow.
    fn is_last(&self) -> bool;
}

impl Piece for Arc<Chunk> {
    type Error = Error;

    fn bytes(&self) -> usize {
        size_of::<Chunk>() + Chunk::bytes(self)
    }

    fn is_last(&self) -> bool {
        self.is_done()
    }
}
