//! Answers that are used again.

mod admission;
mod answer;
mod key;
mod lexical;
mod store;

pub use admission::{AdmissionPolicy, Bypass, NotStored};
pub use answer::StoredAnswer;
pub use key::{Normalizer, Scope};
pub use lexical::{Conflict, Difference};
