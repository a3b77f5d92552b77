//! The decisions of a flight. Pure: it polls nothing, wakes nobody and drops nothing foreign. What is
//! to be done once the lock is released, it adds to an [`After`].

use std::collections::VecDeque;
use std::task::Waker;

use smallvec::SmallVec;

use crate::cache::flight::failure::FlightError;
use crate::cache::flight::log::{Lagged, Log};
use crate::cache::flight::piece::Piece;
use crate::cache::flight::waiters::{MemberId, Waiters};

/// How many waiters are told that there is something to do. Each would do; the second one is for the
/// case that the first is alive and not polled.
const SUMMONED: usize = 2;

/// A flight. `W` is the upstream work, which is only kept here.
pub(super) struct State<P: Piece, W> {
    stage: Stage<P::Error, W>,
    log: Log<P>,
    waiters: Waiters,
    members: usize,
    /// Launchers whose work failed by their own fault and who have not heard of it yet.
    own_failures: Vec<(MemberId, P::Error)>,
}

enum Stage<E, W> {
    /// The member leads and has not launched yet.
    Led(MemberId),
    /// Nobody leads. The next member to be polled or to join will.
    Vacant,
    /// The work runs.
    Aloft {
        /// `None` once it has left: its number may be another's by then.
        launcher: Option<MemberId>,
        /// `None` while a member polls it.
        work: Option<W>,
        /// Whether the work was woken since it was last polled.
        ready: bool,
    },
    /// The work is over.
    Landed(Result<(), FlightError<E>>),
    /// The last member has left.
    Deserted,
}

/// What a member is told when it is polled.
pub(super) enum Turn<P: Piece> {
    /// It leads now.
    Lead,
    Item(P),
    Complete,
    Broken(FlightError<P::Error>),
}

/// What a member's poll comes to.
pub(super) enum Next<P: Piece, W> {
    Turn(Turn<P>),
    /// It is to poll the work, and to hand it back.
    Work(W),
    Wait,
}

/// What is left to do without the lock: to wake, to unlink and to drop. Destructors are foreign code,
/// a waker's too: it may run its task's, and that may come back here.
pub(super) struct After<P: Piece> {
    pub(super) wakers: SmallVec<[Waker; 16]>,
    /// Whether the flight takes no more members from now on.
    pub(super) closed: bool,
    pub(super) retired: SmallVec<[Waker; 2]>,
    pub(super) shed: SmallVec<[P; 1]>,
    pub(super) unheard: Option<P::Error>,
}

impl<P: Piece> After<P> {
    /// There seldom is one, and extending by none costs as much as by some.
    fn retire(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.retired.push(waker);
        }
    }
}

impl<P: Piece> Default for After<P> {
    fn default() -> Self {
        Self {
            wakers: SmallVec::new(),
            closed: false,
            retired: SmallVec::new(),
            shed: SmallVec::new(),
            unheard: None,
        }
    }
}

/// All that the last member leaves behind, the work included. To be dropped.
pub(super) struct Remains<P: Piece, W> {
    _stage: Stage<P::Error, W>,
    _log: VecDeque<P>,
}

impl<P: Piece, W> State<P, W> {
    /// A flight without members, that keeps `bound` bytes of answer.
    pub(super) fn new(bound: usize) -> Self {
        Self {
            stage: Stage::Vacant,
            log: Log::new(bound),
            waiters: Waiters::default(),
            members: 0,
            own_failures: Vec::new(),
        }
    }

    /// Takes a new member, which leads if nobody does; `None` where the flight takes no more.
    pub(super) fn board(&mut self) -> Option<(MemberId, bool)> {
        let over = matches!(self.stage, Stage::Landed(_) | Stage::Deserted);
        if over || !self.log.is_whole() {
            return None;
        }
        let member = self.waiters.admit();
        self.members += 1;
        let leads = matches!(self.stage, Stage::Vacant);
        if leads {
            self.stage = Stage::Led(member);
        }
        Some((member, leads))
    }

    /// The leader hands over the work.
    pub(super) fn launch(&mut self, launcher: MemberId, work: W, after: &mut After<P>) {
        self.stage = Stage::Aloft { launcher: Some(launcher), work: Some(work), ready: true };
        self.summon(after);
    }

    /// What a member that has read up to `position` gets. Where it has to wait, `waker` is kept.
    pub(super) fn poll(
        &mut self,
        member: MemberId,
        position: u64,
        waker: &Waker,
        after: &mut After<P>,
    ) -> Next<P, W> {
        let next = match self.turn(member, position) {
            Some(turn) => Next::Turn(turn),
            None => match self.take_ready_work() {
                Some(work) => Next::Work(work),
                None => {
                    after.retire(self.waiters.wait(member, waker));
                    return Next::Wait;
                }
            },
        };
        // It does not wait, so it must not be counted on as a waiter either.
        after.retire(self.waiters.stop(member));
        next
    }

    fn turn(&mut self, member: MemberId, position: u64) -> Option<Turn<P>> {
        if let Some(error) = self.take_own_failure(member) {
            return Some(Turn::Broken(FlightError::Upstream(error)));
        }
        match self.log.at(position) {
            Ok(Some(item)) => return Some(Turn::Item(item.clone())),
            Ok(None) => {}
            Err(Lagged) => return Some(Turn::Broken(FlightError::Lagged)),
        }
        match &self.stage {
            Stage::Vacant => {
                self.stage = Stage::Led(member);
                Some(Turn::Lead)
            }
            Stage::Landed(Ok(())) => Some(Turn::Complete),
            Stage::Landed(Err(error)) => Some(Turn::Broken(error.clone())),
            Stage::Led(_) | Stage::Aloft { .. } | Stage::Deserted => None,
        }
    }

    fn take_own_failure(&mut self, member: MemberId) -> Option<P::Error> {
        let place = self.own_failures.iter().position(|(owner, _)| *owner == member)?;
        Some(self.own_failures.swap_remove(place).1)
    }

    fn take_ready_work(&mut self) -> Option<W> {
        match &mut self.stage {
            Stage::Aloft { work, ready: ready @ true, .. } => {
                let work = work.take()?;
                *ready = false;
                Some(work)
            }
            _ => None,
        }
    }

    /// The work was woken.
    pub(super) fn notify(&mut self, after: &mut After<P>) {
        if let Stage::Aloft { ready, .. } = &mut self.stage {
            *ready = true;
        }
        self.summon(after);
    }

    /// The work is pending; the member that polled it waits like the others.
    pub(super) fn park(&mut self, member: MemberId, back: W, waker: &Waker, after: &mut After<P>) {
        after.retire(self.waiters.wait(member, waker));
        if let Stage::Aloft { work, .. } = &mut self.stage {
            *work = Some(back);
        }
        // Whatever woke it while it was polled found nobody who could have polled it again.
        self.summon(after);
    }

    /// The work gave an item, for the log, and goes on.
    pub(super) fn publish(&mut self, back: W, item: P, after: &mut After<P>) {
        if let Stage::Aloft { work, ready, .. } = &mut self.stage {
            *work = Some(back);
            *ready = true;
        }
        self.append(item, after);
    }

    /// The work gave its last item and is gone.
    pub(super) fn complete(&mut self, item: P, after: &mut After<P>) {
        self.stage = Stage::Landed(Ok(()));
        self.append(item, after);
        after.closed = true;
    }

    /// The work failed for everybody and is gone.
    pub(super) fn fail(&mut self, error: FlightError<P::Error>, after: &mut After<P>) {
        self.stage = Stage::Landed(Err(error));
        after.wakers.extend(self.waiters.all());
        after.closed = true;
    }

    /// The work failed by its launcher's fault and is gone.
    pub(super) fn withdraw(&mut self, error: P::Error, after: &mut After<P>) {
        if !self.log.is_empty() {
            return self.fail(FlightError::Upstream(error), after);
        }
        match std::mem::replace(&mut self.stage, Stage::Vacant) {
            Stage::Aloft { launcher: Some(launcher), .. } => {
                self.own_failures.push((launcher, error));
                after.wakers.extend(self.waiters.stop(launcher));
            }
            _ => after.unheard = Some(error),
        }
        self.summon(after);
    }

    /// A member leaves.
    pub(super) fn leave(
        &mut self,
        member: MemberId,
        after: &mut After<P>,
    ) -> Option<Remains<P, W>> {
        after.retire(self.waiters.dismiss(member));
        after.unheard = self.take_own_failure(member);
        self.members -= 1;
        if self.members == 0 {
            after.closed = true;
            return Some(self.desert());
        }
        self.give_up_roles(member);
        // It may have been woken for what it now leaves to the others.
        self.summon(after);
        None
    }

    fn give_up_roles(&mut self, member: MemberId) {
        match &mut self.stage {
            Stage::Led(leader) if *leader == member => self.stage = Stage::Vacant,
            Stage::Aloft { launcher, .. } if *launcher == Some(member) => *launcher = None,
            _ => {}
        }
    }

    fn desert(&mut self) -> Remains<P, W> {
        let stage = std::mem::replace(&mut self.stage, Stage::Deserted);
        Remains { _stage: stage, _log: self.log.take() }
    }

    fn append(&mut self, item: P, after: &mut After<P>) {
        let was_whole = self.log.is_whole();
        after.shed = self.log.push(item);
        after.closed = was_whole && !self.log.is_whole();
        if !self.waiters.are_none() {
            after.wakers.extend(self.waiters.all());
        }
    }

    /// Picks whom to wake, if there is something that a member could do.
    fn summon(&mut self, after: &mut After<P>) {
        if self.has_something_to_do() {
            after.wakers.extend((0..SUMMONED).map_while(|_| self.waiters.newest()));
        }
    }

    const fn has_something_to_do(&self) -> bool {
        matches!(self.stage, Stage::Vacant | Stage::Aloft { work: Some(_), ready: true, .. })
    }

    pub(super) const fn members(&self) -> usize {
        self.members
    }

    pub(super) const fn bytes(&self) -> usize {
        self.log.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::flight::script::Note;

    /// Whether the step closed the flight.
    fn closes(step: impl FnOnce(&mut After<Note>)) -> bool {
        let mut after = After::default();
        step(&mut after);
        after.closed
    }

    fn launched(bound: usize) -> State<Note, ()> {
        let mut state = State::new(bound);
        let (leader, leads) = state.board().unwrap();
        assert!(leads);
        assert!(!closes(|after| state.launch(leader, (), after)));
        state
    }

    #[test]
    fn a_flight_that_no_longer_has_its_start_takes_nobody_even_before_it_is_unlinked() {
        let mut state = launched(0);
        assert!(!closes(|after| state.publish((), Note::new(0), after)));
        assert!(state.board().is_some());
        assert!(closes(|after| state.publish((), Note::new(1), after)));
        assert!(state.board().is_none());
        assert!(!closes(|after| state.publish((), Note::new(2), after)), "that was said");
    }

    #[test]
    fn a_flight_that_is_over_takes_nobody_even_before_it_is_unlinked() {
        let mut landed = launched(9);
        assert!(closes(|after| landed.complete(Note::last(0), after)));
        assert!(landed.board().is_none());

        let mut deserted = State::<Note, ()>::new(9);
        let (leader, _) = deserted.board().unwrap();
        assert!(closes(|after| drop(deserted.leave(leader, after))));
        assert!(deserted.board().is_none());
    }
}
