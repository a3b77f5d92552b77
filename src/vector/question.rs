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

/// Squared, how many standard deviations off an entry may be and still be dismissed early: in a
/// block of 32, hardly one is further.
const FAR: f32 = 16.0;

/// The error of adding up what is not read, in parts of it: a rounding for each of 2^14 bytes.
const UNREAD_ERROR: f64 = 1.0 / (1 << 9) as f64;

/// A query as seen from a frame: the tables that say what each half byte of a code is worth, and
/// the numbers that make a bound of the sum.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) tables: Vec<[u8; 32]>,
    pub(super) bound: Bound,
    pub(super) finer: FinerBound,
    /// What most entries can be dismissed with.
    pub(super) early: Option<Early>,
}

/// A bound from the first bytes of each code alone.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) bytes: usize,
    pub(super) bound: Bound,
}

impl Question {
    /// `turned` is the rotated query. Takes as long as bounding some hundred codes.
    pub(super) fn new(frame: &Frame, query: &[f32], turned: &[f32], floor: f32) -> Self {
        let z: Vec<f32> = turned.iter().zip(&frame.turned_mean).map(|(q, mean)| q - mean).collect();
        let square = f64::from((kernels().dot)(&z, &z)) * (1.0 + 2.0 * slack::of_a_dot(z.len()));
        let quarters = Quarters::of(&z);
        let common = f64::from((kernels().dot)(query, &frame.mean));
        let bound = quarters.bound(square, common + error(frame, square.sqrt()));
        let early = quarters.early(&bound, frame.spread, z.len(), floor);
        let finer = FinerBound::new(bound, z.len());
        Self { tables: quarters.tables(), bound, finer, early }
    }
}

/// What all the arithmetic in `f32` between a vector and its bound can add up to.
fn error(frame: &Frame, length: f64) -> f64 {
    let dot = slack::of_a_dot(frame.mean.len());
    // The exact score that the bound must not be below, and the query's product with the mean.
    let products = 2.02 * dot;
    // An entry's product with the mean, taken after rounding what it is beyond the mean.
    let bias = LONGEST * (dot + ROUNDING);
    // An entry was rotated after rounding; the query and the mean, of length 1 at most, before.
    let turn = frame.rotation.error() + ROUNDING;
    let turned = LONGEST * (1.01 * turn * length + 1.01 * turn * (2.0 + length));
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
        let mut tables = vec![[0; 32]; self.scaled.len() / 2];
        let (halves, _) = tables.as_flattened_mut().as_chunks_mut::<16>();
        (kernels().tables)(&self.scaled, halves);
        tables
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

    /// Bytes that are not read count for the worst in `low`, since entries of tables start at zero,
    /// and for the best in the width. Of the lengths that should dismiss an entry which has nothing
    /// to do with the query, the shortest.
    fn early(&self, bound: &Bound, spread: f32, dimensions: usize, floor: f32) -> Option<Early> {
        let all = self.scaled.len() / 2;
        let length = bound.square.sqrt();
        let mut unread = 0.0;
        let mut shortest = None;
        for bytes in (all / 4..all).rev() {
            unread +=
                self.step * (size(&self.scaled[2 * bytes]) + size(&self.scaled[2 * bytes + 1]));
            let read = bytes as f32 / all as f32;
            let high = length * (FAR * read / dimensions as f32).sqrt() + unread + bound.width;
            // Of a random vector's length, its signs account for 0.8, and leave 0.6.
            let root = (bound.square - high * high).max(0.0).sqrt();
            let most = bound.bias + spread * (0.8 * high + 0.6 * root);
            if most >= floor || high > 0.7 * length {
                break;
            }
            let width = f64::from(bound.width) + 2.0 * f64::from(unread) * (1.0 + UNREAD_ERROR);
            shortest = Some(Early { bytes, bound: Bound { width: slack::up(width), ..*bound } });
        }
        shortest.filter(|early| early.bytes < all * 7 / 8)
    }
}

fn size(z: &[f32; 4]) -> f32 {
    z.iter().map(|z| z.abs()).sum()
}
