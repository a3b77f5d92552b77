//! A cache that several instances share, as far as it lies outside of this process.
//!
//! Two stores, each optional. A [`CacheStore`] keeps answers under hashes, finds them for the very
//! same request, takes them back by label, and lets one instance lead where several are asked the same
//! at once. A [`VectorIndex`] keeps answers beside the vectors of their questions, and finds them for
//! similar ones. [`MemoryCacheStore`] and [`MemoryVectorIndex`] are the references: what they do is
//! what the words mean, and the suites `testing::conformance::cache` and
//! `testing::conformance::index` (feature `test-util`) hold any other store to it.
//!
//! Stores are dumb: they decide nothing. All that reaches one is a hash under the secret that the
//! instances have in common, never a name, and what comes back is looked at again before it is served.

mod answer;
mod background;
mod contract;
mod epochs;
mod index;
mod lead;
mod memory;
mod memory_index;
mod tiers;
mod writes;

pub use answer::{SharedAnswer, SharedKey, Stamp};
pub use contract::CacheStore;
pub(crate) use epochs::Stamped;
pub use index::{Neighbour, SharedEntry, VectorIndex};
pub use lead::FleetFlight;
pub(crate) use lead::{Lead, pause};
pub use memory::MemoryCacheStore;
pub use memory_index::MemoryVectorIndex;
pub(crate) use tiers::{Tiers, stamps_of};
pub(crate) use writes::Job;
