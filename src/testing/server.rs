//! The server behind a simulated provider's handles: it admits attempts and gives them places.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure;
use super::generation::{Generation, Plan};
use super::limits::Account;
use super::meter::{CallCounts, Fate, Meter, OpenCall};
use super::settings::{Settings, input_tokens};
use crate::chunk::ChunkStart;
use crate::error::{ErrorKind, ProviderError};
use crate::provider::{CallContext, Capabilities};
use crate::rate_limits::RateLimits;
use crate::request::ChatRequest;
use crate::rng::Rng;
use crate::time::{Instant, now};

/// What a [`SimulatedProvider`](super::SimulatedProvider) did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedStats {
    /// What became of the attempts.
    pub calls: CallCounts,
    /// Input tokens of the attempts that passed the limits.
    pub input_tokens: u64,
    /// Output tokens that were handed over.
    pub output_tokens: u64,
}

/// The server behind the handles. No lock is held while anything waits.
#[derive(Debug)]
pub(super) struct Server {
    settings: Settings,
    started: Instant,
    meter: Meter,
    places: Option<Arc<Semaphore>>,
    books: Mutex<Books>,
    /// Output tokens that were handed over.
    written: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Books {
    account: Account,
    arrivals: u64,
    input_tokens: u64,
}

impl Server {
    pub(super) fn start(settings: Settings) -> Self {
        let started = now();
        let account = Account::new(&settings.limits, started);
        let books = Books { account, arrivals: 0, input_tokens: 0 };
        Self {
            started,
            meter: Meter::default(),
            places: settings.capacity.map(|places| Arc::new(Semaphore::new(places))),
            books: Mutex::new(books),
            written: Arc::default(),
            settings,
        }
    }

    pub(super) async fn take(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<Generation, ProviderError> {
        let mut call = self.meter.start();
        let plan = self.admit(request, cx).inspect_err(|error| refuse(&mut call, error))?;
        let place = self.place().await;
        Ok(Generation::begin(plan, place, call, Arc::clone(&self.written)))
    }

    fn admit(&self, request: &ChatRequest, cx: &CallContext) -> Result<Plan, ProviderError> {
        let (number, now) = (self.arrival(), now());
        let rng = draws(self.settings.seed, number);
        // The answer is drawn before its troubles, so that a run with faults and one without differ
        // in the faults alone.
        let plan = self.settings.plan(request, &rng);
        let troubles = self.settings.faults.troubles(self.offset(now), &rng);
        if let Some(kind) = troubles.fails {
            return Err(failure::of_kind(kind));
        }
        let rate_limits = self.charge(request, now)?;
        Ok(plan.troubled(&troubles).started(started(request, cx, number, rate_limits)))
    }

    fn offset(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    fn arrival(&self) -> u64 {
        let mut books = self.books.lock();
        books.arrivals += 1;
        books.arrivals
    }

    fn charge(
        &self,
        request: &ChatRequest,
        now: Instant,
    ) -> Result<Option<RateLimits>, ProviderError> {
        let input = input_tokens(request);
        let most_output = request.sampling.max_output_tokens;
        let output = most_output.unwrap_or(self.settings.limits.assumed_output);
        let mut books = self.books.lock();
        let hints = books.account.charge(input.saturating_add(output), now)?;
        books.input_tokens += input;
        Ok(hints)
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(self.places.as_ref()?);
        // It is never closed, so that there always is a permit in the end.
        places.acquire_owned().await.ok()
    }

    pub(super) fn spend(&self, requests: u64, tokens: u64) {
        self.books.lock().account.spend(requests, tokens, now());
    }

    pub(super) fn outage(&self) -> Option<ErrorKind> {
        self.settings.faults.outage(self.offset(now()))
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.settings.capabilities
    }

    pub(super) fn stats(&self) -> SimulatedStats {
        SimulatedStats {
            calls: self.meter.counts(),
            input_tokens: self.books.lock().input_tokens,
            output_tokens: self.written.load(Ordering::Relaxed),
        }
    }
}

fn refuse(call: &mut OpenCall, error: &ProviderError) {
    let limited = error.kind() == ErrorKind::RateLimited;
    call.settle(if limited { Fate::RateLimited } else { Fate::Failed });
}

/// The draws of one attempt. The seed is mixed before the number is added: otherwise the second
/// attempt at seed 1 would draw what the first one at seed 2 does.
fn draws(seed: u64, number: u64) -> Rng {
    Rng::from_seed(Rng::from_seed(seed).next_u64().wrapping_add(number))
}

fn started(
    request: &ChatRequest,
    cx: &CallContext,
    number: u64,
    rate_limits: Option<RateLimits>,
) -> ChunkStart {
    let mut start = ChunkStart::new();
    start.id = Some(format!("simulated-{number}"));
    start.request_id = start.id.clone();
    start.model = cx.model(request).map(str::to_owned);
    start.rate_limits = rate_limits.map(Box::new);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_seeds_and_attempts_draw_apart() {
        let first = |seed, number| draws(seed, number).next_u64();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(2, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(draws(1, 1).below(1 << 40), draws(2, 1).below(1 << 40));
    }
}
