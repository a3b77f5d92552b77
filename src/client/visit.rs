//! A call whose answer somebody else may fetch: what is its own of it.

use std::sync::Arc;
use std::time::Duration;

use crate::client::active::ActiveCall;
use crate::client::llm_client::Inner;
use crate::client::terms::{closed, deadline};
use crate::client::watchdog::{Alarm, Watchdog, guarded};
use crate::error::Error;
use crate::event::Event;
use crate::options::Call;
use crate::report::{Phase, Trail};
use crate::time::{Instant, now};

/// A call's place among those that run, its deadline, and what it tells of its end. Dropping it ends
/// the call as cancelled.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) client: Arc<Inner>,
    pub(super) place: ActiveCall,
    pub(super) start: Instant,
    pub(super) deadline: Instant,
    pub(super) watchdog: Watchdog,
    /// From the application's call to the first content it received.
    pub(super) ttft: Option<Duration>,
    ended: bool,
}

impl Visit {
    /// Starts a call; `Err` when the client takes no more.
    pub(super) fn begin(client: &Arc<Inner>, call: &Call, start: Instant) -> Result<Self, Error> {
        Ok(Self {
            place: client.active.enter().ok_or_else(closed)?,
            start,
            deadline: deadline(client, call, start),
            watchdog: Watchdog::default(),
            ttft: None,
            ended: false,
            client: Arc::clone(client),
        })
    }

    /// Waits for `work` for as long as the call has.
    pub(super) async fn wait<F: Future>(&mut self, work: F) -> Result<F::Output, Error> {
        let Self { watchdog, place, deadline, .. } = self;
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
        self.end(error.label(), error.trail().len());
        error
    }

    /// Ends the call with an answer, for which so many attempts were made on its behalf.
    pub(super) fn succeed(&mut self, attempts: usize) {
        self.end("success", attempts);
    }

    fn end(&mut self, outcome: &'static str, attempts: usize) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.place.release();
        self.client.emitter.emit(|| Event::CallEnded {
            outcome,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            ttft: self.ttft,
            total: self.elapsed(),
        });
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end("cancelled", 0);
    }
}
