//! Who routes, and by which rules: the same for all.

use std::ops::RangeInclusive;
use std::time::Duration;

use evenkeel::balance::{Balancer, StrategyKind};
use evenkeel::client::RetryPolicy;
use evenkeel::testing::SimulatedProvider;
use evenkeel::{Endpoint, LlmClient, Timeouts};

use crate::plain::Ejection;
use crate::scenario::{self, Scenario};
use crate::{tally, traffic};

/// From the start of an attempt to its first content.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The seeds of the runs whose results are pooled.
pub(crate) fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return 1..=5 };
    let bounds = text.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
    match bounds {
        Some((Ok(first), Ok(last))) if first <= last => first..=last,
        _ => panic!("SIM_SEEDS={text}: write it as 100-119"),
    }
}

pub(crate) fn named(seeds: &RangeInclusive<u64>) -> String {
    format!("{}-{}", seeds.start(), seeds.end())
}

/// Everything the results depend on.
pub(crate) fn described(scenario: Scenario) -> String {
    format!(
        "sim scenario={}: {}; {} endpoints of equal weight, log-normal service (median {} s, sigma \
         {}), Poisson arrivals {} /s for {} s, sick from the start; good = answered within {} s; first \
         content within {} s; attempts {}, a second one at once on another endpoint; plain routers eject \
         for {} s (doubling, at most {} s) after {} failures in a row, then return in full; ties at \
         random",
        scenario.name(),
        scenario.meaning(),
        scenario::ENDPOINTS,
        scenario::MEDIAN,
        scenario::SIGMA,
        traffic::BUSY,
        traffic::LENGTH.as_secs(),
        tally::GOOD.as_secs(),
        TIMEOUT.as_secs(),
        scenario.attempts(),
        Ejection::FIRST.as_secs(),
        Ejection::LONGEST.as_secs(),
        Ejection::IN_A_ROW,
    )
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Router {
    /// A router of the test's own.
    RoundRobin,
    /// A router of the test's own.
    LeastInFlight,
    Weighted,
    LeastBusy,
    Adaptive,
}

impl Router {
    pub(crate) const ALL: [Self; 5] =
        [Self::RoundRobin, Self::LeastInFlight, Self::Weighted, Self::LeastBusy, Self::Adaptive];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastInFlight => "least_in_flight",
            Self::Weighted => "weighted",
            Self::LeastBusy => "least_busy",
            Self::Adaptive => "adaptive",
        }
    }
}

/// A client over `servers` with everything but the strategy and the number of attempts as it comes.
pub(crate) fn client(
    strategy: StrategyKind,
    scenario: Scenario,
    servers: &[SimulatedProvider],
    seed: u64,
) -> LlmClient {
    let balancer = Balancer::builder().strategy(strategy).seed(seed);
    let balancer = servers.iter().cloned().map(Endpoint::new).fold(balancer, |b, e| b.endpoint(e));
    LlmClient::builder()
        .balancer(balancer.build().unwrap())
        .timeouts(Timeouts::new().first_content(TIMEOUT))
        .retry(RetryPolicy::new().max_attempts(scenario.attempts()))
        .seed(seed)
        .build()
        .unwrap()
}
