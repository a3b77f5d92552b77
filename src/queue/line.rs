//! Standing in line, as a future.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::queue::fair::WaiterId;
use crate::queue::gate::Gate;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::request_queue::Inner;
use crate::queue::slot::{Account, Slot};
use crate::queue::waiter::Waiter;
use crate::time::{Instant, Sleep, now, sleep_until};

/// How standing in line ends.
type Outcome<G> = Result<(Slot, <G as Gate>::Pass), Refused<<G as Gate>::Never>>;

/// A call that stands in line. Dropped, it leaves.
pub(super) struct Line<G: Gate> {
    inner: Arc<Inner>,
    waiter: Arc<Waiter<G>>,
    id: WaiterId,
    place: Place,
    deadline: Instant,
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    left: bool,
}

impl<G: Gate> Line<G> {
    pub(super) fn new(
        inner: Arc<Inner>,
        waiter: Arc<Waiter<G>>,
        id: WaiterId,
        place: Place,
        deadline: Instant,
        since: Instant,
    ) -> Self {
        Self { inner, waiter, id, place, deadline, since, sleep: None, left: false }
    }

    /// What the queue decided, with the place it was decided for.
    fn claim(&mut self) -> Option<Outcome<G>> {
        let outcome = self.waiter.claim()?;
        self.left = true;
        let grant = self.inner.at_desk(|desk| desk.claimed(self.id));
        self.inner.line_down();
        let account = grant.map(|grant| Account { lane: grant.lane, waiting: grant.waiting });
        Some(outcome.map(|pass| (Slot::queued(&self.inner, self.place.clone(), account), pass)))
    }

    /// Sleeps until the deadline, or until this waiter has to look after its lane.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.inner.at_desk(|desk| desk.alarm(self.id));
        let at = alarm.map_or(self.deadline, |alarm| alarm.min(self.deadline));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            let aftermath = self.inner.at_desk(|desk| desk.leave(self.id));
            aftermath.carry_out();
            self.inner.line_down();
            // Its place, its timer or what it was granted: somebody else has it now.
            self.inner.freed();
        }
    }
}

impl<G: Gate> Future for Line<G> {
    type Output = Outcome<G>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            // Registered before the decision is looked for: one in between is not missed.
            self.waiter.register(cx.waker());
            if let Some(outcome) = self.claim() {
                return Poll::Ready(outcome);
            }
            ready!(self.poll_alarm(cx));
            let now = now();
            if now >= self.deadline {
                self.leave();
                let waited = now.saturating_duration_since(self.since);
                return Poll::Ready(Err(Refused::TimedOut { waited }));
            }
            self.inner.dispatch(now);
        }
    }
}

impl<G: Gate> Drop for Line<G> {
    fn drop(&mut self) {
        self.leave();
    }
}
