//! A moving average in one atomic word.

use crate::sync::{AtomicU64, Ordering};

/// Samples lose two thirds of their weight in so many milliseconds, whatever their number.
const TAU_MILLIS: f32 = 30_000.0;

/// One sample raises an average at most so far: an answer that takes a minute is not an outage, for
/// durations of LLM calls have a long tail.
const MOST_RISE: f32 = 4.0;

/// The least an average rises to: from nothing, four times as much would still be nothing.
const LEAST: f32 = 0.001;

/// An exponentially weighted average over unevenly spaced samples: the value as `f32` and the time
/// of the last sample in milliseconds, which wraps after 49 days.
#[derive(Debug)]
pub(crate) struct Average(AtomicU64);

/// No sample yet: not a number, which no sample can be.
const NOTHING: u64 = u64::MAX;

impl Default for Average {
    fn default() -> Self {
        Self(AtomicU64::new(NOTHING))
    }
}

impl Average {
    pub(crate) fn get(&self) -> Option<f32> {
        // Relaxed here and below: the word stands alone.
        unpack(self.0.load(Ordering::Relaxed)).map(|(value, _)| value)
    }

    /// Takes a sample that counts at once when it is above the average, up to four times it, and
    /// slowly when it is below: the average of a peak.
    pub(crate) fn observe(&self, sample: f32, at: u32) {
        self.fold(sample, at, |before, sample, weight| {
            if sample > before {
                sample.min((before * MOST_RISE).max(LEAST))
            } else {
                sample + (before - sample) * weight
            }
        });
    }

    /// Takes a sample that counts the same above and below.
    pub(crate) fn blend(&self, sample: f32, at: u32) {
        // Samples that come together must still count: one in sixteen at the least.
        self.fold(sample, at, |before, sample, weight| {
            sample + (before - sample) * weight.min(0.9375)
        });
    }

    fn fold(&self, sample: f32, at: u32, next: impl Fn(f32, f32, f32) -> f32) {
        if !sample.is_finite() {
            return;
        }
        let updated = |word| match unpack(word) {
            None => Some(pack(sample, at)),
            Some((before, then)) => {
                let weight = (-(at.wrapping_sub(then) as f32) / TAU_MILLIS).exp();
                Some(pack(next(before, sample, weight), at))
            }
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, updated);
    }
}

const fn pack(value: f32, at: u32) -> u64 {
    (value.to_bits() as u64) << 32 | at as u64
}

fn unpack(word: u64) -> Option<(f32, u32)> {
    let value = f32::from_bits((word >> 32) as u32);
    (!value.is_nan()).then_some((value, word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_but_not_beyond_four_times_and_falls_slowly() {
        let average = Average::default();
        average.observe(1.0, 0);
        average.observe(60.0, 1);
        assert_eq!(average.get(), Some(4.0));
        average.observe(1.0, 30_001);
        let fallen = average.get().unwrap();
        assert!((2.0..2.2).contains(&fallen), "{fallen}");
    }

    #[test]
    fn a_burst_of_good_samples_hides_no_bad_one() {
        let average = Average::default();
        average.observe(1.0, 0);
        average.observe(4.0, 0);
        (0..100).for_each(|_| average.observe(0.1, 0));
        assert_eq!(average.get(), Some(4.0));
    }

    #[test]
    fn what_is_no_number_is_no_sample() {
        let average = Average::default();
        average.observe(f32::NAN, 0);
        average.observe(f32::INFINITY, 0);
        assert_eq!(average.get(), None);
    }
}
