//! What a call asks of the balancer, and why it may not get it.

use crate::balance::cell::EndpointCell;
use crate::error::NoEndpoint;
use crate::provider::Capabilities;
use crate::request::ChatRequest;
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
}

/// Identifies an endpoint of a balancer while it runs. An endpoint that is removed and added again
/// gets a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointKey(pub(crate) u32);

impl<'a> Demand<'a> {
    /// Any endpoint that serves `model`.
    #[must_use]
    pub const fn new(model: Option<&'a str>) -> Self {
        Self { model, needs: Capabilities::text_only(), exclude: &[] }
    }

    /// What `request` needs.
    #[must_use]
    pub fn of(request: &'a ChatRequest) -> Self {
        Self { needs: Capabilities::needed_by(request), ..Self::new(request.model.as_deref()) }
    }

    /// With endpoints that are not wanted.
    #[must_use]
    pub const fn excluding(mut self, exclude: &'a [EndpointKey]) -> Self {
        self.exclude = exclude;
        self
    }

    #[inline]
    pub(crate) fn admits(&self, cell: &EndpointCell) -> bool {
        cell.capabilities.missing(&self.needs).is_none() && !self.exclude.contains(&cell.key)
    }
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
