//! Who sends, and by which rules.

use std::ops::RangeInclusive;

use evenkeel::balance::EndpointLimits;
use evenkeel::queue::QueueSettings;
use evenkeel::testing::SimulatedProvider;
use evenkeel::{Endpoint, LlmClient, RequestQueue};

use crate::plain::Retries;
use crate::scenario::{self, Scenario};

/// The seeds of the runs whose results are pooled.
pub(crate) fn seeds() -> RangeInclusive<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return 1..=3 };
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
    let spells = if scenario.is_bursty() {
        format!("in spells of {} s with pauses as long", scenario::SPELL.as_secs())
    } else {
        "without a pause".to_owned()
    };
    format!(
        "sim scenario={}: one key of {} requests and {} tokens a minute, {} s of it at once, headers in \
         every answer; Poisson arrivals at {} of that on average, {spells}, for {} s, and steady ones of \
         others at {}; input {} to {} tokens, output \
         at most {}, log-normal service (median {} s, sigma {}); deadline {} s; wait = from arrival to \
         the start of the attempt that is answered",
        scenario.name(),
        scenario::REQUESTS_PER_MINUTE,
        scenario::TOKENS_PER_MINUTE,
        scenario::BURST.as_secs(),
        scenario.load(),
        scenario.length().as_secs(),
        scenario.unseen_load(),
        scenario::INPUT.0,
        scenario::INPUT.1,
        scenario::MOST_OUTPUT,
        scenario::MEDIAN,
        scenario::SIGMA,
        scenario::DEADLINE.as_secs(),
    )
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    /// A client of the test's own, by its name.
    Plain(&'static str, Retries),
    /// The whole client, by its name.
    Client(&'static str, Settings),
}

/// What is not as it comes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// The part of its time a call may be expected to wait.
    pub(crate) patience: Option<f64>,
}

pub(crate) const NO_RETRY: Policy = Policy::Plain("no_retry", Retries::None);
pub(crate) const TWO_RETRIES: Policy = Policy::Plain("two_retries", Retries::Sdk);
pub(crate) const SIX_RETRIES: Policy = Policy::Plain("six_retries", Retries::Exponential);
pub(crate) const RETRY_AFTER: Policy = Policy::Plain("retry_after", Retries::RetryAfter);
pub(crate) const CLIENT: Policy = Policy::Client("client", Settings { patience: None });
pub(crate) const PATIENT: Policy = Policy::Client("patient", Settings { patience: Some(1.0) });

impl Policy {
    /// Those that play a scenario.
    pub(crate) fn of(scenario: Scenario) -> impl Iterator<Item = Self> {
        let patient = (!scenario.is_bursty()).then_some(PATIENT);
        [NO_RETRY, TWO_RETRIES, SIX_RETRIES, RETRY_AFTER, CLIENT].into_iter().chain(patient)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain(name, _) | Self::Client(name, _) => name,
        }
    }
}

/// A client with a queue that knows the key's limits, and all else as it comes.
pub(crate) fn client(settings: Settings, server: &SimulatedProvider, seed: u64) -> LlmClient {
    let limits = EndpointLimits::new()
        .requests_per_minute(scenario::REQUESTS_PER_MINUTE)
        .tokens_per_minute(scenario::TOKENS_PER_MINUTE)
        .burst(scenario::BURST);
    let default = QueueSettings::default().patience;
    let queue = RequestQueue::builder().patience(settings.patience.unwrap_or(default));
    LlmClient::builder()
        .endpoint(Endpoint::new(server.clone()).limits(limits))
        .queue(queue.build().unwrap())
        .seed(seed)
        .build()
        .unwrap()
}
