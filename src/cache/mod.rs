//! Answers that are used again.

mod admission;
mod answer;
mod builder;
mod decision;
mod embedding;
mod inner;
mod key;
mod lexical;
mod lookup;
mod partitions;
mod search;
mod semantic_cache;
mod stats;
mod store;

pub use admission::{AdmissionPolicy, Bypass, NotStored};
pub use answer::StoredAnswer;
pub use builder::CacheBuilder;
pub use decision::{AnswerJudge, Decision, Grey, SameText, Verification, Verifier, VerifyWhen};
pub use key::{Normalizer, Scope};
pub use lexical::{Conflict, Difference};
pub use lookup::{Hit, HitId, HitKind, Lookup, NotAHitId, Ticket};
pub use semantic_cache::{Invalidate, SemanticCache};
pub use stats::CacheStats;
