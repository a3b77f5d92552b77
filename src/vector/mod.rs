//! Vectors compared and searched.

mod arch;
mod bound;
mod chunk;
mod codes;
mod entries;
mod error;
mod frame;
mod index;
#[cfg(test)]
mod laws;
mod leaders;
mod portable;
mod product;
mod question;
mod rotation;
mod rows;
mod search;
mod slack;

pub use error::VectorError;
pub use index::VectorIndex;
pub use leaders::Match;
pub use product::{cosine, dot, dot_four};
