//! The seam between the shared cells and the model checker.
//!
//! Shared state names its atomics and locks through this module. A normal build gets the standard
//! atomics and `parking_lot`; built with `--cfg evenkeel_loom`, the same code runs under loom,
//! which tries every interleaving. The flag is the crate's own because dependencies react to the
//! plain `loom` one.
//!
//! Under the flag only the models can run, the tests named `loom_*`: loom's atomics refuse to work
//! outside of one.

#[cfg(not(evenkeel_loom))]
mod real {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

#[cfg(not(evenkeel_loom))]
pub(crate) use real::*;

#[cfg(evenkeel_loom)]
mod modelled {
    use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// Loom's lock behind the methods of `parking_lot`'s that the crate uses.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics is over")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

#[cfg(evenkeel_loom)]
pub(crate) use modelled::*;
