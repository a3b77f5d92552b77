//! What a call goes by from its start to its end.

use std::sync::Arc;

use crate::cache::flight::Horizon;
use crate::client::active::ActiveCall;
use crate::client::caller::{Caller, Entry};
use crate::client::llm_client::Inner;
use crate::client::until::Until;
use crate::error::Error;
use crate::event::Event;
use crate::options::{Call, Timeouts};
use crate::report::EndpointId;
use crate::time::{Instant, after, now};

/// The terms of a running call: its place among the client's calls and its limits. They do not
/// change, so all that runs for the call may look at them at once.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) client: Arc<Inner>,
    pub(super) place: ActiveCall,
    pub(super) caller: Caller,
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
    /// The terms of a call that was let in.
    pub(super) fn of(client: &Arc<Inner>, call: &Call, entry: Entry) -> Self {
        let until = Until::At(deadline(client, call, entry.start));
        Self::new(client, call, entry, until)
    }

    /// The terms of work that several calls share, who are counted themselves. What is told of it
    /// carries the number of the one that had it done.
    pub(super) fn shared(
        client: &Arc<Inner>,
        call: &Call,
        (caller, place): (Caller, ActiveCall),
        horizon: Horizon,
    ) -> Self {
        let entry = Entry { caller, place, start: now() };
        let mut terms = Self::new(client, call, entry, Until::Shared(horizon));
        terms.shared = true;
        terms
    }

    fn new(client: &Arc<Inner>, call: &Call, entry: Entry, until: Until) -> Self {
        let (options, Entry { caller, place, start }) = (&call.options, entry);
        Self {
            place,
            caller,
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

    /// Tells that there is no retry left for what an attempt on `endpoint` would need.
    pub(super) fn budget_exhausted(&self, endpoint: &EndpointId) {
        let (call, endpoint) = (self.caller.call, endpoint.as_str());
        self.client.emitter.emit(|| Event::RetryBudgetExhausted { call, endpoint });
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
