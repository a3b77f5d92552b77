//! Vectors as codes: what the signs of their rotated coordinates say of them.

use std::sync::Arc;

use crate::vector::arch::kernels;
use crate::vector::rotation::Rotation;
use crate::vector::slack;

/// Vectors whose mean is as long as this, squared, have most of their cosine in common. What tells
/// them apart is small beside it, and needs a second bit for each dimension.
const SHARED: f32 = 0.2;

/// What codes are relative to: a rotation and a mean. Any mean gives true bounds; that of the data
/// gives close ones. It is frozen, since codes of another mean would mean something else.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) rotation: Arc<Rotation>,
    pub(super) mean: Vec<f32>,
    /// The mean, rotated.
    pub(super) turned_mean: Vec<f32>,
    /// How far from the mean vectors are, about.
    pub(super) spread: f32,
    /// Whether codes have a second plane.
    pub(super) finer: bool,
}

/// A vector `y` (rotated, without the mean) as `alpha * c` plus something of length `beta`
/// orthogonal to `c`, where `c` is the unit vector along the signs of `y`.
#[derive(Debug)]
pub(super) struct Code {
    /// Eight signs a byte, the first in the lowest bit, set for what is not negative.
    pub(super) signs: Vec<u8>,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    /// The product of the mean with what the vector is beyond the mean.
    pub(super) bias: f32,
    pub(super) finer: Option<FinerCode>,
}

/// A second sign vector `c2`: the signs of what `c` leaves of `y`.
#[derive(Debug)]
pub(super) struct FinerCode {
    pub(super) signs: Vec<u8>,
    /// `y.c2`
    pub(super) gamma: f32,
    /// `c.c2`
    pub(super) overlap: f32,
}

impl Frame {
    /// Around the mean of `sample`.
    pub(super) fn around<'a>(
        rotation: Arc<Rotation>,
        dimensions: usize,
        sample: impl Iterator<Item = &'a [f32]>,
    ) -> Self {
        let mut mean = vec![0.0_f32; dimensions];
        let mut count = 0.0_f32;
        for vector in sample {
            mean.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
            count += 1.0;
        }
        mean.iter_mut().for_each(|sum| *sum /= count.max(1.0));
        let shared = (kernels().dot)(&mean, &mean);
        let (spread, finer) = ((1.0 - shared).max(0.0).sqrt(), shared >= SHARED);
        let turned_mean = rotation.turned(&mean);
        Self { rotation, mean, turned_mean, spread, finer }
    }

    /// Bytes of one plane of a code.
    pub(super) fn code_bytes(&self) -> usize {
        self.mean.len().div_ceil(8)
    }

    /// The code of a unit vector. Takes n log n steps.
    pub(super) fn encode(&self, vector: &[f32]) -> Code {
        let beyond: Vec<f32> = vector.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let y = self.rotation.turned(&beyond);
        let bias = (kernels().dot)(&self.mean, &beyond);
        let (signs, c) = signs_of(&y);
        let root = (y.len() as f32).sqrt();
        let alpha = (kernels().dot)(&y, &c) / root;
        let beta = self.rest(&y, alpha);
        let finer = self.finer.then(|| finer_code(&y, &c, alpha / root));
        Code { signs, alpha, beta, bias, finer }
    }

    /// The length of what `alpha * c` leaves of `y`, not below the true one.
    fn rest(&self, y: &[f32], alpha: f32) -> f32 {
        let (square, alpha) = (f64::from((kernels().dot)(y, y)), f64::from(alpha));
        let error = 4.0 * slack::of_a_dot(y.len()) * square;
        slack::up((square - alpha * alpha + error).max(0.0).sqrt())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of_val(&*self.mean) + self.rotation.bytes()
    }
}

fn finer_code(y: &[f32], c: &[f32], scale: f32) -> FinerCode {
    let left: Vec<f32> = y.iter().zip(c).map(|(y, c)| y - scale * c).collect();
    let (signs, c2) = signs_of(&left);
    let dimensions = y.len() as f32;
    let gamma = (kernels().dot)(y, &c2) / dimensions.sqrt();
    let overlap = (kernels().dot)(c, &c2) / dimensions;
    FinerCode { signs, gamma, overlap }
}

/// Packed, and as 1 and -1.
fn signs_of(vector: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let pack = |chunk: &[f32]| {
        let bits = chunk.iter().enumerate();
        bits.fold(0, |byte, (at, &x)| byte | (u8::from(x >= 0.0) << at))
    };
    let unpacked = vector.iter().map(|&x| if x >= 0.0 { 1.0 } else { -1.0 });
    (vector.chunks(8).map(pack).collect(), unpacked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::Embedding;
    use crate::rng::Rng;

    #[test]
    fn a_code_accounts_for_the_whole_vector() {
        let rng = Rng::from_seed(9);
        for dimensions in [1, 5, 8, 384] {
            let random = || {
                Embedding::new((0..dimensions).map(|_| rng.unit() as f32 - 0.5).collect()).unwrap()
            };
            let sample = [random(), random(), random()];
            let rotation = Arc::new(Rotation::new(dimensions));
            let frame = Frame::around(rotation, dimensions, sample.iter().map(Embedding::as_slice));
            let vector = random();
            let code = frame.encode(vector.as_slice());
            let beyond = vector.as_slice().iter().zip(&frame.mean).map(|(x, mean)| x - mean);
            let square: f32 = beyond.map(|x| x * x).sum();
            assert_eq!(code.signs.len(), dimensions.div_ceil(8));
            assert!((code.alpha * code.alpha + code.beta * code.beta - square).abs() < 1e-3);
        }
    }

    #[test]
    fn vectors_with_much_in_common_get_a_second_plane() {
        let rotation = Arc::new(Rotation::new(2));
        let alike = [[1.0_f32, 0.0], [0.8, 0.6]];
        let apart = [[1.0_f32, 0.0], [-1.0, 0.0]];
        let finer = |sample: [[f32; 2]; 2]| {
            Frame::around(Arc::clone(&rotation), 2, sample.iter().map(|row| row.as_slice())).finer
        };
        assert!(finer(alike) && !finer(apart));
    }

    #[test]
    fn a_vector_that_is_the_mean_has_an_empty_code() {
        let vector = [0.6_f32, 0.8];
        let frame = Frame::around(Arc::new(Rotation::new(2)), 2, [vector.as_slice()].into_iter());
        let code = frame.encode(&vector);
        assert_eq!((code.alpha, code.bias), (0.0, 0.0));
    }
}
