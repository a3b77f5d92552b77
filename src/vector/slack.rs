//! How far `f32` arithmetic can be from the real numbers: what every bound has to add.

/// The most that one rounding changes a number, in parts of it.
pub(super) const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

/// The error of a kernel's dot product, in parts of the sum of its absolute products.
///
/// A product passes through its own rounding and the additions of its lane, of the halving and of
/// the rest: at most a quarter of `dimensions`, since no kernel has less than four lanes; six, since
/// none has more than 64; and as many again for what is left over by the 64.
pub(super) fn of_a_dot(dimensions: usize) -> f64 {
    (dimensions as f64 / 4.0 + 32.0) * ROUNDING
}

/// An `f32` that is not below `value`, and above it by next to nothing.
pub(super) fn up(value: f64) -> f32 {
    (value as f32).next_up()
}
