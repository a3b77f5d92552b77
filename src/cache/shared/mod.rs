//! A cache that several instances share, as far as it lies outside of this process.
//!
//! Two stores, each optional. A [`CacheStore`] keeps answers under hashes, finds them for the very
//! same request, takes them back by label, and lets one instance lead where several are asked the same
//! at once. A [`VectorIndex`] keeps answers beside the vectors of their questions, and finds them for
//! similar ones. [`MemoryCacheStore`] and [`MemoryVectorIndex`] are the references: what they do is
//! what the words mean, and the suites `testing::conformance::cache` and
//! `testing::conformance::index` (feature `test-util`) hold any other store to it.
//!
//! ```
//! use evenkeel::cache::shared::MemoryCacheStore;
//! use evenkeel::cache::{Lookup, SemanticCache, Tier};
//! use evenkeel::{CallOptions, ChatRequest, ChatResponse};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let store = MemoryCacheStore::default(); // in production one that all instances reach
//! let secret = [7; 32]; // in production random, and kept like a password
//! let instance = || SemanticCache::builder().secret(secret).shared(store.clone()).build();
//! let (one, other) = (instance()?, instance()?);
//!
//! let (request, options) = (ChatRequest::new("m").user("Why?"), CallOptions::new());
//! let Lookup::Miss(ticket) = one.lookup(&request, &options).await else { panic!("it is new") };
//! one.store(ticket, ChatResponse::text_only("Because."))?;
//! # while one.stats().shared_writes == 0 { tokio::task::yield_now().await }
//! let Lookup::Hit(hit) = other.lookup(&request, &options).await else { panic!("it is there") };
//! assert_eq!(hit.tier, Tier::Shared);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! **On the way of a call.** An answer that is kept in this process is served as ever. Otherwise, once
//! for all calls that ask the same at the same time: the shared store is asked for the very same
//! request, then this process for a similar question, then the shared index, whose neighbours go
//! through the same decision as those from here. What was found is kept here for a minute at the most.
//! With [`FleetFlight`], the instances then agree on who fetches the answer. What was fetched is
//! written later, by a task that lives as long as there is something to write; no call waits for it.
//!
//! **Taking back.** Each answer is stamped with the epochs its labels (all, namespace, tenant, tags)
//! were in before it was fetched. To take back is to advance an epoch. An instance finds that out
//! within a second, for copies and for answers it fetched itself.
//!
//! **Guarantees.** Stores are dumb: they decide nothing. All that reaches one in place of a name is a
//! hash under the secret that the instances have in common. An answer that comes back is served under
//! the scope and to the request it was stored for, or not at all; one that came with another scope is a
//! miss and an event. A store that fails, hangs or makes no sense makes misses and costs a call 15 ms
//! (an index 50 ms) at the most; after five failures in a row it is left alone for a while. While a
//! store does not answer, what is here is served on. What waits to be written is bounded, and the
//! newest is dropped and counted. An answer is fetched upstream once, and once more for each lead that
//! ended without one, as long as the store answers and nobody has waited too long.
//!
//! **Not guaranteed.** That whoever can write to a store cannot place a false answer for a scope and
//! a request whose hashes it has seen: an adapter seals what it writes. Nothing taken back while the
//! store was away is known here before it is back. What waits to be written when a cache is dropped is
//! lost.
//!
//! **Cost.** An exact hit in this process costs two loads more than without a store, and at most once
//! a second somebody asks the store for one number. A miss is one round trip, of another one for
//! labels that were not seen lately; with [`FleetFlight`] two more.

mod answer;
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
