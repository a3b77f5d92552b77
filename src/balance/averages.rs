//! A moving average in one atomic word.
//!
//! It is a mean, not a peak. Times of answers have a long tail, so the recent peak of a healthy
//! endpoint is mostly chance: of six equal endpoints the one with the lucky samples would look three
//! times as fast as the unlucky one. What must be noticed at once is not left to an average of
//! answers anyway, since a slow answer is known only when it is over.
//!
//! It forgets, also when nothing new is learnt. An endpoint that looks bad gets no traffic, and
//! without traffic it could never look better again.

use crate::sync::{AtomicU64, Ordering};

/// Samples lose two thirds of their weight in so many milliseconds, whatever their number.
const TAU_MILLIS: f32 = 30_000.0;

/// The least weight of a sample: those that come together must still count.
const LEAST_WEIGHT: f32 = 0.0625;

/// The difference to what is usual loses two thirds in so many milliseconds without a sample. It is
/// longer than the memory of samples, because a wrong guess costs a call and a late one only some
/// capacity.
const FADE_MILLIS: f32 = 60_000.0;

/// One sample raises an average at most so far. It matters after a pause, when the sample is most of
/// what is known: one answer that took a minute is not an outage.
const MOST_RISE: f32 = 4.0;

/// The least an average may rise to: from nothing, four times as much would still be nothing.
const LEAST: f32 = 0.001;

/// How far the clock readings of attempts that end at the same time may be out of order.
const DISORDER_MILLIS: u32 = 60_000;

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
    /// The average as of its last sample.
    pub(crate) fn get(&self) -> Option<f32> {
        // Relaxed here and below: the word stands alone.
        unpack(self.0.load(Ordering::Relaxed)).map(|(value, _)| value)
    }

    /// What is to be expected at `at`: the average, which gives way to `usual` as it grows old.
    pub(crate) fn expected(&self, usual: f32, at: u32) -> f32 {
        match unpack(self.0.load(Ordering::Relaxed)) {
            None => usual,
            Some((value, then)) => usual + (value - usual) * faded(age(then, at), FADE_MILLIS),
        }
    }

    /// Whether its last sample came at `at`.
    pub(crate) fn is_of(&self, at: u32) -> bool {
        unpack(self.0.load(Ordering::Relaxed)).is_some_and(|(_, then)| then == at)
    }

    /// Takes a sample.
    pub(crate) fn observe(&self, sample: f32, at: u32) {
        if !sample.is_finite() {
            return;
        }
        let updated = |word| match unpack(word) {
            None => Some(pack(sample, at)),
            Some((before, then)) => Some(pack(blended(before, sample, age(then, at)), at)),
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, updated);
    }
}

/// `before`, `age` milliseconds old, with `sample`.
fn blended(before: f32, sample: f32, age: f32) -> f32 {
    let kept = faded(age, TAU_MILLIS).min(1.0 - LEAST_WEIGHT);
    let blended = sample + (before - sample) * kept;
    blended.min((before * MOST_RISE).max(LEAST))
}

/// What is left after `age` of what loses two thirds in `over`. Of a busy endpoint, the last sample
/// is a few milliseconds old: there the first two terms of the series are as exact as the function.
fn faded(age: f32, over: f32) -> f32 {
    let passed = age * over.recip();
    if passed < 1.0 / 4096.0 { 1.0 - passed } else { (-passed).exp() }
}

/// Milliseconds from `then` to `at`: none where the later sample carries the earlier time.
const fn age(then: u32, at: u32) -> f32 {
    let passed = at.wrapping_sub(then);
    if passed > u32::MAX - DISORDER_MILLIS { 0.0 } else { passed as f32 }
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

    fn average(samples: &[(f32, u32)]) -> Average {
        let average = Average::default();
        samples.iter().for_each(|&(sample, at)| average.observe(sample, at));
        average
    }

    #[test]
    fn one_long_answer_among_many_moves_it_little() {
        let before: Vec<_> = (0..60).map(|n| (3.0, n * 1_000)).collect();
        let average = average(&before);
        average.observe(15.0, 60_000);
        let moved = average.get().unwrap();
        assert!((3.7..3.8).contains(&moved), "{moved}");
    }

    #[test]
    fn after_a_pause_one_sample_raises_it_four_times_at_the_most() {
        assert_eq!(average(&[(1.0, 0), (60.0, 600_000)]).get(), Some(4.0));
        assert_eq!(average(&[(0.0, 0), (60.0, 600_000)]).get(), Some(LEAST));
    }

    #[test]
    fn samples_that_come_together_count() {
        let burst: Vec<_> = std::iter::once((1.0, 0)).chain([(3.0, 0); 60]).collect();
        let average = average(&burst).get().unwrap();
        assert!((2.9..=3.0).contains(&average), "{average}");
    }

    #[test]
    fn without_samples_it_gives_way_to_what_is_usual() {
        let average = average(&[(60.0, 5_000)]);
        assert_eq!(average.expected(3.0, 5_000), 60.0);
        let (minute, ten) = (average.expected(3.0, 65_000), average.expected(3.0, 605_000));
        assert!((23.0..25.0).contains(&minute), "{minute}");
        assert!((3.0..3.1).contains(&ten), "{ten}");
        assert_eq!(Average::default().expected(3.0, 9), 3.0);
    }

    #[test]
    fn clock_readings_out_of_order_are_no_age() {
        let average = average(&[(1.0, 5_000), (3.0, 4_999)]);
        assert_eq!(average.get(), Some(1.125), "the sample is one of sixteen");
        assert_eq!(average.expected(9.0, 4_998), 1.125);
    }

    #[test]
    fn a_little_age_fades_as_the_exponential_does() {
        for age in 0..1_000u16 {
            let age = f32::from(age) / 10.0;
            let exact = (f64::from(-age) / f64::from(FADE_MILLIS)).exp();
            let error = (f64::from(faded(age, FADE_MILLIS)) - exact).abs();
            assert!(error < 1.2e-7, "{error:e} after {age} ms");
        }
    }

    #[test]
    fn what_is_no_number_is_no_sample() {
        assert_eq!(average(&[(f32::NAN, 0), (f32::INFINITY, 0)]).get(), None);
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    fn observed(samples: [f32; 2]) -> Option<f32> {
        let average = Average::default();
        average.observe(1.0, 0);
        samples.into_iter().for_each(|sample| average.observe(sample, 1));
        average.get()
    }

    #[test]
    fn loom_samples_count_as_if_one_came_after_the_other() {
        loom::model(|| {
            let average = Arc::new(Average::default());
            average.observe(1.0, 0);
            let other = {
                let average = Arc::clone(&average);
                thread::spawn(move || average.observe(2.0, 1))
            };
            average.observe(0.5, 1);
            let between = average.get();
            assert!(between.is_some_and(|value| (0.5..=2.0).contains(&value)), "{between:?}");
            other.join().unwrap();
            let either = [observed([2.0, 0.5]), observed([0.5, 2.0])];
            assert!(either.contains(&average.get()), "{:?} of {either:?}", average.get());
        });
    }
}
