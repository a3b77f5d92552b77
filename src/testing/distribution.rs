//! The spread of a simulated quantity.

use std::time::Duration;

use crate::rng::Rng;

/// The spread of a quantity: of a time in seconds, of a rate, of a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Distribution {
    /// Always this value.
    Fixed(f64),
    /// Equally likely anywhere in `low..high`.
    Uniform {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// A value whose logarithm is normally distributed, as the latencies of model servers are.
    LogNormal {
        /// Half of the values are below it.
        median: f64,
        /// Standard deviation of the logarithm: 0.3 is tame, 0.6 common, 1 wild. The 99th percentile
        /// is `median * exp(2.33 * sigma)`.
        sigma: f64,
    },
}

impl Distribution {
    /// Equally likely anywhere in `low..high`.
    #[must_use]
    pub const fn uniform(low: f64, high: f64) -> Self {
        Self::Uniform { low, high }
    }

    /// Log-normal around `median`.
    #[must_use]
    pub const fn log_normal(median: f64, sigma: f64) -> Self {
        Self::LogNormal { median, sigma }
    }

    /// A value. Takes two draws from `rng`, whichever the distribution, so that changing one
    /// quantity's spread leaves the draws of the others as they were.
    pub fn sample(&self, rng: &Rng) -> f64 {
        let draws = (rng.unit(), rng.unit());
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { low, high } => low + (high - low) * draws.0,
            Self::LogNormal { median, sigma } => median * (sigma * normal(draws)).exp(),
        }
    }

    /// The lower bound; of a log-normal, which has none but 0, the median.
    pub(super) const fn floor(&self) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform { low, .. } => low,
            Self::LogNormal { median, .. } => median,
        }
    }

    /// What is wrong with the parameters. A sample of valid ones is finite unless it overflows, and
    /// never negative.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let (numbers, ordered) = match *self {
            Self::Fixed(value) => ([value, 0.0], true),
            Self::Uniform { low, high } => ([low, high], low <= high),
            Self::LogNormal { median, sigma } => ([median, sigma], true),
        };
        if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
            Some("its parameters must be finite and not negative")
        } else if !ordered {
            Some("its lower bound is above its upper bound")
        } else {
            None
        }
    }
}

/// A standard normal value from two uniform ones in `[0, 1)` (Box and Muller 1958).
fn normal((first, second): (f64, f64)) -> f64 {
    // 1 - u is in (0, 1], whose logarithm is finite.
    (-2.0 * (1.0 - first).ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}

impl From<f64> for Distribution {
    /// Always `value`.
    fn from(value: f64) -> Self {
        Self::Fixed(value)
    }
}

impl From<Duration> for Distribution {
    /// Always `time`, in seconds.
    fn from(time: Duration) -> Self {
        Self::Fixed(time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted_samples(distribution: Distribution) -> Vec<f64> {
        let rng = Rng::from_seed(11);
        let mut samples: Vec<f64> = (0..20_000).map(|_| distribution.sample(&rng)).collect();
        samples.sort_by(f64::total_cmp);
        samples
    }

    #[test]
    fn a_log_normal_has_its_median_and_its_tail() {
        let samples = sorted_samples(Distribution::log_normal(3.0, 0.6));
        let (median, p99) = (samples[10_000], samples[19_800]);
        assert!((2.9..3.1).contains(&median), "{median}");
        let expected = 3.0 * (2.326_f64 * 0.6).exp();
        assert!((p99 / expected - 1.0).abs() < 0.1, "{p99} against {expected}");
    }

    #[test]
    fn a_uniform_one_fills_its_range() {
        let samples = sorted_samples(Distribution::uniform(2.0, 4.0));
        assert!(samples[0] >= 2.0 && samples[0] < 2.01);
        assert!(samples[19_999] < 4.0 && samples[19_999] > 3.99);
        assert!((samples[10_000] - 3.0).abs() < 0.05);
    }

    #[test]
    fn every_distribution_takes_the_same_draws() {
        let draws_left = |distribution: Distribution| {
            let rng = Rng::from_seed(3);
            distribution.sample(&rng);
            rng.next_u64()
        };
        let fixed = draws_left(1.0.into());
        assert_eq!(draws_left(Distribution::uniform(0.0, 1.0)), fixed);
        assert_eq!(draws_left(Distribution::log_normal(1.0, 1.0)), fixed);
    }

    #[test]
    fn parameters_without_meaning_are_named() {
        for bad in [
            Distribution::Fixed(-1.0),
            Distribution::Fixed(f64::NAN),
            Distribution::uniform(2.0, 1.0),
            Distribution::log_normal(f64::INFINITY, 1.0),
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
        assert_eq!(Distribution::from(Duration::from_millis(5)).fault(), None);
    }
}
