//! The clients to compare with: they send at once, and again after a pause.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::rng::Rng;
use evenkeel::testing::SimulatedProvider;
use evenkeel::time::{Instant, after, now, sleep_until, until};
use evenkeel::{CallContext, ChatRequest, Provider, ProviderError};

use crate::scenario::DEADLINE;
use crate::traffic::Answers;

/// Whether and when a refused request is sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Retries {
    None,
    /// As the vendors' libraries do unless told otherwise: 0.5 s, doubling up to 8 s, less up to a
    /// quarter of it.
    Sdk,
    /// As the vendors' guides advise: anything from 1 s to a bound that doubles from 1 s up to 60 s.
    Exponential,
    /// When the server said, and up to a quarter later.
    RetryAfter,
}

impl Retries {
    const fn most(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Sdk => 2,
            Self::Exponential | Self::RetryAfter => 6,
        }
    }

    /// The pause before retry number `retry`, from 0.
    fn pause(self, retry: u32, error: &ProviderError, rng: &Rng) -> Duration {
        let doubled = f64::from(1_u32 << retry);
        let seconds = match self {
            Self::None => 0.0,
            Self::Sdk => (0.5 * doubled).min(8.0) * (1.0 - rng.unit() / 4.0),
            Self::Exponential => 1.0 + rng.unit() * (doubled.min(60.0) - 1.0),
            Self::RetryAfter => {
                let hint = error.retry_hint().unwrap_or(Duration::from_secs(1));
                hint.as_secs_f64() * (1.0 + rng.unit() / 4.0)
            }
        };
        Duration::from_secs_f64(seconds)
    }
}

#[derive(Debug)]
pub(crate) struct PlainClient {
    retries: Retries,
    server: SimulatedProvider,
    rng: Rng,
}

impl PlainClient {
    pub(crate) fn new(retries: Retries, server: &SimulatedProvider, seed: u64) -> Self {
        Self { retries, server: server.clone(), rng: Rng::from_seed(seed) }
    }

    /// When the attempt started that was answered.
    async fn send(&self, request: &ChatRequest, deadline: Instant) -> Option<Instant> {
        let cx = CallContext::new(deadline);
        for retry in 0.. {
            let started = now();
            let Err(error) = until(deadline, self.server.complete(request, &cx)).await? else {
                return Some(started);
            };
            let next = after(now(), self.retries.pause(retry, &error, &self.rng));
            if retry == self.retries.most() || next >= deadline {
                return None;
            }
            sleep_until(next).await;
        }
        None
    }
}

impl Answers for PlainClient {
    async fn answers(&self, request: &Arc<ChatRequest>) -> Option<Duration> {
        let arrival = now();
        let started = self.send(request, after(arrival, DEADLINE)).await?;
        Some(started - arrival)
    }
}
