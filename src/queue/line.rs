//! Standing in line.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::queue::gate::Gate;
use crate::queue::inner::Inner;
use crate::queue::refused::Refused;
use crate::queue::seats::WaiterId;
use crate::queue::state::Account;
use crate::queue::waiter::{Decision, Waiter};
use crate::time::{Instant, Sleep, now, sleep_until};

/// How standing in line ends.
type Outcome<G> = Result<(Option<Account>, <G as Gate>::Pass), Refused<<G as Gate>::Never>>;

/// A call that stands in line. Dropped, it leaves.
pub(super) struct Line<G: Gate> {
    pub(super) inner: Arc<Inner>,
    pub(super) waiter: Arc<Waiter<G>>,
    pub(super) id: WaiterId,
    pub(super) deadline: Instant,
    pub(super) since: Instant,
    pub(super) left: bool,
}

impl<G: Gate> Line<G> {
    /// Stands there until it is decided whether it passes.
    pub(super) async fn wait(mut self) -> Outcome<G> {
        if let Some(outcome) = self.claim() {
            return outcome;
        }
        let mut alarm = pin!(sleep_until(self.deadline));
        poll_fn(|cx| self.poll(cx, alarm.as_mut())).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut Sleep>) -> Poll<Outcome<G>> {
        loop {
            // Registered before the decision is looked for: one in between is not missed.
            self.waiter.register(cx.waker());
            if let Some(outcome) = self.claim() {
                return Poll::Ready(outcome);
            }
            let at = self.inner.shows_up(self.id).unwrap_or(self.deadline);
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
            ready!(alarm.as_mut().poll(cx));
            let now = now();
            if now >= self.deadline {
                return Poll::Ready(Err(self.give_up(now)));
            }
            self.inner.rings(self.id, now);
        }
    }

    /// What was decided.
    pub(super) fn claim(&mut self) -> Option<Outcome<G>> {
        let decision = self.waiter.decision()?;
        self.left = true;
        let account = self.inner.claimed(self.id);
        self.inner.line_down();
        match decision {
            Decision::Pass(pass) => Some(Ok((account, pass))),
            Decision::Refused(why) => Some(Err(why)),
            Decision::Panicked(panic) => resume_unwind(panic),
        }
    }

    fn give_up(&mut self, now: Instant) -> Refused<G::Never> {
        if self.leave() {
            return Refused::Closed;
        }
        Refused::TimedOut { waited: now.saturating_duration_since(self.since) }
    }

    /// Whether the queue is over.
    fn leave(&mut self) -> bool {
        !std::mem::replace(&mut self.left, true) && self.inner.leave_line(self.id)
    }
}

impl<G: Gate> Drop for Line<G> {
    fn drop(&mut self) {
        self.leave();
    }
}
