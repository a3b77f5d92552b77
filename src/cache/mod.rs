//! Answers that are used again.

mod admission;
mod answer;
mod builder;
mod decision;
mod embedding;
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
mod snapshot;
mod stats;
mod store;

pub use admission::{AdmissionPolicy, Bypass, NotStored};
pub use answer::StoredAnswer;
pub use builder::CacheBuilder;
pub use decision::{AnswerJudge, Decision, Grey, SameText, Verification, Verifier, VerifyWhen};
pub use key::{Normalizer, Scope};
pub use lexical::{Conflict, Difference};
pub use lexical_embedder::LexicalEmbedder;
pub use lookup::{Hit, HitId, HitKind, Lookup, NotAHitId, Ticket};
pub use replay::Replay;
pub use semantic_cache::{Invalidate, SemanticCache};
pub use snapshot::{SnapshotError, SnapshotFault};
pub use stats::CacheStats;
