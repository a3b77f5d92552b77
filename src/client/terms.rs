//! What a call goes by from its start to its end.

use std::sync::Arc;

use crate::client::active::ActiveCall;
use crate::client::llm_client::Inner;
use crate::error::Error;
use crate::options::{Call, TenantId, Timeouts};
use crate::request::ChatRequest;
use crate::time::{Instant, after, now};

/// The terms of a running call: its place among the client's calls and its limits. They do not
/// change, so all that runs for the call may look at them at once.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) client: Arc<Inner>,
    pub(super) place: ActiveCall,
    pub(super) request: Arc<ChatRequest>,
    pub(super) tenant: Option<TenantId>,
    pub(super) start: Instant,
    pub(super) deadline: Instant,
    pub(super) timeouts: Timeouts,
    /// The most attempts with one model.
    pub(super) max_attempts: u32,
    /// Whether the caller lets the client hedge.
    pub(super) may_hedge: bool,
}

impl Terms {
    /// Starts a call; `Err` when the client takes no more.
    pub(super) fn of(client: &Arc<Inner>, call: &Call) -> Result<Self, Error> {
        let closed = || Error::Closed { trail: Box::default() };
        let options = &call.options;
        let place = client.active.enter().ok_or_else(closed)?;
        let start = now();
        let timeouts = options.timeouts.unwrap_or(client.timeouts);
        let total = || after(start, timeouts.total);
        Ok(Self {
            place,
            request: Arc::clone(&call.request),
            tenant: options.tenant.clone(),
            start,
            deadline: options.deadline.map_or_else(total, |deadline| deadline.resolve(start)),
            timeouts,
            max_attempts: options.max_attempts.unwrap_or(client.retry.max_attempts),
            may_hedge: options.hedge.unwrap_or(true),
            client: Arc::clone(client),
        })
    }
}
