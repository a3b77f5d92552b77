//! What an endpoint is doing, for people and readiness checks.

use crate::balance::state::Condition;
use crate::report::EndpointId;

/// One endpoint, as it is right now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its id.
    pub id: EndpointId,
    /// Whether it may be picked, and if not, why and until when. Where the endpoint names several
    /// models, the one that is worst off.
    pub condition: Condition,
    /// Leases that are not settled yet.
    pub in_flight: u32,
    /// Its weight.
    pub weight: u32,
    /// Its tier.
    pub tier: u8,
}

impl EndpointStatus {
    pub(crate) const fn new(
        id: EndpointId,
        condition: Condition,
        in_flight: u32,
        weight: u32,
        tier: u8,
    ) -> Self {
        Self { id, condition, in_flight, weight, tier }
    }
}
