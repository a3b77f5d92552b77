//! In which words two questions differ.
//!
//! Embeddings hardly see a negation, a number or a name: questions that differ in nothing else lie
//! closer together than most that mean the same. Words show such differences, in a microsecond and
//! without a model. The rules know English; on other texts the lists find nothing, while numbers,
//! names and words that were swapped are still seen.

mod difference;
mod lists;
mod pair;
mod places;
mod vocabulary;
mod words;

pub use difference::{Conflict, Difference};
pub(crate) use words::Words;
