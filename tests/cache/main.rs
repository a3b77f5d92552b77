//! The laws of the cache: what it never does, whatever is asked of it.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod bounds;
mod canaries;
mod decisions;
mod doubles;
mod embedders;
mod isolation;
mod neighbours;
mod sharing;
mod snapshots;
#[expect(dead_code, reason = "the laws of the client use the same stores, in other moods")]
mod stores;
