//! Handing freed capacity to whoever's turn it is.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::queue::fair::WaiterId;
use crate::queue::lane::Waiting;
use crate::queue::refused::Refused;
use crate::queue::state::{LaneKey, State};
use crate::queue::waiter::{Offer, Offered};
use crate::time::{Instant, after};

/// What was granted must be claimed within this; a task that is not polled must not keep it from
/// the others.
const CLAIM_WITHIN: Duration = Duration::from_secs(1);

/// The holder of the backup timer rings so much later.
const BACKUP: Duration = Duration::from_millis(50);

/// Everything under the queue's lock.
pub(crate) struct Desk {
    pub(crate) state: State,
    waiters: HashMap<WaiterId, Arc<dyn Offer>>,
    /// Granted and not claimed yet, by when that must happen.
    granted: BTreeSet<(Instant, WaiterId)>,
    grants: HashMap<WaiterId, Grant>,
    /// Who holds the timers of each lane, and for when, as they were told last.
    told: HashMap<LaneKey, Told>,
}

/// What a waiter was granted, so that it can be put back.
pub(crate) struct Grant {
    offer: Arc<dyn Offer>,
    pub(crate) lane: LaneKey,
    pub(crate) waiting: Waiting,
    until: Instant,
}

type Told = (Option<Instant>, [Option<WaiterId>; 2]);

/// What is to be done once the lock is released: tasks to wake, and passes to give back. Neither
/// may happen under the lock, for both run code that may come back to the queue.
#[derive(Default)]
pub(crate) struct Aftermath {
    wakes: Vec<Arc<dyn Offer>>,
    given_back: Vec<Box<dyn Send>>,
}

impl Aftermath {
    /// Does it; whether something was given back, so that the gate may have opened.
    pub(crate) fn carry_out(self) -> bool {
        self.wakes.iter().for_each(|offer| offer.wake());
        !self.given_back.is_empty()
    }
}

impl Desk {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            waiters: HashMap::new(),
            granted: BTreeSet::new(),
            grants: HashMap::new(),
            told: HashMap::new(),
        }
    }

    pub(crate) fn seat(&mut self, id: WaiterId, offer: Arc<dyn Offer>) {
        self.waiters.insert(id, offer);
    }

    /// Lets through whoever may pass, in every lane, as long as `room` allows.
    pub(crate) fn dispatch(&mut self, now: Instant, room: &dyn Fn() -> bool) -> Aftermath {
        let mut aftermath = Aftermath::default();
        self.reclaim(now, &mut aftermath);
        for lane in self.state.busy_lanes() {
            self.dispatch_lane(&lane, now, room, &mut aftermath);
            self.tell_watchers(&lane, &mut aftermath);
        }
        aftermath
    }

    fn dispatch_lane(
        &mut self,
        key: &LaneKey,
        now: Instant,
        room: &dyn Fn() -> bool,
        aftermath: &mut Aftermath,
    ) {
        let aging = self.state.settings().aging;
        loop {
            let Some(lane) = self.state.lane_mut(key) else { return };
            if lane.is_empty() || lane.allowance(now) == 0 || !room() {
                return;
            }
            let order = lane.order(now, aging);
            if !self.offer_in_order(key, &order, now, aftermath) {
                return;
            }
        }
    }

    /// Offers to one after the other until something is granted; whether it was. One that does not
    /// fit may be passed, but not for ever.
    fn offer_in_order(
        &mut self,
        key: &LaneKey,
        order: &[WaiterId],
        now: Instant,
        aftermath: &mut Aftermath,
    ) -> bool {
        let mut opens: Option<Instant> = None;
        for &id in order {
            let Some(offer) = self.waiters.get(&id).map(Arc::clone) else { continue };
            match offer.offer(now) {
                Offered::Granted => {
                    self.granted(id, offer, now, aftermath);
                    return true;
                }
                Offered::Never => {
                    self.turn_away(id, aftermath);
                    return true;
                }
                Offered::NotBefore(at) => {
                    opens = [opens, at].into_iter().flatten().min();
                    if self.has_been_passed_enough(id, now) {
                        break;
                    }
                }
            }
        }
        if let Some(lane) = self.state.lane_mut(key) {
            lane.closed_until(opens.filter(|&opens| opens > now));
        }
        false
    }

    fn has_been_passed_enough(&self, id: WaiterId, now: Instant) -> bool {
        let bypass = self.state.settings().bypass;
        let waiting = self.state.lane_of(id).and_then(|lane| lane.get(id));
        waiting.is_none_or(|waiting| now.saturating_duration_since(waiting.since) >= bypass)
    }

    fn granted(
        &mut self,
        id: WaiterId,
        offer: Arc<dyn Offer>,
        now: Instant,
        aftermath: &mut Aftermath,
    ) {
        let lane = self.state.key_of(id);
        let Some(waiting) = self.state.serve(id, now) else { return };
        self.waiters.remove(&id);
        let until = after(now, CLAIM_WITHIN);
        self.granted.insert((until, id));
        self.grants.insert(id, Grant { offer: Arc::clone(&offer), lane, waiting, until });
        aftermath.wakes.push(offer);
    }

    fn turn_away(&mut self, id: WaiterId, aftermath: &mut Aftermath) {
        if let Some(waiting) = self.state.remove(id) {
            self.state.release(waiting.tenant);
        }
        aftermath.wakes.extend(self.waiters.remove(&id));
    }

    /// Takes back what was granted too long ago, and puts those waiters back where they were.
    fn reclaim(&mut self, now: Instant, aftermath: &mut Aftermath) {
        while let Some(&(until, id)) = self.granted.first()
            && until <= now
        {
            self.granted.remove(&(until, id));
            let Some(Grant { offer, lane, waiting, .. }) = self.grants.remove(&id) else {
                continue;
            };
            match offer.take_back() {
                Some(pass) => {
                    aftermath.given_back.push(pass);
                    self.state.uncharge(&lane, &waiting);
                    self.state.reenter(&lane, id, waiting);
                    self.waiters.insert(id, offer);
                }
                None => self.state.release(waiting.tenant),
            }
        }
    }

    /// The first two waiters of a lane hold its timer and the backup. They are woken when that
    /// changes, and set it themselves.
    fn tell_watchers(&mut self, key: &LaneKey, aftermath: &mut Aftermath) {
        let Some(lane) = self.state.lane_mut(key) else { return };
        let mut watchers = lane.watchers();
        let told = (lane.opens.or_else(|| lane.next_step()), [watchers.next(), watchers.next()]);
        drop(watchers);
        if told.1 == [None, None] {
            self.told.remove(key);
        } else if self.told.get(key) != Some(&told) {
            let ids = told.1.into_iter().flatten();
            aftermath.wakes.extend(ids.filter_map(|id| self.waiters.get(&id).map(Arc::clone)));
            self.told.insert(key.clone(), told);
        }
    }

    /// When the waiter has to look after its lane; `None` where somebody else does.
    pub(crate) fn alarm(&self, id: WaiterId) -> Option<Instant> {
        let lane = self.state.lane_of(id)?;
        let position = lane.watchers().position(|watcher| watcher == id)?;
        let claims = self.granted.first().map(|&(until, _)| until);
        let opens = lane.opens.or_else(|| lane.next_step());
        let at = [opens, claims].into_iter().flatten().min()?;
        Some(if position == 0 { at } else { after(at, BACKUP) })
    }

    /// The waiter has claimed what it was granted.
    pub(crate) fn claimed(&mut self, id: WaiterId) -> Option<Grant> {
        let grant = self.grants.remove(&id)?;
        self.granted.remove(&(grant.until, id));
        Some(grant)
    }

    /// The waiter leaves without anything. What it was granted meanwhile goes back.
    pub(crate) fn leave(&mut self, id: WaiterId) -> Aftermath {
        let mut aftermath = Aftermath::default();
        if let Some(waiting) = self.state.remove(id) {
            self.state.release(waiting.tenant);
            self.waiters.remove(&id);
        } else if let Some(grant) = self.claimed(id) {
            self.state.uncharge(&grant.lane, &grant.waiting);
            self.state.release(grant.waiting.tenant);
            aftermath.given_back.extend(grant.offer.take_back());
        }
        aftermath
    }

    /// Refuses a waiter.
    pub(crate) fn refuse(
        &mut self,
        id: WaiterId,
        why: Refused<Infallible>,
        aftermath: &mut Aftermath,
    ) {
        if let Some(offer) = self.waiters.get(&id) {
            offer.refuse(why);
            self.turn_away(id, aftermath);
        }
    }

    /// Refuses everybody.
    pub(crate) fn refuse_all(&mut self) -> Aftermath {
        let mut aftermath = Aftermath::default();
        let ids: Vec<_> = self.state.lanes().flat_map(crate::queue::lane::Lane::ids).collect();
        for id in ids {
            self.refuse(id, Refused::Closed, &mut aftermath);
        }
        aftermath
    }
}
