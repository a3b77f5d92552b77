//! A query, prepared for bounding the codes of one frame.

use crate::vector::arch::kernels;
use crate::vector::bound::{Bound, FinerBound};
use crate::vector::frame::Frame;
use crate::vector::slack::{self, ROUNDING};

/// The largest entry of a table: two of them must fit a byte.
const HIGHEST: f32 = 127.0;

/// The largest sum of table entries: a little below what 16 bits hold.
const HIGHEST_SUM: f32 = 65_000.0;

/// No unit vector is further than this from the mean of others, rounding included.
const LONGEST: f64 = 2.01;

/// A query as seen from a frame: the tables that say what each half byte of a code is worth, and
/// the numbers that make a bound of the sum.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) tables: Vec<[u8; 32]>,
    pub(super) bound: Bound,
    pub(super) finer: FinerBound,
}

impl Question {
    /// Takes as long as the comparison with some hundred codes.
    pub(super) fn new(frame: &Frame, query: &[f32]) -> Self {
        let [_, z] = frame.enter(query);
        let square = f64::from((kernels().dot)(&z, &z)) * (1.0 + 2.0 * slack::of_a_dot(z.len()));
        let quarters = Quarters::of(&z);
        let common = f64::from((kernels().dot)(query, &frame.mean));
        let bound = quarters.bound(square, common + error(frame, square.sqrt()));
        Self { tables: quarters.tables(), bound, finer: FinerBound::new(bound, z.len()) }
    }
}

/// What all the arithmetic in `f32` between a vector and its bound can add up to.
fn error(frame: &Frame, length: f64) -> f64 {
    let dot = slack::of_a_dot(frame.mean.len());
    // The exact score that the bound must not be below, and the query's product with the mean.
    let products = 2.02 * dot;
    // An entry's product with the mean, taken after rounding what it is beyond the mean.
    let bias = LONGEST * (dot + ROUNDING);
    // Both sides were rotated, and rounded before.
    let turned = 2.1 * (frame.rotation.error() + ROUNDING) * LONGEST * length;
    // The error of `alpha`, times the product of two lengths at most.
    let alpha = LONGEST * dot * length;
    // Sixteen steps from the sum to the bound, on terms that are no larger than this.
    let bound = 16.0 * ROUNDING * (4.0 + 3.0 * LONGEST * length);
    products + bias + turned + alpha + bound
}

/// The coordinates of a rotated query by four, as many as a half byte has signs for.
struct Quarters {
    /// Scaled so that a table entry is a whole number; zeros fill the last byte.
    scaled: Vec<[f32; 4]>,
    /// What the unit of a table entry is worth.
    step: f32,
    /// The sum of all `|z| / sqrt(n)`: what the entries are offset by, over all tables.
    offset: f64,
}

impl Quarters {
    fn of(z: &[f32]) -> Self {
        let root = (z.len() as f32).sqrt();
        let mut scaled = vec![[0.0; 4]; 2 * z.len().div_ceil(8)];
        scaled.as_flattened_mut().iter_mut().zip(z).for_each(|(to, z)| *to = z / root);
        let sizes = scaled.iter().map(size);
        let (widest, offset) = sizes.fold((0.0_f32, 0.0), |(widest, offset), size| {
            (widest.max(size), offset + f64::from(size))
        });
        let highest = HIGHEST.min((HIGHEST_SUM / scaled.len() as f32).floor());
        // Not zero, even if the query is the mean.
        let step = (2.0 * widest / highest).max(f32::MIN_POSITIVE);
        scaled.as_flattened_mut().iter_mut().for_each(|z| *z /= step);
        Self { scaled, step, offset }
    }

    fn tables(&self) -> Vec<[u8; 32]> {
        let highest = HIGHEST.min((HIGHEST_SUM / self.scaled.len() as f32).floor()) as u8;
        let (pairs, _) = self.scaled.as_chunks::<2>();
        let both = |[low, high]: &[[f32; 4]; 2]| {
            let mut tables = [0; 32];
            tables[..16].copy_from_slice(&table(low, highest));
            tables[16..].copy_from_slice(&table(high, highest));
            tables
        };
        pairs.iter().map(both).collect()
    }

    /// `square` and `common` are not below the true values.
    fn bound(&self, square: f64, common: f64) -> Bound {
        let step = f64::from(self.step);
        // Half a step for each entry, and what rounding adds to the half; then the arithmetic on
        // the offsets, here and where the bound is evaluated.
        let halves = self.scaled.len() as f64 * step * 0.5002;
        let slack = halves + 48.0 * ROUNDING * self.offset;
        Bound {
            low: -slack::up(self.offset + slack),
            step: self.step,
            width: slack::up(2.0 * slack + 4.0 * ROUNDING * self.offset),
            square: slack::up(square * (1.0 + 16.0 * ROUNDING)),
            bias: slack::up(common),
        }
    }
}

/// What each choice of four signs is worth, from 0 for the worst.
fn table(z: &[f32; 4], highest: u8) -> [u8; 16] {
    let half_up = size(z) + 0.5;
    std::array::from_fn(|signs| {
        let worth = |bit: usize| if signs >> bit & 1 == 1 { z[bit] } else { -z[bit] };
        ((half_up + worth(0) + worth(1) + worth(2) + worth(3)) as u8).min(highest)
    })
}

fn size(z: &[f32; 4]) -> f32 {
    z.iter().map(|z| z.abs()).sum()
}
