//! How long the latest answers took, to their first content and in all.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel::CallReport;
use parking_lot::Mutex;

/// How many answers are remembered.
const REMEMBERED: usize = 512;

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// To the first content; `None` where the provider answered whole.
    pub ttft: Option<Duration>,
    /// In all.
    pub total: Duration,
}

/// The latest answers.
#[derive(Default)]
pub struct Latency {
    latest: Mutex<VecDeque<Timing>>,
}

impl Latency {
    /// Remembers an answer and forgets the oldest.
    pub fn note(&self, report: &CallReport) {
        let mut latest = self.latest.lock();
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back(Timing { ttft: report.ttft, total: report.total });
    }

    /// The latest answers, oldest first.
    pub fn latest(&self) -> Vec<Timing> {
        self.latest.lock().iter().copied().collect()
    }
}

/// The value that `share` of `times` do not exceed; `None` of none.
pub fn quantile(times: impl IntoIterator<Item = Duration>, share: f64) -> Option<Duration> {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let times = || (1..=20).map(Duration::from_millis);
        assert_eq!(quantile(times(), 0.5), Some(Duration::from_millis(10)));
        assert_eq!(quantile(times(), 0.95), Some(Duration::from_millis(19)));
        assert_eq!(quantile(times(), 1.0), Some(Duration::from_millis(20)));
        assert_eq!(quantile([], 0.5), None);
    }
}
