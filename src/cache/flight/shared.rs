//! A flight as its participants share it: the lock, the polling, the waking.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::task::{ArcWake, waker_ref};

use crate::cache::flight::failure::{Failure, FlightError};
use crate::cache::flight::fleet::{Fleet, Hashed};
use crate::cache::flight::horizon::Horizon;
use crate::cache::flight::leader::Upstream;
use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::state::{After, Next, State, Turn};
use crate::cache::flight::waiters::MemberId;
use crate::sync::Mutex;
use crate::time::Instant;

/// A flight. The fleet holds it as long as it takes members, and each member holds it.
pub(super) struct Flight<K: Key, P: Piece> {
    pub(super) key: Hashed<K>,
    pub(super) horizon: Horizon,
    fleet: Arc<Fleet<K, P>>,
    state: Mutex<State<P, Upstream<P>>>,
}

impl<K: Key, P: Piece> Flight<K, P> {
    pub(super) fn new(fleet: &Arc<Fleet<K, P>>, key: Hashed<K>, deadline: Instant) -> Self {
        Self {
            key,
            horizon: Horizon::new(deadline),
            fleet: Arc::clone(fleet),
            state: Mutex::new(State::new(fleet.bounds().bytes)),
        }
    }

    /// Takes a new member, which leads if nobody does; `None` where the flight takes no more.
    pub(super) fn board(&self, deadline: Instant) -> Option<(MemberId, bool)> {
        let boarded = self.state.lock().board()?;
        self.horizon.extend(deadline);
        Some(boarded)
    }

    pub(super) fn launch(&self, launcher: MemberId, upstream: Upstream<P>) {
        let mut after = After::default();
        self.state.lock().launch(launcher, upstream, &mut after);
        self.finish(&mut after);
    }

    /// What the member, which has read up to `position`, gets. Polls the work where it is ready.
    pub(super) fn poll(
        self: &Arc<Self>,
        member: MemberId,
        position: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Turn<P>> {
        loop {
            let mut after = After::default();
            let next = self.state.lock().poll(member, position, cx.waker(), &mut after);
            let work = match next {
                Next::Turn(turn) => return Poll::Ready(turn),
                Next::Wait => return Poll::Pending,
                Next::Work(work) => work,
            };
            match self.advance(work, member, cx.waker(), &mut after) {
                Poll::Ready(None) => {}
                Poll::Ready(Some(item)) => return Poll::Ready(Turn::Item(item)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Polls the work once. The item it gave, or none where the flight has ended for somebody.
    fn advance(
        self: &Arc<Self>,
        mut work: Upstream<P>,
        member: MemberId,
        waker: &Waker,
        after: &mut After<P>,
    ) -> Poll<Option<P>> {
        let polled = poll_contained(&mut work, &mut Context::from_waker(&waker_ref(self)));
        let polled = match polled {
            Poll::Pending => {
                self.state.lock().park(member, work, waker, after);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(item))) if !item.is_last() => {
                self.state.lock().publish(work, item.clone(), after);
                Poll::Ready(Some(item))
            }
            Poll::Ready(end) => {
                // First, so that whoever sees the end finds released what the work held.
                drop_contained(work);
                Poll::Ready(self.end(end, after))
            }
        };
        self.finish(after);
        polled
    }

    /// The last item, which the participant that has polled it need not look up.
    fn end(&self, end: Option<Result<P, Ended<P::Error>>>, after: &mut After<P>) -> Option<P> {
        let mut state = self.state.lock();
        match end {
            Some(Ok(last)) => {
                state.complete(last.clone(), after);
                return Some(last);
            }
            Some(Err(Ended::Failed(Failure::Own(error)))) => state.withdraw(error, after),
            Some(Err(Ended::Failed(Failure::Shared(error)))) => {
                state.fail(FlightError::Upstream(error), after);
            }
            Some(Err(Ended::Panicked)) => state.fail(FlightError::Panicked, after),
            None => state.fail(FlightError::Unfinished, after),
        }
        None
    }

    pub(super) fn leave(&self, member: MemberId) {
        let mut after = After::default();
        let remains = self.state.lock().leave(member, &mut after);
        self.finish(&mut after);
        drop_contained(remains);
    }

    fn finish(&self, after: &mut After<P>) {
        if after.closed {
            self.fleet.unlink(self);
        }
        after.wakers.drain(..).for_each(Waker::wake);
    }

    /// Participants on board, and bytes of answer kept.
    pub(super) fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.members(), state.bytes())
    }
}

/// The flight is its work's waker, whoever polls: the work need not be polled again to learn of
/// another waker when somebody else takes over.
impl<K: Key, P: Piece> ArcWake for Flight<K, P> {
    fn wake_by_ref(this: &Arc<Self>) {
        let mut after = After::default();
        this.state.lock().notify(&mut after);
        this.finish(&mut after);
    }
}

enum Ended<E> {
    Failed(Failure<E>),
    Panicked,
}

type Polled<P> = Poll<Option<Result<P, Ended<<P as Piece>::Error>>>>;

fn poll_contained<P: Piece>(work: &mut Upstream<P>, cx: &mut Context<'_>) -> Polled<P> {
    let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll_next(cx)));
    match polled {
        Ok(polled) => polled.map(|item| item.map(|item| item.map_err(Ended::Failed))),
        Err(_) => Poll::Ready(Some(Err(Ended::Panicked))),
    }
}

/// A destructor of the work's that panics must not take along a participant, which may be dropped
/// by a panic of its own.
fn drop_contained<T>(foreign: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(foreign)));
}
