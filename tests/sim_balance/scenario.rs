//! The servers, and what is wrong with the first of them.

use std::time::Duration;

use evenkeel::ErrorKind;
use evenkeel::testing::{Distribution, Fault, SimulatedProvider};

pub(crate) const ENDPOINTS: u64 = 6;

/// Seconds from a request to its answer: half take less than the median, one in a hundred four
/// times as long.
pub(crate) const MEDIAN: f64 = 3.0;
pub(crate) const SIGMA: f64 = 0.6;

/// What the servers hold together is a ninth more than what the traffic needs on average.
const TIGHT_CAPACITY: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scenario {
    Slow,
    Hang,
    Fail,
    /// The same without a retry, which would hide what it costs.
    FailOnce,
    Tight,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Fail => "fail",
            Self::FailOnce => "fail_once",
            Self::Tight => "tight",
        }
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Slow => "one takes 8 times as long",
            Self::Hang => "one never answers 90 % of its calls",
            Self::Fail => "one fails 90 % of its calls at once",
            Self::FailOnce => "one fails 90 % of its calls at once, and none is retried",
            Self::Tight => "none is sick, each serves 4 calls at a time and lets the others wait",
        }
    }

    /// The most attempts of a call: one retry, where there is one.
    pub(crate) const fn attempts(self) -> u32 {
        if matches!(self, Self::FailOnce) { 1 } else { 2 }
    }

    /// The servers of a run, started now; the first is sick for so long.
    pub(crate) fn servers(self, seed: u64, sick: Duration) -> Vec<SimulatedProvider> {
        (0..ENDPOINTS).map(|index| self.server(seed, index, sick)).collect()
    }

    fn server(self, seed: u64, index: u64, sick: Duration) -> SimulatedProvider {
        let server = SimulatedProvider::builder(format!("endpoint-{index}"))
            .seed(seed * ENDPOINTS + index)
            .time_to_first_token(Distribution::log_normal(MEDIAN, SIGMA))
            .output_tokens(1.0);
        let server = match (self, self.fault()) {
            (Self::Tight, _) => server.capacity(TIGHT_CAPACITY),
            (_, Some(fault)) if index == 0 => server.fault(fault, Duration::ZERO..sick),
            _ => server,
        };
        server.build().unwrap()
    }

    const fn fault(self) -> Option<Fault> {
        match self {
            Self::Slow => Some(Fault::Slow { factor: 8.0 }),
            Self::Hang => Some(Fault::Hang { p: 0.9 }),
            Self::Fail | Self::FailOnce => {
                Some(Fault::ErrorRate { kind: ErrorKind::Server, p: 0.9 })
            }
            Self::Tight => None,
        }
    }
}
