//! The key everybody shares, and who asks how much of it when.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::ChatRequest;
use evenkeel::rng::Rng;
use evenkeel::testing::{Distribution, ServerLimits, SimulatedProvider};

pub(crate) const REQUESTS_PER_MINUTE: u64 = 600;
pub(crate) const TOKENS_PER_MINUTE: u64 = 600_000;

/// The server lets through at once what comes back in this time.
pub(crate) const BURST: Duration = Duration::from_secs(8);

/// A caller gives up so long after its arrival.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Load comes in spells of this length, with pauses as long between them.
pub(crate) const SPELL: Duration = Duration::from_secs(30);

/// Input tokens of a request: anything in between is as likely. With the output it may have, a
/// request is charged nine tenths of what the limits allow one on average, so that requests run out
/// first, but large ones in a row run into the other limit.
pub(crate) const INPUT: (u64, u64) = (100, 700);
pub(crate) const MOST_OUTPUT: u64 = 500;

/// Seconds from a request to its answer: half take less than the median, one in a hundred four
/// times as long.
pub(crate) const MEDIAN: f64 = 3.0;
pub(crate) const SIGMA: f64 = 0.6;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scenario {
    Bursty,
    /// Others use the key as well, and a client learns of it from its own answers alone.
    Unseen,
    Overload,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bursty => "bursty",
            Self::Unseen => "unseen",
            Self::Overload => "overload",
        }
    }

    /// Mean load by the client, as a part of what the key allows.
    pub(crate) const fn load(self) -> f64 {
        match self {
            Self::Bursty => 0.9,
            Self::Unseen => 0.7,
            Self::Overload => 1.3,
        }
    }

    /// Steady load by others.
    pub(crate) const fn unseen_load(self) -> f64 {
        if matches!(self, Self::Unseen) { 0.2 } else { 0.0 }
    }

    pub(crate) const fn is_bursty(self) -> bool {
        !matches!(self, Self::Overload)
    }

    /// How long calls arrive. All of them are waited for.
    pub(crate) const fn length(self) -> Duration {
        Duration::from_secs(if self.is_bursty() { 300 } else { 600 })
    }

    /// When calls arrive.
    pub(crate) fn arrivals(self, seed: u64) -> Vec<Duration> {
        let busy = if self.is_bursty() { 2.0 } else { 1.0 };
        let arrivals = poisson(seed, self.load() * busy, self.length().div_f64(busy));
        arrivals.map(|at| if self.is_bursty() { with_pauses(at) } else { at }).collect()
    }

    /// When the calls of others do.
    pub(crate) fn unseen_arrivals(self, seed: u64) -> Vec<Duration> {
        poisson(seed, self.unseen_load(), self.length()).collect()
    }
}

/// What is a load of one, in requests a second.
const FULL: f64 = REQUESTS_PER_MINUTE as f64 / 60.0;

/// A Poisson process of so much load: what came before says nothing about when the next call comes.
fn poisson(seed: u64, load: f64, length: Duration) -> impl Iterator<Item = Duration> {
    let rng = Rng::from_seed(seed);
    let gaps = std::iter::repeat_with(move || -(1.0 - rng.unit()).ln() / (load * FULL));
    let offsets = gaps.scan(0.0, |at, gap| {
        *at += gap;
        Some(Duration::try_from_secs_f64(*at).unwrap_or(Duration::MAX))
    });
    offsets.take_while(move |offset| *offset < length)
}

/// Moves an instant within the spells to where it is when there are pauses between them.
fn with_pauses(at: Duration) -> Duration {
    let pauses = (at.as_nanos() / SPELL.as_nanos()) as u32;
    at + SPELL * pauses
}

/// A server that enforces the key's limits and says in every answer what is left of them.
pub(crate) fn server(seed: u64) -> SimulatedProvider {
    let limits = ServerLimits::new()
        .requests_per_minute(REQUESTS_PER_MINUTE)
        .tokens_per_minute(TOKENS_PER_MINUTE)
        .burst_window(BURST);
    SimulatedProvider::builder("key")
        .seed(seed)
        .limits(limits)
        .time_to_first_token(Distribution::log_normal(MEDIAN, SIGMA))
        .output_tokens(1.0)
        .build()
        .unwrap()
}

/// The requests of a run, in the order of their arrival.
pub(crate) fn requests(seed: u64) -> impl Iterator<Item = Arc<ChatRequest>> {
    let rng = Rng::from_seed(seed);
    let (least, most) = INPUT;
    std::iter::repeat_with(move || {
        // The question is the last of the tokens.
        let context = least + rng.below(most - least + 1) - 1;
        let request = ChatRequest::new("m").system("word".repeat(context as usize)).user("what");
        Arc::new(request.max_output_tokens(MOST_OUTPUT))
    })
}
