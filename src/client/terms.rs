//! What a call goes by from its start to its end.

use std::sync::Arc;

use crate::cache::flight::Horizon;
use crate::client::active::ActiveCall;
use crate::client::llm_client::Inner;
use crate::client::until::Until;
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
    until: Until,
    /// Whether several calls share what runs under these terms: each of them then tells of its own
    /// end.
    pub(super) shared: bool,
    pub(super) timeouts: Timeouts,
    /// The most attempts with one model.
    pub(super) max_attempts: u32,
    /// Whether the caller lets the client hedge.
    pub(super) may_hedge: bool,
}

impl Terms {
    /// Starts a call; `Err` when the client takes no more.
    pub(super) fn of(client: &Arc<Inner>, call: &Call) -> Result<Self, Error> {
        let place = client.active.enter().ok_or_else(closed)?;
        let start = now();
        let until = Until::At(deadline(client, call, start));
        Ok(Self::new(client, call, place, start, until))
    }

    /// The terms of work that several calls share, who are counted themselves.
    pub(super) fn shared(
        client: &Arc<Inner>,
        call: &Call,
        place: ActiveCall,
        horizon: Horizon,
    ) -> Self {
        let mut terms = Self::new(client, call, place, now(), Until::Shared(horizon));
        terms.shared = true;
        terms
    }

    fn new(
        client: &Arc<Inner>,
        call: &Call,
        place: ActiveCall,
        start: Instant,
        until: Until,
    ) -> Self {
        let options = &call.options;
        Self {
            place,
            request: Arc::clone(&call.request),
            tenant: options.tenant.clone(),
            start,
            until,
            shared: false,
            timeouts: options.timeouts.unwrap_or(client.timeouts),
            max_attempts: options.max_attempts.unwrap_or(client.retry.max_attempts),
            may_hedge: options.hedge.unwrap_or(true),
            client: Arc::clone(client),
        }
    }

    /// When the call must have ended.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        self.until.instant()
    }

    pub(super) const fn until(&self) -> &Until {
        &self.until
    }
}

/// When `call`, made at `start`, must have ended.
pub(super) fn deadline(client: &Inner, call: &Call, start: Instant) -> Instant {
    let timeouts = call.options.timeouts.as_ref().unwrap_or(&client.timeouts);
    let total = || after(start, timeouts.total);
    call.options.deadline.map_or_else(total, |deadline| deadline.resolve(start))
}

pub(super) fn closed() -> Error {
    Error::Closed { trail: Box::default() }
}
