//! The functions that differ between instruction sets.

use std::sync::OnceLock;

use crate::vector::bound::{Bound, Stripe, Traits};
use crate::vector::portable;

/// One implementation of every kernel. Slices that belong together have equal length.
#[derive(Debug)]
pub(in crate::vector) struct Kernels {
    /// As a person would call it.
    #[cfg_attr(not(test), expect(dead_code, reason = "names the kernel a test failed with"))]
    pub(in crate::vector) name: &'static str,
    /// `a.b`
    pub(in crate::vector) dot: fn(&[f32], &[f32]) -> f32,
    /// `a` with each of four rows: every load of `a` serves four products.
    pub(in crate::vector) dot_four: fn(&[f32], [&[f32]; 4]) -> [f32; 4],
    /// `[a.b, a.a, b.b]` in one pass.
    pub(in crate::vector) products: fn(&[f32], &[f32]) -> [f32; 3],
    /// The unnormalised Walsh-Hadamard transform, in place, of a power of two of coordinates.
    pub(in crate::vector) hadamard: fn(&mut [f32]),
    /// What each choice of four signs is worth, from 0 for the worst: the sum of `|z| + z` or
    /// `|z| - z`, to the nearest whole number. The sum of `2 |z|` must be below 255.
    pub(in crate::vector) tables: fn(&[[f32; 4]], &mut [[u8; 16]]),
    /// Where the processor looks up a whole register of bytes at once. Without it, reading codes
    /// is slower than reading the vectors themselves.
    pub(in crate::vector) look_up: Option<LookUp>,
}

/// What is done with the codes of 32 entries.
#[derive(Debug)]
pub(in crate::vector) struct LookUp {
    pub(in crate::vector) sums: Sums,
    /// A bit for each entry that can reach the floor.
    pub(in crate::vector) reaching: Reaching,
}

/// Adds up what 32 codes are worth: of byte `r` of code `i`, which is `codes[r].0[i]`, the low half
/// selects from the first half of `tables[r]`, the high half from the second. No table entry is
/// above 127 and no sum above `u16::MAX`.
pub(in crate::vector) type Sums = fn(codes: &[Stripe], tables: &Tables) -> [u16; 32];

/// The sums, and what [`Bound::reaching`] makes of them.
pub(in crate::vector) type Reaching =
    fn(codes: &[Stripe], tables: &Tables, bound: &Bound, traits: &Traits, floor: f32) -> u32;

/// Two tables of 16 for each byte of a code.
pub(in crate::vector) type Tables = [[u8; 32]];

static PORTABLE: Kernels = Kernels {
    name: "portable",
    dot: portable::dot,
    dot_four: portable::dot_four,
    products: portable::products,
    hadamard: portable::hadamard,
    tables: portable::tables,
    look_up: None,
};

/// The best that this processor can run, decided once.
#[inline]
pub(in crate::vector) fn kernels() -> &'static Kernels {
    static BEST: OnceLock<&Kernels> = OnceLock::new();
    BEST.get_or_init(|| available().next().unwrap_or(&PORTABLE))
}

/// All that this processor can run, the best first.
pub(in crate::vector) fn available() -> impl Iterator<Item = &'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let native = [super::avx512::avx512(), super::avx2::avx2()];
    #[cfg(not(target_arch = "x86_64"))]
    let native = [];
    native.into_iter().flatten().chain([&PORTABLE])
}
