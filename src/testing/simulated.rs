//! A provider that behaves like a server: it takes time, has limits, and fails at times.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::distribution::Distribution;
use super::failure;
use super::faults::Fault;
use super::limits::ServerLimits;
use super::server::{Server, SimulatedStats};
use super::settings::{Settings, input_tokens};
use crate::chunk::{Chunk, ChunkStream};
use crate::error::{BuildError, ProviderError};
use crate::provider::{CallContext, Capabilities, Provider};
use crate::request::ChatRequest;
use crate::response::ChatResponse;

/// A simulated model server, for load tests on a paused clock: an hour of traffic takes seconds, and
/// the same seed and arrivals give the same hour.
///
/// An attempt that arrives first meets the [faults](Fault) that fail at once, then the
/// [rate limits](ServerLimits), then waits, first come first served, for one of the server's
/// [places](SimulatedBuilder::capacity). Then its answer is written: the first token after a time to
/// first token, the others at a rate, both drawn anew for each attempt. The answer repeats the words
/// of the conversation's last message. Input is counted as a token per four bytes of content, which
/// is also what [`count_tokens`](Provider::count_tokens) says.
///
/// A clone is a handle to the same server. Everything an attempt draws depends on the seed and on
/// the attempt's place in the order of arrival alone; give each server of a fleet its own seed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
/// # .block_on(async {
/// use std::time::Duration;
/// use evenkeel::testing::{Distribution, Fault, ServerLimits, SimulatedProvider};
/// use evenkeel::{CallContext, Provider};
///
/// let minute = Duration::from_secs(60);
/// let provider = SimulatedProvider::builder("main")
///     .seed(7)
///     .time_to_first_token(Distribution::log_normal(0.4, 0.6))
///     .tokens_per_second(Distribution::uniform(40.0, 80.0))
///     .output_tokens(Distribution::log_normal(150.0, 0.8))
///     .limits(ServerLimits::new().requests_per_minute(600).tokens_per_minute(600_000))
///     .capacity(32)
///     .fault(Fault::Slow { factor: 8.0 }, minute..4 * minute)
///     .build()?;
///
/// let answer = provider.complete(&"to be".into(), &CallContext::new(evenkeel::time::now())).await;
/// assert!(answer.is_ok_and(|answer| answer.text().starts_with("to be to be")));
/// # Ok::<_, evenkeel::BuildError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SimulatedProvider {
    id: Arc<str>,
    server: Arc<Server>,
}

impl SimulatedProvider {
    /// A server that answers 16 tokens at once, without limits, places or faults.
    pub fn builder(id: impl Into<Arc<str>>) -> SimulatedBuilder {
        SimulatedBuilder { id: id.into(), settings: Settings::default() }
    }

    /// What the server did so far.
    #[must_use]
    pub fn stats(&self) -> SimulatedStats {
        self.server.stats()
    }

    /// Spends the server's limits as somebody else with the same key would: traffic that the client
    /// sees only through the rate limits in its responses. Takes as much as is left.
    pub fn spend_elsewhere(&self, requests: u64, tokens: u64) {
        self.server.spend(requests, tokens);
    }
}

/// Builds a [`SimulatedProvider`]. Nothing takes time or fails unless it is told to.
#[derive(Debug, Clone)]
#[must_use]
pub struct SimulatedBuilder {
    id: Arc<str>,
    settings: Settings,
}

impl SimulatedBuilder {
    /// Sets the seed of everything that is drawn; 0 unless set.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets the time from the start of the work to the first token, in seconds; a `Duration` will
    /// do. Waiting for a place comes on top.
    pub fn time_to_first_token(mut self, seconds: impl Into<Distribution>) -> Self {
        self.settings.time_to_first_token = seconds.into();
        self
    }

    /// Sets how fast tokens follow the first one. Unless set, they all come with it.
    pub fn tokens_per_second(mut self, rate: impl Into<Distribution>) -> Self {
        self.settings.tokens_per_second = Some(rate.into());
        self
    }

    /// Sets the answers' length in tokens. A request's own bound cuts it; 2^17 cuts it in any case.
    pub fn output_tokens(mut self, tokens: impl Into<Distribution>) -> Self {
        self.settings.output_tokens = tokens.into();
        self
    }

    /// Whether the server streams, or answers whole and replays the answer.
    pub const fn streaming(mut self, yes: bool) -> Self {
        self.settings.capabilities.streaming = yes;
        self
    }

    /// Replaces what the server says it can do; streaming is part of it.
    pub const fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.settings.capabilities = capabilities;
        self
    }

    /// Reports no usage.
    pub const fn withhold_usage(mut self) -> Self {
        self.settings.usage_factor = None;
        self
    }

    /// Reports `factor` times the usage. The limits and the statistics know the truth.
    pub const fn lie_about_usage(mut self, factor: f64) -> Self {
        self.settings.usage_factor = Some(factor);
        self
    }

    /// Sets the server's rate limits.
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets how many answers are written at once. Further attempts wait in the server, in the order
    /// in which they came; a place is free again when its answer has ended or was dropped.
    pub const fn capacity(mut self, places: usize) -> Self {
        self.settings.capacity = Some(places);
        self
    }

    /// Adds a fault that is active in `offsets`, counted from [`build`](Self::build). For one that
    /// always is: `Duration::ZERO..Duration::MAX`.
    pub fn fault(mut self, fault: Fault, offsets: Range<Duration>) -> Self {
        self.settings.faults.0.push((fault, offsets));
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// Names the setting that has no meaning.
    pub fn build(self) -> Result<SimulatedProvider, BuildError> {
        self.settings.validate()?;
        let Self { id, settings } = self;
        Ok(SimulatedProvider { id, server: Arc::new(Server::start(settings)) })
    }
}

#[async_trait]
impl Provider for SimulatedProvider {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        self.server.take(request, cx).await?.whole().await
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let generation = self.server.take(request, cx).await?;
        if self.server.capabilities().streaming {
            return Ok(generation.stream());
        }
        let whole = generation.whole().await?;
        Ok(Box::pin(futures::stream::iter(Chunk::from_response(whole).map(Ok))))
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    fn count_tokens(&self, request: &ChatRequest) -> Option<u64> {
        Some(input_tokens(request))
    }

    /// Fails while an [outage](Fault::Outage) lasts.
    async fn probe(&self) -> Result<(), ProviderError> {
        self.server.outage().map_or(Ok(()), |kind| Err(failure::of_kind(kind)))
    }
}

impl fmt::Debug for SimulatedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedProvider")
            .field("id", &self.id)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
