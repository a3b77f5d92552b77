//! The distribution of the latest TTFTs. Pure.

use std::time::Duration;

use crate::histogram::{BUCKETS, bucket, upper_bound};

/// When so many samples are held, each counts half from then on.
const HALVED_AT: u32 = 1024;

/// Counts of TTFTs in buckets that grow with the value, old samples fading.
pub(super) struct RecentTtfts {
    counts: [u16; BUCKETS],
    total: u32,
    seen: u32,
}

impl Default for RecentTtfts {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, seen: 0 }
    }
}

impl RecentTtfts {
    /// Adds a sample.
    pub(super) fn add(&mut self, ttft: Duration) {
        self.counts[bucket(ttft)] += 1;
        self.total += 1;
        self.seen = self.seen.saturating_add(1);
        if self.total >= HALVED_AT {
            self.halve();
        }
    }

    /// How many samples were ever added.
    pub(super) const fn seen(&self) -> u32 {
        self.seen
    }

    /// The microseconds within which `quantile` of the samples lie, rounded up to their bucket.
    /// 0 where there are none.
    pub(super) fn quantile(&self, quantile: f64) -> u64 {
        let rank = (quantile * f64::from(self.total)).ceil() as u32;
        let mut below = 0;
        let reached = self.counts.iter().position(|&count| {
            below += u32::from(count);
            below >= rank && below > 0
        });
        reached.map_or(0, upper_bound)
    }

    fn halve(&mut self) {
        self.counts.iter_mut().for_each(|count| *count /= 2);
        self.total = self.counts.iter().map(|&count| u32::from(count)).sum();
    }
}

impl std::fmt::Debug for RecentTtfts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentTtfts")
            .field("total", &self.total)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_that_of_the_samples_rounded_up(
            mut samples in prop::collection::vec(1u64..10_000_000, 1..500),
            quantile in 0.01f64..0.99,
        ) {
            let mut recent = RecentTtfts::default();
            samples.iter().for_each(|&micros| recent.add(Duration::from_micros(micros)));
            samples.sort_unstable();
            let rank = (quantile * samples.len() as f64).ceil() as usize;
            let exact = samples[rank.max(1) - 1];
            let found = recent.quantile(quantile);
            prop_assert!(found > exact && found <= exact + exact / 8 + 1);
        }
    }

    #[test]
    fn of_nothing_there_is_no_quantile() {
        assert_eq!(RecentTtfts::default().quantile(0.95), 0);
    }

    #[test]
    fn what_is_old_fades() {
        let mut recent = RecentTtfts::default();
        (0..100_000).for_each(|_| recent.add(Duration::from_secs(60)));
        (0..2_048).for_each(|_| recent.add(Duration::from_millis(10)));
        assert!(recent.quantile(0.7) < 12_000);
        assert!(recent.total < HALVED_AT, "and the counters stay small");
    }
}
