//! Answers that are used again, for identical and for equivalent questions.
//!
//! A [`SemanticCache`] is asked before a provider is. First it looks for the very same request, by a
//! hash. Then, where it has an [`Embedder`](crate::Embedder), it looks among the requests that differ
//! in nothing but their last user text for the nearest ones, and a [`Decision`] tells whether the
//! answer to one of them may serve. A miss gives a [`Ticket`], which takes the fresh answer.
//!
//! ```
//! use evenkeel::cache::{Decision, LexicalEmbedder, Lookup, SemanticCache};
//! use evenkeel::{CallOptions, ChatRequest, ChatResponse};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let cache = SemanticCache::builder()
//!     .embedder(LexicalEmbedder::new())
//!     .decision(Decision::tiered())
//!     .build()?;
//! let ask = |text: &str| ChatRequest::new("m").user(text);
//! let options = CallOptions::new();
//!
//! if let Lookup::Miss(ticket) = cache.lookup(&ask("How do I enable dark mode?"), &options).await {
//!     cache.store(ticket, ChatResponse::text_only("In the settings."))?;
//! }
//! let again = cache.lookup(&ask("how do i enable the dark mode"), &options).await;
//! assert!(matches!(again, Lookup::Hit(_)));
//! let other = cache.lookup(&ask("How do I disable dark mode?"), &options).await;
//! assert!(matches!(other, Lookup::Miss(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! Instances may [share](shared) what they fetch, through a store and an index of their own.
//!
//! **Guarantees.** Nothing is served across a [`Scope`], nor to a request that differs in anything but
//! its last user text: these are equalities, never similarities. Only complete answers are kept. What
//! is held stays within its bounds after every operation. An embedder that fails, hangs, panics or
//! changes its dimensions makes misses, never errors. Nothing is embedded for a request that may not be
//! cached, nor where there is nothing to find. A call can only tighten what the cache allows. A damaged
//! snapshot is an error.
//!
//! **Not guaranteed.** That a similar question has the same answer: [`Decision::Threshold`] and
//! [`Decision::Tiered`] were chosen on labelled questions, which are not yours, and
//! [`Decision::Calibrated`] promises what its judge can tell and only while the traffic stays what it
//! learnt from. The rules on words know English. That a tenant cannot
//! shift what is learnt for all: it teaches at most its part of it, and tenants that do not trust one
//! another at all have caches of their own where a decision learns. An embedder that blocks its thread blocks the call.
//!
//! **Cost.** An exact hit: one pass of a keyed hash over the request, one lock of one shard, no
//! allocation. A similar one: the embedder, an exact search, and some microseconds for the words. An
//! entry takes about half a kilobyte beside its answer, its question and its vector.

mod admission;
mod answer;
mod builder;
mod decision;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;
mod embedding;
mod exchange;
pub mod flight;
mod inner;
mod key;
mod lexical;
mod lexical_embedder;
mod lookup;
mod partitions;
mod replay;
mod search;
mod semantic_cache;
pub mod shared;
mod snapshot;
mod stats;
mod store;

pub use crate::report::{HitId, NotAHitId};
pub use admission::{AdmissionPolicy, Bypass, NotStored};
pub use answer::StoredAnswer;
pub use builder::CacheBuilder;
pub use decision::{AnswerJudge, Decision, Grey, SameText, Verification, Verifier, VerifyWhen};
pub use key::{Normalizer, Scope};
pub use lexical::{Conflict, Difference};
pub use lexical_embedder::LexicalEmbedder;
pub use lookup::{Hit, HitKind, Lookup, Ticket, Tier};
pub(crate) use replay::Player;
pub use replay::Replay;
pub use semantic_cache::{Invalidate, SemanticCache};
pub use snapshot::{SnapshotError, SnapshotFault};
pub use stats::CacheStats;
