//! A call whose answer somebody else may fetch: what is its own of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::client::active::ActiveCall;
use crate::client::caller::{Caller, Ending, Entry};
use crate::client::llm_client::Inner;
use crate::client::terms::deadline;
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::Error;
use crate::options::Call;
use crate::report::{CallReport, Phase, Trail};
use crate::response::ChatResponse;
use crate::time::{Instant, now};

/// A call's place among those that run, its deadline, and what it tells of its end. Dropping it ends
/// the call as cancelled.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) client: Arc<Inner>,
    pub(super) caller: Caller,
    pub(super) place: ActiveCall,
    pub(super) start: Instant,
    pub(super) deadline: Instant,
    pub(super) watchdog: Watchdog,
    /// From the application's call to the first content it received.
    pub(super) ttft: Option<Duration>,
    ended: bool,
}

impl Visit {
    /// Of a call that was let in.
    pub(super) fn of(client: &Arc<Inner>, call: &Call, entry: Entry) -> Self {
        let Entry { caller, place, start } = entry;
        Self {
            place,
            caller,
            start,
            deadline: deadline(client, call, start),
            watchdog: Watchdog::default(),
            ttft: None,
            ended: false,
            client: Arc::clone(client),
        }
    }

    /// Waits for `work` for as long as the call has.
    pub(super) async fn wait<F: Future>(&mut self, work: F) -> Result<F::Output, Error> {
        let Self { watchdog, place, deadline, .. } = self;
        let work = pin!(work);
        match guarded(watchdog, place, *deadline, work).await {
            Ok(output) => Ok(output),
            Err(alarm) => Err(self.cut_short(alarm)),
        }
    }

    /// Content has arrived.
    pub(super) fn first_content(&mut self) {
        if self.ttft.is_none() {
            self.ttft = Some(self.elapsed());
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }

    /// Ends the call because of `alarm`.
    pub(super) fn cut_short(&mut self, alarm: Alarm) -> Error {
        let phase = if self.ttft.is_some() { Phase::Streaming } else { Phase::FirstContent };
        let (elapsed, trail) = (self.elapsed(), Box::<Trail>::default());
        self.fail(match alarm {
            Alarm::Limit => Error::Deadline { phase, elapsed, partial: None, trail },
            Alarm::CutOff => Error::Closed { trail },
        })
    }

    /// Ends the call with `error`.
    pub(super) fn fail(&mut self, error: Error) -> Error {
        let mut end = Ending::new(error.label(), self.elapsed());
        end.attempts = count(error.trail().len());
        self.end(end);
        error
    }

    /// Ends the call with `response`, which came about as `report` says.
    pub(super) fn succeed(&mut self, response: &ChatResponse, report: &CallReport) {
        let mut end = Ending::new("success", report.total);
        end.source = report.served_by.label();
        end.endpoint = report.served_by.endpoint();
        end.response = Some(response);
        end.attempts = count(report.attempts.len());
        end.queued = report.queued;
        end.overhead = report.overhead();
        end.cost = report.cost;
        // What the cache or another call gave took nothing.
        if end.endpoint.is_some() {
            end.usage = response.usage;
        }
        self.end(end);
    }

    fn end(&mut self, mut end: Ending<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.place.release();
        end.ttft = self.ttft;
        self.caller.tell_end(&self.client, &end);
    }
}

fn count(attempts: usize) -> u32 {
    u32::try_from(attempts).unwrap_or(u32::MAX)
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Ending::new("cancelled", self.elapsed()));
        }
    }
}
