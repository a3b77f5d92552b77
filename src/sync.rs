//! The seam between the shared cells and the model checker.
//!
//! Shared state names its atomics and locks through this module. A normal build gets the standard
//! atomics and `parking_lot`; built with `--cfg evenkeel_loom`, the same code runs under loom,
//! which tries every interleaving. The flag is the crate's own because dependencies react to the
//! plain `loom` one.

#[cfg(not(evenkeel_loom))]
mod real {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(not(evenkeel_loom))]
pub(crate) use real::*;
