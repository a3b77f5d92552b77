//! Handing freed capacity to whoever's turn it is.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::queue::lane::MOST_ASKED;
use crate::queue::refused::{Refused, Scope};
use crate::queue::room::Room;
use crate::queue::seats::WaiterId;
use crate::queue::state::{Account, LaneNo, Phase, State};
use crate::queue::waiter::{Offer, Offered};
use crate::time::{Instant, after};

/// What was granted must be claimed within this; a task that is not polled must not keep it from
/// the others.
const CLAIM_WITHIN: Duration = Duration::from_secs(1);

/// The holder of the backup timer rings so much later.
const BACKUP: Duration = Duration::from_millis(50);

/// Everything under the queue's lock.
pub(crate) struct Desk {
    pub(crate) state: State<Arc<dyn Offer>>,
    /// Granted and not claimed yet, by when that must happen.
    granted: BTreeSet<(Instant, WaiterId)>,
    /// Who holds the timer, and who the backup.
    watchers: [Option<WaiterId>; 2],
    /// When somebody has to look, if nothing happens before.
    alarm: Option<Instant>,
    /// From when on nobody waits any more.
    over: Option<Instant>,
}

/// What is to be done once the lock is released: tasks to wake, and passes to give back. Neither
/// may happen under the lock, for both run code that may come back to the queue.
#[derive(Default)]
pub(crate) struct Aftermath {
    wakes: SmallVec<[Arc<dyn Offer>; 2]>,
    given_back: Vec<Box<dyn Send>>,
}

/// For whom a gate is asked.
#[derive(Clone, Copy)]
enum Asked {
    InOrder,
    FirstAnd(WaiterId),
}

/// What a lane's gate said.
enum Answer {
    Granted(WaiterId),
    /// It was told why already.
    Decided(WaiterId),
    Refused(WaiterId, Refused<Infallible>),
    /// Nobody who was asked for may pass.
    Closed(Option<Instant>),
}

impl Aftermath {
    pub(crate) fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.given_back.is_empty()
    }

    /// Does it; whether something was given back, so that the gate may have opened.
    pub(crate) fn carry_out(self) -> bool {
        let opened = !self.given_back.is_empty();
        drop(self.given_back);
        self.wakes.iter().for_each(|offer| offer.wake());
        opened
    }
}

impl Desk {
    pub(crate) fn new(state: State<Arc<dyn Offer>>) -> Self {
        Self { state, granted: BTreeSet::new(), watchers: [None; 2], alarm: None, over: None }
    }

    /// Lets through whoever may pass. Lanes may share what is behind their gates, so they take turns:
    /// by the class of their first, and then by how little they were served.
    ///
    /// Linear in the busy lanes for each that is let through, and for each that is not.
    pub(crate) fn dispatch(&mut self, now: Instant, room: &Room, then: &mut Aftermath) {
        self.reclaim(now, room, then);
        let mut lanes: SmallVec<[LaneNo; 8]> = self.state.busy_lanes().collect();
        let mut alarm = None;
        while let Some(at) = self.state.next_of(&lanes, now) {
            let lane = lanes[at];
            if !self.let_one_through(lane, Asked::InOrder, now, room, then) {
                alarm = earlier(alarm, self.state.lane(lane).and_then(|lane| lane.alarm()));
                lanes.swap_remove(at);
            }
        }
        self.alarm = earlier(alarm, self.granted.first().map(|&(until, _)| until));
        self.tell_watchers(then);
    }

    /// A waiter has lined up. Those before it were refused, and are asked for again by whoever frees
    /// something: only the one whose turn it is and the new one are asked for now.
    pub(crate) fn came(&mut self, id: WaiterId, now: Instant, room: &Room, then: &mut Aftermath) {
        let Some(lane) = self.state.seat_of(id).map(|seat| seat.lane) else { return };
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            return self.dispatch(now, room, then);
        }
        while self.let_one_through(lane, Asked::FirstAnd(id), now, room, then) {}
        let claim = self.granted.first().map(|&(until, _)| until);
        let alarm = self.state.lane(lane).and_then(|lane| lane.alarm());
        self.alarm = earlier(self.alarm, earlier(alarm, claim));
        self.tell_watchers(then);
    }

    /// Whether there may be another one.
    fn let_one_through(
        &mut self,
        lane: LaneNo,
        asked: Asked,
        now: Instant,
        room: &Room,
        then: &mut Aftermath,
    ) -> bool {
        if !self.state.lane_mut(lane).is_some_and(|lane| !lane.is_empty() && lane.lets_pass(now)) {
            return false;
        }
        let reserved = room.reserve();
        let answer = self.ask(lane, asked, reserved, now);
        let takes_room = match &answer {
            Answer::Granted(id) => self.state.seat_of(*id).is_some_and(|s| !s.waiting.returns),
            _ => false,
        };
        if takes_room {
            room.keep();
        } else if reserved {
            room.give_back();
        }
        self.act_on(answer, lane, now, then)
    }

    /// Asks for one after the other until something is decided. One that does not fit may be passed,
    /// but not for ever.
    fn ask(&self, number: LaneNo, asked: Asked, room: bool, now: Instant) -> Answer {
        let Some(lane) = self.state.lane(number) else { return Answer::Closed(None) };
        let bypass = self.state.settings().bypass;
        let (most, newcomer) = match asked {
            Asked::InOrder => (MOST_ASKED, None),
            Asked::FirstAnd(id) => (1, self.state.leading(id, room)),
        };
        let mut opens = match asked {
            Asked::InOrder => None,
            Asked::FirstAnd(_) => lane.opens(),
        };
        // One that comes back may pause, which is no reason for the others to wait.
        let most = lane.returning().len() + most;
        for (id, seat) in self.state.order(lane, room, now).take(most).chain(newcomer) {
            let is_newcomer = newcomer.is_some_and(|(newcomer, _)| newcomer == id);
            let waited = now.saturating_duration_since(seat.waiting.since);
            if seat.waiting.deadline <= now {
                return Answer::Refused(id, Refused::TimedOut { waited });
            }
            match seat.guest.offer(now) {
                Offered::Granted => return Answer::Granted(id),
                Offered::Never => return Answer::Decided(id),
                Offered::NotBefore(Some(at)) if at >= seat.waiting.deadline => {
                    let eta = at.saturating_duration_since(now);
                    return Answer::Refused(id, Refused::WouldMissDeadline { eta });
                }
                Offered::NotBefore(at) => opens = earlier(opens, at),
            }
            if is_newcomer || (waited >= bypass && !seat.waiting.returns) {
                break;
            }
        }
        Answer::Closed(opens)
    }

    fn act_on(&mut self, answer: Answer, lane: LaneNo, now: Instant, then: &mut Aftermath) -> bool {
        match answer {
            Answer::Granted(id) => self.grant(id, now, then),
            Answer::Decided(id) => self.turn_away(id, now, then),
            Answer::Refused(id, why) => self.refuse(id, why, now, then),
            Answer::Closed(opens) => {
                if let Some(lane) = self.state.lane_mut(lane) {
                    lane.closed_until(opens, now);
                }
                return false;
            }
        }
        true
    }

    fn grant(&mut self, id: WaiterId, now: Instant, then: &mut Aftermath) {
        let until = after(now, CLAIM_WITHIN);
        if let Some(seat) = self.state.grant(id, now, until) {
            then.wakes.push(Arc::clone(&seat.guest));
            self.granted.insert((until, id));
        }
    }

    fn turn_away(&mut self, id: WaiterId, now: Instant, then: &mut Aftermath) {
        then.wakes.extend(self.state.leave(id, now).map(|seat| seat.guest));
    }

    fn refuse(
        &mut self,
        id: WaiterId,
        why: Refused<Infallible>,
        now: Instant,
        then: &mut Aftermath,
    ) {
        if let Some(seat) = self.state.seat_of(id) {
            seat.guest.refuse(why);
            self.turn_away(id, now, then);
        }
    }

    /// A waiter loses its place to one of a tenant that takes less.
    pub(crate) fn evict(&mut self, id: WaiterId, now: Instant, then: &mut Aftermath) {
        let depth = self.state.depth();
        self.refuse(id, Refused::Full { scope: Scope::Tenant, depth }, now, then);
    }

    /// Takes back what was granted too long ago. Those waiters are out of the line until they show
    /// up, or it would be granted to them again.
    fn reclaim(&mut self, now: Instant, room: &Room, then: &mut Aftermath) {
        while let Some(&(until, id)) = self.granted.first()
            && until <= now
        {
            self.granted.remove(&(until, id));
            let Some(seat) = self.state.seat_of(id) else { continue };
            // Nothing to take back: it is just about to be claimed.
            let Some(pass) = seat.guest.take_back() else { continue };
            then.given_back.push(pass);
            if !seat.waiting.returns {
                room.leave();
            }
            self.state.set_aside(id);
            if self.over.is_some_and(|over| over <= now) {
                self.refuse(id, Refused::Closed, now, then);
            }
        }
    }

    /// Sees to it that two waiters look after the timer, and wakes those whose own is set too late.
    fn tell_watchers(&mut self, then: &mut Aftermath) {
        self.appoint();
        let Some(alarm) = self.alarm else { return };
        for (watcher, late) in self.watchers.into_iter().zip([Duration::ZERO, BACKUP]) {
            let seat = watcher.and_then(|watcher| self.state.seat_mut(watcher));
            // One that has set none has not been polled yet, and will see the alarm when it is.
            if let Some(seat) = seat.filter(|s| s.armed.is_some_and(|at| at > after(alarm, late))) {
                seat.armed = None;
                then.wakes.push(Arc::clone(&seat.guest));
            }
        }
    }

    fn appoint(&mut self) {
        let waits =
            |state: &State<_>, id| state.seat_of(id).is_some_and(|s| s.phase == Phase::Waits);
        self.watchers = self.watchers.map(|watcher| watcher.filter(|&id| waits(&self.state, id)));
        if self.watchers[0].is_none() {
            self.watchers = [self.watchers[1], None];
        }
        for post in 0..self.watchers.len() {
            if self.watchers[post].is_none() {
                self.watchers[post] = self.state.a_patient_one(self.watchers[0]);
            }
        }
    }

    /// For when a waiter has to set its timer.
    pub(crate) fn arm(&mut self, id: WaiterId) -> Option<Instant> {
        let late = match self.watchers.iter().position(|&watcher| watcher == Some(id)) {
            Some(0) => Some(Duration::ZERO),
            Some(_) => Some(BACKUP),
            None => None,
        };
        let alarm = late.and_then(|late| Some(after(self.alarm?, late)));
        let seat = self.state.seat_mut(id)?;
        let at = alarm.map_or(seat.waiting.deadline, |at| at.min(seat.waiting.deadline));
        seat.armed = Some(at);
        Some(at)
    }

    /// A waiter's timer has gone off. When it is the backup's, the one before it sleeps too deep.
    pub(crate) fn rings(&mut self, id: WaiterId, now: Instant) {
        if let Some(seat) = self.state.seat_mut(id) {
            seat.armed = None;
        }
        if self.watchers[1] == Some(id) && self.alarm.is_some_and(|at| after(at, BACKUP) <= now) {
            self.watchers = [Some(id), None];
        }
    }

    /// Sees to it that somebody looks again by then.
    pub(crate) fn look_again(&mut self, at: Instant, then: &mut Aftermath) {
        self.alarm = earlier(self.alarm, Some(at));
        self.tell_watchers(then);
    }

    /// A call has ended and nobody could pass: its pass may be dropped only after its slot was.
    pub(crate) fn look_soon(&mut self, at: Instant, then: &mut Aftermath) {
        if self.alarm.is_none() {
            self.look_again(at, then);
        }
    }

    /// The waiter has claimed what it was granted.
    pub(crate) fn claimed(&mut self, id: WaiterId) -> Option<Account> {
        if let Phase::Granted { until, .. } = self.state.seat_of(id)?.phase {
            self.granted.remove(&(until, id));
        }
        self.state.claim(id)
    }

    /// The waiter leaves without anything. What it was granted meanwhile goes back.
    pub(crate) fn leave(&mut self, id: WaiterId, now: Instant, room: &Room, then: &mut Aftermath) {
        let Some(seat) = self.state.leave(id, now) else { return };
        if let Phase::Granted { until, .. } = seat.phase {
            self.granted.remove(&(until, id));
            then.given_back.extend(seat.guest.take_back());
            if !seat.waiting.returns {
                room.leave();
            }
        }
    }

    /// From `at` on nobody waits any more: refuses everybody, if it has come; how many.
    pub(crate) fn over_at(&mut self, at: Instant, now: Instant, then: &mut Aftermath) -> usize {
        self.over = Some(at);
        if now < at {
            return 0;
        }
        let waits = self.state.seats().filter(|(_, s)| !matches!(s.phase, Phase::Granted { .. }));
        let waiting: Vec<_> = waits.map(|(id, _)| id).collect();
        for &id in &waiting {
            self.refuse(id, Refused::Closed, now, then);
        }
        waiting.len()
    }

    /// From when on nobody waits any more.
    pub(crate) const fn over(&self) -> Option<Instant> {
        self.over
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
