//! What is compared, one file a subject.

pub(crate) mod complete;
pub(crate) mod pick;
mod row;
pub(crate) mod vector;

pub(crate) use row::{Goal, Row, all};
