//! How long to wait between attempts to connect. Pure.

use std::time::Duration;

use crate::rng::Rng;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// At least so much of a pause passes: instances whose server went away come back apart, and none of
/// them at once.
const LEAST_SHARE: f64 = 0.5;

/// Pauses that double, up to five seconds.
#[derive(Debug)]
pub(super) struct Pace {
    rng: Rng,
    failures: u32,
}

impl Pace {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { rng, failures: 0 }
    }

    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed; how long to wait before the next.
    pub(super) fn failed(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(LEAST_SHARE + (1.0 - LEAST_SHARE) * self.rng.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_a_success() {
        let mut pace = Pace::new(Rng::from_seed(1));
        let mut whole = FIRST;
        for _ in 0..40 {
            let pause = pace.failed();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        pace.succeeded();
        assert!(pace.failed() <= FIRST);
    }
}
