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
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(not(evenkeel_loom))]
pub(crate) use real::*;

#[cfg(evenkeel_loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    use loom::sync::MutexGuard;
    use loom::sync::atomic;

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

    /// Loom's atomic of one type, with a second one that every access counts first.
    ///
    /// Loom swaps an access only with the last one it conflicts with. A load of the same thread just
    /// before an exchange hides another thread's earlier load, and orders are never tried in which
    /// that one sees the exchange. Counts conflict with one another, whoever makes them; relaxed,
    /// they order nothing.
    macro_rules! counted {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name {
                cell: atomic::$name,
                accesses: atomic::AtomicUsize,
            }

            #[allow(dead_code, reason = "each type has the methods of all")]
            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self { cell: atomic::$name::new(value), accesses: Default::default() }
                }

                fn counted(&self) -> &atomic::$name {
                    self.accesses.fetch_add(1, Ordering::Relaxed);
                    &self.cell
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.counted().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.counted().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.counted().swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.counted().compare_exchange(current, new, success, failure)
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }

                pub(crate) fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut before = self.load(fetch);
                    while let Some(after) = update(before) {
                        match self.compare_exchange(before, after, set, fetch) {
                            Ok(before) => return Ok(before),
                            Err(current) => before = current,
                        }
                    }
                    Err(before)
                }
            }
        };
    }

    macro_rules! counted_number {
        ($name:ident, $value:ty) => {
            counted!($name, $value);

            #[allow(dead_code, reason = "each type has the methods of all")]
            impl $name {
                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.counted().fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.counted().fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.counted().fetch_or(value, order)
                }
            }
        };
    }

    counted!(AtomicBool, bool);
    counted_number!(AtomicU32, u32);
    counted_number!(AtomicU64, u64);
    counted_number!(AtomicUsize, usize);
}

#[cfg(evenkeel_loom)]
pub(crate) use modelled::*;
