//! What makes two requests the same, and which requests may share an answer at all.
//!
//! Two equalities are hard. The *scope* is who may see the answer. The *partition* is the scope and
//! everything of a request but its last user text: model, instructions, earlier turns, tools, format,
//! sampling. Only within a partition may similarity decide. The *exact key* is the partition and the
//! last user text, put into its [normal form](Normalizer).
//!
//! All are 128 bits of HighwayHash under a key that is random for each cache, unless instances that
//! share answers were given one, and that travels with its snapshots. Nobody who does not hold that key
//! can search for a collision, and since the scope is part of what is hashed, a tenant could only ever collide with itself. Fields are hashed as they
//! lie, each with its length in front; no canonical text is built and nothing is allocated.

mod feed;
mod fingerprint;
mod normalizer;
mod scope;

pub(crate) use fingerprint::{ExactKey, Fingerprint, Label, PartitionKey, Secret, question};
pub use normalizer::Normalizer;
pub use scope::Scope;
pub(crate) use scope::ScopeKey;
