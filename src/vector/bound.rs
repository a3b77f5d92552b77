//! The most that an entry's cosine with the query can be, given its code.
//!
//! Let `q` be the query, `x` an entry, `m` the frame's mean, `R` its rotation. With `z = R(q - m)`
//! and `y = R(x - m)`,
//!
//! ```text
//! q.x = q.m + m.(x - m) + z.y
//! y   = alpha c + beta e          c along the signs of y, e orthogonal to it, both of length 1
//! z.y = alpha t + beta (z.e)      t = z.c
//! z.e <= sqrt(z.z - t^2)          Cauchy-Schwarz, in what is orthogonal to c
//! ```
//!
//! `t` is a sum of table entries and known to lie in an interval, from `low` to `low + width`. The
//! sum of both terms grows with `t` up to its peak, where `beta t = alpha sqrt(z.z - t^2)`; as long as
//! the upper end is before the peak, it bounds the sum. Beyond, an entry is as close as its code can
//! tell, and is kept.
//!
//! Everything here is rounded so that a bound is never below the score that the entry would get:
//! the terms for that are in `Question`.
//!
//! The first bound is that of RaBitQ's codes (Gao, Long 2024), made unconditional: there it holds
//! with a probability, here always.

use crate::vector::slack;

/// Entries that are bounded together: a register of codes.
pub(super) const LANES: usize = 32;

/// The same byte of 32 codes. Aligned, so that no load of one touches two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Stripe(pub(super) [u8; LANES]);

/// Of 32 entries, the numbers that belong to their codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Traits {
    pub(super) alpha: [f32; LANES],
    pub(super) beta: [f32; LANES],
    /// `m.(x - m)`
    pub(super) bias: [f32; LANES],
}

/// Of 32 entries, the numbers that belong to their second plane.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FinerTraits {
    pub(super) gamma: [f32; LANES],
    pub(super) overlap: [f32; LANES],
}

/// The query's part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// `t` is at least this, plus `step` for each unit of the tables' sum.
    pub(super) low: f32,
    pub(super) step: f32,
    /// How much larger `t` can be than at least.
    pub(super) width: f32,
    /// `z.z`
    pub(super) square: f32,
    /// `q.m`, and the slack for all that was rounded.
    pub(super) bias: f32,
}

impl Bound {
    /// A bit for each entry that can reach `floor`.
    #[expect(
        clippy::needless_range_loop,
        reason = "five arrays of one length; becomes vector code"
    )]
    #[inline(always)]
    pub(super) fn reaching(&self, sums: &[u16; LANES], traits: &Traits, floor: f32) -> u32 {
        let mut mask = 0;
        for lane in 0..LANES {
            let (alpha, beta) = (traits.alpha[lane], traits.beta[lane]);
            let high = self.low + self.step * f32::from(sums[lane]) + self.width;
            let left = self.square - high * high;
            // One instruction; `f32::max` is three, for the sake of NaN, which is never here.
            let root = if left > 0.0 { left } else { 0.0 }.sqrt();
            let most = self.bias + traits.bias[lane] + alpha * high + beta * root;
            let before_the_peak = high * beta <= BEFORE * alpha * root;
            mask |= u32::from(!before_the_peak | (most >= floor)) << lane;
        }
        mask
    }
}

/// Below one by more than the products that are compared can be off.
const BEFORE: f32 = 0.9999;

/// The same from two sign vectors at once.
///
/// With `P` the projection to the plane of `c` and `c2`, `z.y = Pz.Py + (z - Pz).(y - Py)`: the
/// first is exact in `t = (z.c, z.c2)`, the second is bounded by the product of the lengths.
#[derive(Debug, Clone, Copy)]
pub(super) struct FinerBound {
    low: f64,
    step: f64,
    half_width: f64,
    square: f64,
    bias: f64,
    /// What the error of `alpha` and `gamma` can change, in parts of the product of two lengths.
    rounded: f64,
}

/// Sign vectors closer to parallel than this span no plane to speak of. At less, a coefficient errs
/// at most twice as much as `alpha` and `gamma` do.
const PARALLEL: f64 = 0.5;

impl FinerBound {
    pub(super) fn new(bound: Bound, dimensions: usize) -> Self {
        Self {
            low: bound.low.into(),
            step: bound.step.into(),
            half_width: f64::from(bound.width) / 2.0,
            square: bound.square.into(),
            bias: bound.bias.into(),
            // Two coefficients with twice the error, each times what it is multiplied with, and
            // the same again for what is taken from the square.
            rounded: 12.0 * slack::of_a_dot(dimensions),
        }
    }

    /// The most that the entry in `lane` can score, whose two codes are worth `sums`.
    pub(super) fn most(
        &self,
        sums: [u16; 2],
        lane: usize,
        traits: &Traits,
        finer: &FinerTraits,
    ) -> f64 {
        let [alpha, beta, bias] =
            [traits.alpha, traits.beta, traits.bias].map(|of| f64::from(of[lane]));
        let [gamma, overlap] = [finer.gamma, finer.overlap].map(|of| f64::from(of[lane]));
        if overlap.abs() > PARALLEL {
            return f64::INFINITY;
        }
        let area = 1.0 - overlap * overlap;
        // Py = first * c + second * c2
        let first = (alpha - overlap * gamma) / area;
        let second = (gamma - overlap * alpha) / area;
        let t = sums.map(|sum| self.low + self.half_width + self.step * f64::from(sum));
        let inside = first * t[0] + second * t[1] + (first.abs() + second.abs()) * self.half_width;
        // |Pz| as the middle of the intervals has it, less what their ends can take away.
        let projected = (t[0] * t[0] + t[1] * t[1] - 2.0 * overlap * t[0] * t[1]) / area;
        let reach = self.half_width * (2.0 / (1.0 - overlap.abs())).sqrt();
        let projected = (projected.max(0.0).sqrt() - reach).max(0.0);
        let y_square = alpha * alpha + beta * beta;
        let y_rest = y_square * (1.0 + self.rounded) - first * alpha - second * gamma;
        let z_rest = self.square - projected * projected;
        let outside = (y_rest.max(0.0) * z_rest.max(0.0)).sqrt();
        self.bias + bias + inside + outside + self.rounded * (y_square * self.square).sqrt()
    }
}
