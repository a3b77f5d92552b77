//! What a simulated server is like, and the answers that follow from it.

use tokio::sync::Semaphore;

use super::distribution::Distribution;
use super::faults::Schedule;
use super::generation::{Echo, Plan};
use super::limits::ServerLimits;
use crate::chunk::ChunkStart;
use crate::error::BuildError;
use crate::provider::Capabilities;
use crate::request::ChatRequest;
use crate::response::FinishReason;
use crate::rng::Rng;
use crate::usage::Usage;

/// The longest answer, as the longest ones of today's models.
const MAX_OUTPUT_TOKENS: u64 = 1 << 17;

/// The rate of a server that was given none: the tokens follow the first one at once.
const AT_ONCE: Distribution = Distribution::Fixed(f64::INFINITY);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) time_to_first_token: Distribution,
    pub(super) tokens_per_second: Option<Distribution>,
    pub(super) output_tokens: Distribution,
    pub(super) capabilities: Capabilities,
    pub(super) usage_factor: Option<f64>,
    pub(super) limits: ServerLimits,
    pub(super) capacity: Option<usize>,
    pub(super) faults: Schedule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            time_to_first_token: Distribution::Fixed(0.0),
            tokens_per_second: None,
            output_tokens: Distribution::Fixed(16.0),
            capabilities: Capabilities::all(),
            usage_factor: Some(1.0),
            limits: ServerLimits::new(),
            capacity: None,
            faults: Schedule::default(),
        }
    }
}

impl Settings {
    pub(super) fn validate(&self) -> Result<(), BuildError> {
        check("time_to_first_token", self.time_to_first_token.fault())?;
        check("tokens_per_second", self.tokens_per_second.as_ref().and_then(rate_fault))?;
        check("output_tokens", self.output_tokens.fault())?;
        check("lie_about_usage", self.usage_factor.and_then(factor_fault))?;
        check("capacity", self.capacity.and_then(capacity_fault))?;
        for (at, (fault, _)) in self.faults.0.iter().enumerate() {
            check(format!("faults[{at}]"), fault.fault())?;
        }
        self.limits.validate()
    }

    pub(super) fn plan(&self, request: &ChatRequest, rng: &Rng) -> Plan {
        let first_token = self.time_to_first_token.sample(rng);
        let rate = self.tokens_per_second.unwrap_or(AT_ONCE).sample(rng);
        let wanted = (self.output_tokens.sample(rng).round() as u64).clamp(1, MAX_OUTPUT_TOKENS);
        let bound = request.sampling.max_output_tokens.unwrap_or(MAX_OUTPUT_TOKENS).max(1);
        let tokens = wanted.min(bound);
        Plan {
            start: ChunkStart::new(),
            echo: Echo::of(request),
            first_token,
            per_token: rate.recip(),
            tokens,
            finish: if wanted > bound { FinishReason::Length } else { FinishReason::Stop },
            usage: self.usage(input_tokens(request), tokens),
            hangs: false,
            cut_at: None,
        }
    }

    fn usage(&self, input: u64, output: u64) -> Option<Usage> {
        let scaled = |tokens: u64, factor: f64| (tokens as f64 * factor).round() as u64;
        self.usage_factor
            .map(|factor| Usage::counted(scaled(input, factor), scaled(output, factor)))
    }
}

fn check(field: impl Into<String>, fault: Option<&'static str>) -> Result<(), BuildError> {
    fault.map_or(Ok(()), |reason| Err(BuildError::new(field.into(), reason)))
}

fn rate_fault(rate: &Distribution) -> Option<&'static str> {
    rate.fault().or_else(|| (rate.floor() <= 0.0).then_some("must be above 0"))
}

fn factor_fault(factor: f64) -> Option<&'static str> {
    let fine = factor.is_finite() && factor >= 0.0;
    (!fine).then_some("the factor must be finite and not negative")
}

fn capacity_fault(places: usize) -> Option<&'static str> {
    let fine = (1..=Semaphore::MAX_PERMITS).contains(&places);
    (!fine).then_some("must be at least 1, and within a semaphore's bounds")
}

/// Input as this server counts it: a token per four bytes of content.
pub(super) fn input_tokens(request: &ChatRequest) -> u64 {
    (request.content_bytes() as u64).div_ceil(4).max(1)
}
