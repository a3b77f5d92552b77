//! The kernels of each instruction set, and the choice among them. Unsafe code stays in here.

mod kernels;
#[cfg(test)]
mod suite;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the processor's features are known only when the program runs")]
mod x86_64;

#[cfg(test)]
pub(super) use kernels::available;
pub(super) use kernels::{Kernels, LookUp, kernels};
