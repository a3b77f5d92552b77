//! The receiving end of an answer that was not fetched for this call alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::StreamExt as _;

use crate::cache::flight::{FlightError, Participant};
use crate::cache::{Hit, Player, Replay};
use crate::chunk::Chunk;
use crate::client::caching::{Answer, Item, Key};
use crate::client::visit::Visit;
use crate::error::Error;
use crate::options::HitPace;
use crate::report::{CallReport, ServedBy};
use crate::response::{ChatResponse, Completion};
use crate::time::{Instant, now};
use crate::usage::Cost;

/// A call that receives an answer from the cache or from a flight.
pub(super) struct Sharing {
    /// `None` once the answer is complete.
    participant: Option<Participant<Key, Item>>,
    /// Chunks that were received and not handed out yet.
    ready: VecDeque<Chunk>,
    /// What is left to play of an answer that came whole.
    player: Option<Player>,
    /// How one that the cache had is played.
    pace: HitPace,
    /// Whether chunks have arrived one by one.
    streamed: bool,
    /// Whether this call had the answer fetched.
    leads: bool,
    answer: Option<Arc<Answer>>,
    visit: Visit,
}

impl Sharing {
    pub(super) fn of_hit(visit: Visit, pace: HitPace, hit: &Hit) -> Self {
        Self::new(visit, pace, None, Some(Arc::new(Answer::of_hit(hit))), false)
    }

    pub(super) fn of_flight(
        visit: Visit,
        pace: HitPace,
        participant: Participant<Key, Item>,
        leads: bool,
    ) -> Self {
        Self::new(visit, pace, Some(participant), None, leads)
    }

    fn new(
        visit: Visit,
        pace: HitPace,
        participant: Option<Participant<Key, Item>>,
        answer: Option<Arc<Answer>>,
        leads: bool,
    ) -> Self {
        let ready = VecDeque::new();
        Self { participant, ready, player: None, pace, streamed: false, leads, answer, visit }
    }

    pub(super) const fn visit(&self) -> &Visit {
        &self.visit
    }

    /// Receives the answer whole.
    pub(super) async fn whole(mut self: Box<Self>) -> Result<Completion, Error> {
        while self.answer.is_none() {
            std::future::poll_fn(|cx| self.poll_item(cx)).await?;
        }
        self.complete()
    }

    /// Receives up to the first content.
    pub(super) async fn prime(&mut self) -> Result<(), Error> {
        loop {
            let chunk = std::future::poll_fn(|cx| self.poll_arrival(cx)).await?;
            let begun = chunk.is_content() || chunk.is_done();
            self.ready.push_back(chunk);
            if begun {
                return Ok(());
            }
        }
    }

    /// The next chunk, the terminal one last.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Error>> {
        match self.ready.pop_front() {
            Some(chunk) => Poll::Ready(Ok(chunk)),
            None => self.poll_arrival(cx),
        }
    }

    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, Error>> {
        loop {
            if let Some(answer) = &self.answer {
                let answer = Arc::clone(answer);
                return self.poll_whole(&answer, cx);
            }
            if let Some(chunk) = ready!(self.poll_item(cx))? {
                return Poll::Ready(Ok(chunk));
            }
        }
    }

    /// The next chunk of an answer that is there as a whole.
    fn poll_whole(&mut self, answer: &Answer, cx: &mut Context<'_>) -> Poll<Result<Chunk, Error>> {
        let last = || Chunk::done(answer.response.finish.clone());
        if self.streamed {
            return Poll::Ready(Ok(last()));
        }
        let (pace, deadline) = (self.pace, self.visit.deadline);
        let player = self.player.get_or_insert_with(|| player(answer, pace, deadline));
        let chunk = match player.poll_chunk(cx) {
            Poll::Ready(chunk) => chunk.unwrap_or_else(last),
            Poll::Pending => return self.poll_alarm(cx).map(Err),
        };
        if chunk.is_content() {
            self.visit.first_content();
        }
        Poll::Ready(Ok(chunk))
    }

    /// The end of a call that has nothing to receive for too long.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Visit { watchdog, place, deadline, .. } = &mut self.visit;
        let alarm = ready!(watchdog.poll(cx, place, *deadline));
        self.participant = None;
        Poll::Ready(self.visit.cut_short(alarm))
    }

    /// Receives an item; its chunk, where it is one.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Chunk>, Error>> {
        let polled = match &mut self.participant {
            Some(participant) => participant.poll_next_unpin(cx),
            None => Poll::Ready(None),
        };
        let item = match polled {
            Poll::Ready(item) => item.unwrap_or(Err(FlightError::Unfinished)),
            Poll::Pending => return self.poll_alarm(cx).map(Err),
        };
        Poll::Ready(match item {
            Ok(Item::Chunk(chunk)) => Ok(Some(self.receive(&chunk))),
            Ok(Item::Answer(answer)) => {
                (self.participant, self.answer) = (None, Some(answer));
                Ok(None)
            }
            Err(error) => Err(self.visit.fail(lost(error))),
        })
    }

    fn receive(&mut self, chunk: &Chunk) -> Chunk {
        self.streamed = true;
        if chunk.is_content() {
            self.visit.first_content();
        }
        chunk.clone()
    }

    /// Ends the call, whose answer is there.
    pub(super) fn complete(mut self) -> Result<Completion, Error> {
        let Some(answer) = self.answer.take() else {
            return Err(self.visit.fail(lost(FlightError::Unfinished)));
        };
        let report = self.report(&answer.report);
        self.visit.succeed(&answer.response, &report);
        Ok(Completion::new(Arc::clone(&answer.response), report))
    }

    /// What the call itself has to account for.
    fn report(&self, fetched: &CallReport) -> CallReport {
        let mine = self.leads || fetched.served_by.endpoint().is_none();
        let mut report = match mine {
            true => fetched.clone(),
            false => coalesced(fetched),
        };
        (report.ttft, report.total) = (self.visit.ttft, self.visit.elapsed());
        report
    }
}

/// Plays an answer: at once, or over the time it took, the first piece at once all the same.
fn player(answer: &Answer, pace: HitPace, deadline: Instant) -> Player {
    let replay = match (pace, answer.replay) {
        (HitPace::AsFetched, Replay::Paced { first: _, between }) => {
            Replay::Paced { first: Duration::ZERO, between }
        }
        _ => Replay::Burst,
    };
    Player::new(replay, ChatResponse::clone(&answer.response), now()).ending_before(deadline)
}

fn coalesced(fetched: &CallReport) -> CallReport {
    let mut report = CallReport::new(ServedBy::Coalesced, fetched.total);
    report.fell_back_to.clone_from(&fetched.fell_back_to);
    report.cost = Some(Cost::default());
    report
}

fn lost(error: FlightError<Error>) -> Error {
    match error {
        FlightError::Upstream(error) => error,
        FlightError::Panicked => Error::SharedCall { why: "panicked" },
        FlightError::Unfinished => Error::SharedCall { why: "ended without its terminal event" },
        FlightError::Lagged => Error::SharedCall { why: "was received too slowly" },
    }
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing")
            .field("ready", &self.ready.len())
            .field("leads", &self.leads)
            .field("complete", &self.answer.is_some())
            .finish_non_exhaustive()
    }
}
