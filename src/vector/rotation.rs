//! A random rotation, which spreads whatever a vector has over all coordinates.

use crate::rng::Rng;
use crate::vector::arch::kernels;
use crate::vector::slack::ROUNDING;

/// Where the signs start from. No result depends on it, only how tight the bounds are.
const SEED: u64 = 0x6b65_656c;

/// How often coordinates are mixed. Two rounds reach every coordinate from every other; two more
/// bring vectors of few nonzero coordinates close to what random ones look like.
const ROUNDS: usize = 4;

/// Random signs and a Walsh-Hadamard transform, alternately over the first and the last coordinates
/// of the largest power of two that fits: no padding, and n log n additions.
///
/// The structure is that of the fast Johnson-Lindenstrauss transform (Ailon, Chazelle 2009); each
/// round is orthogonal, so lengths and angles stay.
#[derive(Debug)]
pub(super) struct Rotation {
    /// One factor for each coordinate and round: the sign, times what makes the round orthogonal.
    factors: Vec<f32>,
    dimensions: usize,
    /// How many coordinates a round transforms.
    span: usize,
}

impl Rotation {
    pub(super) fn new(dimensions: usize) -> Self {
        let span = 1 << dimensions.ilog2();
        let scale = (span as f32).sqrt().recip();
        let rng = Rng::from_seed(SEED);
        let mut factors = vec![0.0; ROUNDS * dimensions];
        for (round, factors) in factors.chunks_exact_mut(dimensions).enumerate() {
            factors.fill_with(|| if rng.next_u64() >> 63 == 0 { 1.0 } else { -1.0 });
            let start = start_of(round, dimensions, span);
            factors[start..start + span].iter_mut().for_each(|factor| *factor *= scale);
        }
        Self { factors, dimensions, span }
    }

    pub(super) fn turned(&self, vector: &[f32]) -> Vec<f32> {
        let hadamard = kernels().hadamard;
        let mut vector = vector.to_vec();
        for (round, factors) in self.factors.chunks_exact(self.dimensions).enumerate() {
            vector.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            let start = start_of(round, self.dimensions, self.span);
            hadamard(&mut vector[start..start + self.span]);
        }
        vector
    }

    /// How far the result is from an exact rotation, in parts of the vector's length.
    ///
    /// Each level of a transform rounds once, and grows the length of the error no more than that
    /// of the vector. A round's scaling rounds twice: the factor, and the product with it.
    pub(super) fn error(&self) -> f64 {
        let roundings = ROUNDS * (self.span.ilog2() as usize + 3);
        roundings as f64 * ROUNDING
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.factors)
    }
}

fn start_of(round: usize, dimensions: usize, span: usize) -> usize {
    if round.is_multiple_of(2) { 0 } else { dimensions - span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_products_stay_within_the_stated_error() {
        let rng = Rng::from_seed(3);
        for dimensions in [1, 2, 3, 7, 8, 9, 64, 100, 384, 1536, 4096] {
            let rotation = Rotation::new(dimensions);
            let random =
                || -> Vec<f32> { (0..dimensions).map(|_| rng.unit() as f32 - 0.5).collect() };
            let (a, b) = (random(), random());
            let (turned_a, turned_b) = (rotation.turned(&a), rotation.turned(&b));
            let error = (wide(&turned_a, &turned_b) - wide(&a, &b)).abs();
            let lengths = (wide(&a, &a) * wide(&b, &b)).sqrt();
            assert!(error <= 2.1 * rotation.error() * lengths, "{error} at {dimensions}");
        }
    }

    #[test]
    fn one_coordinate_is_spread_over_all() {
        let mut vector = vec![0.0; 384];
        vector[5] = 1.0;
        let turned = Rotation::new(384).turned(&vector);
        assert!(turned.iter().all(|x| x.abs() < 0.3));
    }

    fn wide(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }
}
