//! The kernels of each instruction set, and the choice among them. Unsafe code stays in here.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the processor's features are known only when the program runs")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the processor's features are known only when the program runs")]
mod avx512;
mod kernels;
#[cfg(test)]
mod suite;

#[cfg(test)]
pub(super) use kernels::available;
pub(super) use kernels::{Kernels, LookUp, kernels};
