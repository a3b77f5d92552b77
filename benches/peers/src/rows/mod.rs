//! What is compared, one file a subject.

pub(crate) mod complete;
pub(crate) mod eviction;
pub(crate) mod hit;
pub(crate) mod pick;
pub(crate) mod queue;
pub(crate) mod quota;
mod row;
pub(crate) mod stream;
pub(crate) mod vector;

pub(crate) use row::{Goal, Row, all};
