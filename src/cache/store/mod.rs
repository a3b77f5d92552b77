//! Entries in memory, never more and never larger than allowed.
//!
//! Keys are spread over shards, each with a lock and an equal part of the bounds, so that the whole is
//! within its bounds at every instant without a lock of its own. What gives way is chosen by S3-FIFO
//! (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a small queue for
//! newcomers, a main one for what was used again, and the keys of newcomers that were turned out. When
//! a scope holds more than its share of a shard that is full, it gives way to the others.
//!
//! Expired entries are never served. They leave when they are met, and every insertion looks at two
//! more places, so they are gone after half as many insertions as there are entries.

mod chain;
mod fifo;
mod memory;
mod shard;
mod shares;

pub(crate) use memory::{Bounds, MemoryStore};
pub(crate) use shard::{Entry, EntryId, Found, Gone, Identity, Removed};
