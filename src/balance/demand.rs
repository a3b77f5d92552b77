//! What a call asks of the balancer, and why it may not get it.

use std::hash::Hasher;

use crate::balance::mirror::{Spend, Want};
use crate::error::NoEndpoint;
use crate::provider::Capabilities;
use crate::request::{ChatRequest, Part};
use crate::time::Instant;

/// What a lease is wanted for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Demand<'a> {
    /// The logical model; `None` is each endpoint's default.
    pub model: Option<&'a str>,
    /// What the endpoint must be able to do.
    pub needs: Capabilities,
    /// Endpoints that are not wanted, because the call has tried them.
    pub exclude: &'a [EndpointKey],
    /// Input tokens, for endpoints with declared limits or prices.
    pub input_tokens: u64,
    /// Output tokens at the most, where the call bounds them.
    pub output_tokens: Option<u64>,
    /// Calls of one key prefer one endpoint, where the strategy heeds it.
    pub affinity: Option<u64>,
}

/// Identifies an endpoint of a balancer while it runs. An endpoint that is removed and added again
/// gets a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey(pub(crate) u32);

/// How much of a prompt makes it alike: providers cache prompts from about a thousand tokens on and
/// route by the first few hundred.
const PREFIX_BYTES: usize = 1024;

impl<'a> Demand<'a> {
    /// Any endpoint that serves `model`.
    #[must_use]
    pub const fn new(model: Option<&'a str>) -> Self {
        Self {
            model,
            needs: Capabilities::text_only(),
            exclude: &[],
            input_tokens: 0,
            output_tokens: None,
            affinity: None,
        }
    }

    /// What `request` needs. Input tokens are taken as a quarter of the bytes. Linear in the number
    /// of its parts.
    #[must_use]
    pub fn of(request: &'a ChatRequest) -> Self {
        Self {
            needs: Capabilities::needed_by(request),
            input_tokens: request.content_bytes() as u64 / 4,
            output_tokens: request.sampling.max_output_tokens,
            ..Self::new(request.model.as_deref())
        }
    }

    /// For another model than the request's own.
    #[must_use]
    pub const fn model(mut self, model: Option<&'a str>) -> Self {
        self.model = model;
        self
    }

    /// With the session as the key of its affinity, or else the beginning of the prompt.
    #[must_use]
    pub fn with_affinity(mut self, session: Option<&str>, request: &ChatRequest) -> Self {
        let mut hasher = Fnv::default();
        match session {
            Some(session) => hasher.write(session.as_bytes()),
            None => hash_prefix(request, &mut hasher),
        }
        self.affinity = Some(hasher.finish());
        self
    }

    /// With endpoints that are not wanted.
    #[must_use]
    pub const fn excluding(mut self, exclude: &'a [EndpointKey]) -> Self {
        self.exclude = exclude;
        self
    }

    /// What a limit counts for it: an unbounded answer is taken to be a typical one.
    pub(crate) fn want(&self, typical_output: u64) -> Want {
        let spend =
            |guess| Spend { input: self.input_tokens, output: self.output_tokens.unwrap_or(guess) };
        Want { expected: spend(typical_output), certain: spend(0) }
    }
}

fn hash_prefix(request: &ChatRequest, hasher: &mut Fnv) {
    let mut left = PREFIX_BYTES;
    for text in
        request.messages.iter().flat_map(|message| &message.content).filter_map(Part::as_text)
    {
        let prefix = &text.as_bytes()[..text.len().min(left)];
        hasher.write(prefix);
        left -= prefix.len();
        if left == 0 {
            return;
        }
    }
}

/// FNV-1a: the same on every instance of a service, so that all of them prefer the same endpoint.
/// A caller who makes keys collide gains nothing but a busier endpoint for itself.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The same for the name of an endpoint.
pub(crate) fn seed_of(id: &str) -> u64 {
    let mut hasher = Fnv::default();
    hasher.write(id.as_bytes());
    hasher.finish()
}

/// Why there is no lease: "never" and "not yet" are different things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoLease {
    /// No endpoint can ever serve the demand.
    #[error(transparent)]
    Never(NoEndpoint),
    /// Every endpoint that could is excluded or out of service; the first one returns then, if
    /// that is known.
    #[error("every endpoint is out of service")]
    NotBefore(Option<Instant>),
}
