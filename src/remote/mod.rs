//! What everything that asks another machine's store has in common.
//!
//! Stores are shared by many instances and can be slow, full or dead. No call may wait for that
//! longer than a fixed time, and no more than a handful may find out the hard way: every operation
//! has a deadline, and a [`Breaker`] stops asking a store that keeps failing. [`Guarded`] is the two
//! around one store. What a mechanism does without its store is the mechanism's own decision.

mod breaker;
mod error;
mod guarded;

pub use breaker::{Breaker, BreakerState, Permit};
pub use error::StoreError;
pub use guarded::Guarded;
