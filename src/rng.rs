//! A small seedable generator, so that jitter, sampling and simulations replay from a seed.
//!
//! [`SplitMix64`](https://doi.org/10.1145/2714064.2660195) (Steele, Lea, Flood 2014): a counter
//! with a mixing function. Because the state only ever advances by a constant, the shared form is
//! one `fetch_add`: no lock and no thread-local. It is not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// The odd constant the state advances by: 2^64 divided by the golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator that many threads may draw from at once.
#[derive(Debug)]
pub struct Rng {
    state: AtomicU64,
}

impl Rng {
    /// Starts from the operating system's randomness.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::from_seed(RandomState::new().hash_one(GAMMA))
    }

    /// Starts from `seed`: the same seed gives the same sequence.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        // Relaxed: draws need to differ, not to be ordered with anything.
        mix(self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA))
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    pub fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `[0, longest)`: "full jitter", which spreads clients that failed together.
    pub fn jitter(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.unit())
    }
}

/// The mixing function alone: every bit of `z` changes half of the result's bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // Reference outputs of the published generator for seed 1234567.
        let rng = Rng::from_seed(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_stay_in_range() {
        let rng = Rng::from_seed(7);
        for _ in 0..1_000 {
            assert!((0.0..1.0).contains(&rng.unit()));
            assert!(rng.below(3) < 3);
        }
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.jitter(Duration::ZERO), Duration::ZERO);
    }
}
