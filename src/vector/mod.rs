//! Vectors compared and searched.

mod arch;
mod error;
mod portable;
mod product;
mod slack;

pub use error::VectorError;
pub use product::{cosine, dot, dot_four};
