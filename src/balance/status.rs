//! What an endpoint is doing, for people and readiness checks.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::cell::EndpointCell;
use crate::balance::chooser::millis;
use crate::balance::endpoint::Endpoint;
use crate::balance::state::Condition;
use crate::report::EndpointId;
use crate::time::Instant;

/// One endpoint, as it is right now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its id.
    pub id: EndpointId,
    /// The provider's own id.
    pub provider: Arc<str>,
    /// Whether it may be picked, and if not, why and until when. Where the endpoint names several
    /// models, the one that is worst off.
    pub condition: Condition,
    /// The same for each model it names.
    pub models: Vec<(String, Condition)>,
    /// Leases that are not settled yet.
    pub in_flight: u32,
    /// Its weight, as configured.
    pub weight: u32,
    /// Its tier.
    pub tier: u8,
    /// Its expected time to the first content, as picks see it right now: without new answers it
    /// gives way to what is typical of the balancer. `None` before its first answer.
    pub ttft: Option<Duration>,
    /// Its expected time per output token after the first, in the same way; `None` before its first
    /// counted answer.
    pub time_per_token: Option<Duration>,
}

impl EndpointStatus {
    pub(crate) fn new(
        cell: &EndpointCell,
        config: &Endpoint,
        condition: Condition,
        models: Vec<(String, Condition)>,
        now: Instant,
    ) -> Self {
        let (typical, at) = (&cell.chooser.typical, millis(cell.chooser.nanos(now)));
        Self {
            id: cell.id.clone(),
            provider: Arc::clone(&cell.provider_id),
            condition,
            models,
            in_flight: cell.calls.running(),
            weight: config.share(),
            tier: config.tier_number(),
            ttft: cell.load.ttft_at(typical, at),
            time_per_token: cell.load.time_per_token_at(typical, at),
        }
    }
}
