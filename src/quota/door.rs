//! What the fuzzers reach of the reference store: its operations at a time of theirs. No part of the
//! interface.

use std::sync::Arc;

use crate::quota::amounts::Amounts;
use crate::quota::denied::Denied;
use crate::quota::store::{Demand, Grant, MemoryQuotaStore};
use crate::time::Instant;

/// Takes what is demanded from every scope, or from none.
///
/// # Errors
/// The limit that stands against it longest.
pub fn reserve(
    store: &MemoryQuotaStore,
    demand: &Arc<Demand>,
    at: Instant,
) -> Result<Grant, Denied> {
    store.try_reserve(demand, at)
}

/// Corrects what was taken to what was used, and ends the call.
pub fn settle(store: &MemoryQuotaStore, grant: &Grant, actual: &Amounts, at: Instant) {
    store.settle_at(grant, actual, at);
}
