//! How durations are distributed.
//!
//! A [`Histogram`] counts durations in buckets that grow with the value, eight to a doubling, so that
//! a quantile is wrong by an eighth at the most, whatever the durations are. It is of fixed size, and
//! any number of threads record into it without a lock. A [`Distribution`] is what it held at one
//! moment: distributions add up, and can be taken from one another.
//!
//! The buckets are those of a log-linear histogram, as in HdrHistogram with one digit less.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::sync::{AtomicU64, Ordering};

/// Buckets per doubling: a bucket is at most an eighth of its lower bound wide.
const STEPS: u64 = 8;

/// Up to 2^32 microseconds, somewhat more than an hour; what is longer counts as that.
pub(crate) const BUCKETS: usize = 240;

/// The bucket of a duration.
pub(crate) fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
    let Some(doublings) = (micros / STEPS).checked_ilog2().map(u64::from) else {
        return micros as usize;
    };
    let step = (micros >> doublings) - STEPS;
    ((doublings + 1) * STEPS + step) as usize
}

/// The first value, in microseconds, that lies above a bucket.
pub(crate) const fn upper_bound(bucket: usize) -> u64 {
    let (doublings, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    match doublings {
        0 => step + 1,
        _ => (STEPS + step + 1) << (doublings - 1),
    }
}

/// Counts durations. 2 kB, whatever is recorded.
pub struct Histogram {
    /// Relaxed throughout: each word is a count of its own.
    counts: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Histogram {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `duration`. One atomic increment.
    pub fn record(&self, duration: Duration) {
        self.counts[bucket(duration)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far. Reads every bucket; what is recorded meanwhile may be missing.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution { counts: self.counts.each_ref().map(|it| it.load(Ordering::Relaxed)).into() }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// How durations are distributed, from a millionth of a second to somewhat more than an hour.
///
/// Serialised as its count and quantiles in seconds: `{"count":3,"p50":0.1,"p90":..,"p99":..,"max":..}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Distribution {
    counts: Box<[u64]>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into() }
    }
}

impl Distribution {
    /// Of no durations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many durations it is of.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The duration that this share of the durations, 0 to 1, did not exceed: rounded up to the end of
    /// its bucket, by an eighth at the most. `None` where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((share.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut below = 0u64;
        let reached = self.counts.iter().position(|count| {
            below = below.saturating_add(*count);
            below >= rank
        });
        reached.map(|bucket| Duration::from_micros(upper_bound(bucket)))
    }

    /// Adds another distribution's durations, of another endpoint or another process.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// Those that were counted after `earlier` was read from the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self { counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect() }
    }
}

/// The quantiles a distribution is shown with.
const SHOWN: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Distribution", SHOWN.len() + 1)?;
        shown.serialize_field("count", &self.count())?;
        for (name, share) in SHOWN {
            shown.serialize_field(name, &self.quantile(share).map(|it| it.as_secs_f64()))?;
        }
        shown.end()
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Distribution");
        shown.field("count", &self.count());
        for (name, share) in SHOWN {
            shown.field(name, &self.quantile(share));
        }
        shown.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(micros: &[u64]) -> Histogram {
        let histogram = Histogram::new();
        micros.iter().for_each(|&micros| histogram.record(Duration::from_micros(micros)));
        histogram
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_and_is_an_eighth_wide(micros in 0u64..1 << 32) {
            let upper = upper_bound(bucket(Duration::from_micros(micros)));
            prop_assert!(upper > micros && upper - micros <= micros / STEPS + 1);
        }

        #[test]
        fn a_quantile_is_that_of_the_durations_rounded_up(
            mut micros in prop::collection::vec(1u64..10_000_000, 1..300),
            share in 0.01f64..1.0,
        ) {
            let found = of(&micros).read().quantile(share).unwrap().as_micros() as u64;
            micros.sort_unstable();
            let rank = (share * micros.len() as f64).ceil() as usize;
            let exact = micros[rank.max(1) - 1];
            prop_assert!(found > exact && found <= exact + exact / STEPS + 1);
        }

        #[test]
        fn two_read_apart_add_up_to_one_read_together(
            a in prop::collection::vec(0u64..1 << 33, 0..50),
            b in prop::collection::vec(0u64..1 << 33, 0..50),
        ) {
            let together = of(&[a.clone(), b.clone()].concat()).read();
            let mut merged = of(&a).read();
            merged.merge(&of(&b).read());
            prop_assert_eq!(&merged, &together);
            prop_assert_eq!(together.since(&of(&a).read()), of(&b).read());
        }
    }

    #[test]
    fn the_longest_duration_has_a_bucket() {
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn it_is_shown_in_seconds() {
        let shown = serde_json::to_string(&of(&[100_000; 4]).read()).unwrap();
        assert!(shown.starts_with(r#"{"count":4,"p50":0.10"#), "{shown}");
        let shown = serde_json::to_string(&Distribution::new()).unwrap();
        assert!(shown.starts_with(r#"{"count":0,"p50":null"#), "{shown}");
        assert_eq!(Distribution::new().quantile(0.5), None);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..10_000).for_each(|at| histogram.record(Duration::from_micros(at * thread)));
                });
            }
        });
        assert_eq!(histogram.read().count(), 40_000);
    }
}
