//! Who is on board, and who of them waits to be woken.

use std::task::Waker;

/// A member's number; given again once the member has left.
pub(super) type MemberId = u32;

/// The wakers of those who wait, packed, and for every member the place where its own would be.
///
/// A place may be stale, so it counts only if the waker there is the member's. In turn nothing has
/// to be corrected in the others when all are woken. All but [`all`](Self::all) take constant time.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Vec<(MemberId, Waker)>,
    places: Vec<u32>,
    vacated: Vec<MemberId>,
}

impl Waiters {
    /// A number for a new member.
    pub(super) fn admit(&mut self) -> MemberId {
        self.vacated.pop().unwrap_or_else(|| {
            self.places.push(0);
            MemberId::try_from(self.places.len() - 1).expect("members fit in memory, so in 32 bits")
        })
    }

    /// Takes back the number of a member that leaves, and the waker it left, for the caller to drop.
    pub(super) fn dismiss(&mut self, member: MemberId) -> Option<Waker> {
        self.vacated.push(member);
        self.stop(member)
    }

    /// The member waits; returns the waker that this one replaces.
    pub(super) fn wait(&mut self, member: MemberId, waker: &Waker) -> Option<Waker> {
        if let Some(place) = self.place(member) {
            let kept = &mut self.waiting[place].1;
            return (!kept.will_wake(waker)).then(|| std::mem::replace(kept, waker.clone()));
        }
        self.places[member as usize] = self.waiting.len() as u32;
        self.waiting.push((member, waker.clone()));
        None
    }

    /// The member no longer waits; returns its waker.
    pub(super) fn stop(&mut self, member: MemberId) -> Option<Waker> {
        let place = self.place(member)?;
        let (_, waker) = self.waiting.swap_remove(place);
        if let Some(&(moved, _)) = self.waiting.get(place) {
            self.places[moved as usize] = place as u32;
        }
        Some(waker)
    }

    /// Whoever began to wait last. It was polled last, so it is the least likely to have been
    /// forgotten by its task.
    pub(super) fn newest(&mut self) -> Option<Waker> {
        self.waiting.pop().map(|(_, waker)| waker)
    }

    /// Whether nobody waits.
    pub(super) fn are_none(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everybody who waits.
    pub(super) fn all(&mut self) -> impl Iterator<Item = Waker> {
        self.waiting.drain(..).map(|(_, waker)| waker)
    }

    fn place(&self, member: MemberId) -> Option<usize> {
        let place = self.places[member as usize] as usize;
        self.waiting.get(place).filter(|(owner, _)| *owner == member).map(|_| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::flight::script::Bell;

    fn three() -> (Waiters, [MemberId; 3], [Bell; 3]) {
        let mut waiters = Waiters::default();
        let bells = [(); 3].map(|()| Bell::default());
        let members = [(); 3].map(|()| waiters.admit());
        for (member, bell) in members.into_iter().zip(&bells) {
            assert!(waiters.wait(member, &bell.waker()).is_none());
        }
        (waiters, members, bells)
    }

    #[test]
    fn whoever_stops_waiting_is_not_woken() {
        let (mut waiters, members, bells) = three();
        assert!(waiters.stop(members[0]).is_some());
        assert!(waiters.stop(members[0]).is_none());
        waiters.all().for_each(Waker::wake);
        assert_eq!(bells.map(|bell| bell.rings()), [0, 1, 1]);
    }

    #[test]
    fn a_waiter_moved_into_a_gap_is_still_found() {
        let (mut waiters, members, bells) = three();
        drop(waiters.stop(members[0]));
        assert!(waiters.stop(members[2]).is_some());
        waiters.all().for_each(Waker::wake);
        assert_eq!(bells.map(|bell| bell.rings()), [0, 1, 0]);
    }

    #[test]
    fn the_newest_is_woken_first() {
        let (mut waiters, _, bells) = three();
        waiters.newest().into_iter().for_each(Waker::wake);
        assert_eq!(bells.map(|bell| bell.rings()), [0, 0, 1]);
    }

    #[test]
    fn a_member_that_waits_again_is_woken_once_and_by_its_latest_waker() {
        let (mut waiters, members, bells) = three();
        assert!(waiters.wait(members[1], &bells[1].waker()).is_none());
        let moved = Bell::default();
        assert!(waiters.wait(members[1], &moved.waker()).is_some());
        waiters.all().for_each(Waker::wake);
        assert_eq!(bells.map(|bell| bell.rings()), [1, 0, 1]);
        assert_eq!(moved.rings(), 1);
    }

    #[test]
    fn coming_and_going_takes_no_more_room() {
        let mut waiters = Waiters::default();
        let bell = Bell::default();
        for _ in 0..10_000 {
            let member = waiters.admit();
            waiters.wait(member, &bell.waker());
            assert!(waiters.dismiss(member).is_some());
        }
        assert_eq!((waiters.places.len(), waiters.waiting.len()), (1, 0));
    }
}
