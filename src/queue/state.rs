//! Who waits, in which lane, and how much of the room each tenant takes. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::options::TenantId;
use crate::queue::by_number::ByNumber;
use crate::queue::fair::{Correction, Served};
use crate::queue::lane::{CLASSES, Lane, Waiting, class_of};
use crate::queue::place::Place;
use crate::queue::refused::Scope;
use crate::queue::seats::{Seats, WaiterId};
use crate::queue::settings::QueueSettings;
use crate::queue::tenants::Tenants;
use crate::time::{Instant, after};

/// Lanes without waiters are kept for what they know, but no more than this.
const MOST_IDLE_LANES: usize = 256;

/// Names a lane.
pub(crate) type LaneKey = Option<Arc<str>>;

/// A lane, as a number that the queue gave it.
pub(crate) type LaneNo = u64;

/// The waiters of a queue; `T` is what the shell keeps of each.
#[derive(Debug)]
pub(crate) struct State<T> {
    settings: QueueSettings,
    seats: Seats<Seat<T>>,
    lanes: ByNumber<Lane>,
    lane_numbers: HashMap<LaneKey, LaneNo>,
    next_lane: LaneNo,
    /// Those in which somebody waits.
    busy: BTreeSet<LaneNo>,
    /// What the lane that was served last had been served before.
    lane_clock: u64,
    tenants: Tenants,
    by_class: [usize; CLASSES],
}

/// A waiter who has not gone yet.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    pub(crate) guest: T,
    pub(crate) lane: LaneNo,
    pub(crate) waiting: Waiting,
    pub(crate) phase: Phase,
    /// For when it has set its timer.
    pub(crate) armed: Option<Instant>,
}

impl<T> Seat<T> {
    pub(crate) fn is_absent(&self) -> bool {
        self.phase == Phase::Absent
    }
}

/// Where a waiter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Waits,
    /// It was let through, has to say so by then, and its tenant was charged.
    Granted {
        until: Instant,
        booked: Served,
    },
    /// It did not say so. It waits, but nothing is granted to it before it shows up.
    Absent,
}

/// What a call that waited is booked as while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    lane: LaneNo,
    pub(crate) waiting: Waiting,
    booked: Served,
}

/// What becomes of a call that wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It waits. Somebody else loses its place for it, if all room is taken.
    Waits {
        id: WaiterId,
        instead_of: Option<WaiterId>,
    },
    Full {
        scope: Scope,
        depth: usize,
    },
    WouldMissDeadline {
        eta: Duration,
    },
}

impl<T> State<T> {
    pub(crate) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            seats: Seats::default(),
            lanes: ByNumber::default(),
            lane_numbers: HashMap::new(),
            next_lane: 0,
            busy: BTreeSet::new(),
            lane_clock: 0,
            tenants: Tenants::default(),
            by_class: [0; CLASSES],
        }
    }

    pub(crate) const fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Lets a call wait, if there is room and it has the time.
    pub(crate) fn enter(
        &mut self,
        place: &Place,
        deadline: Instant,
        now: Instant,
        guest: T,
    ) -> Entry {
        let weight = self.weight(place.tenant.as_ref());
        let tenant = self.tenants.hold(place.tenant.as_ref(), weight);
        let waiting = Waiting {
            tenant,
            weight,
            class: class_of(place.priority),
            deadline,
            since: now,
            cost: tokens(place.cost),
            returns: false,
        };
        let lane = self.lane_numbers.get(&place.lane).copied();
        let room = match self.hopeless(lane, &waiting, now) {
            Some(eta) => Err(Entry::WouldMissDeadline { eta }),
            None => self.room_for(tenant),
        };
        match room {
            Ok(instead_of) => {
                let lane = lane.unwrap_or_else(|| self.add_lane(&place.lane));
                Entry::Waits { id: self.seat(lane, waiting, now, guest), instead_of }
            }
            Err(refusal) => {
                self.tenants.release(tenant);
                refusal
            }
        }
    }

    /// Lets a call that has passed before wait again. It has its place already, so no bound stands
    /// against it, and it cannot lose it to others.
    pub(crate) fn enter_again(
        &mut self,
        place: &Place,
        deadline: Instant,
        since: Instant,
        now: Instant,
        guest: T,
    ) -> WaiterId {
        let weight = self.weight(place.tenant.as_ref());
        let waiting = Waiting {
            tenant: self.tenants.hold(place.tenant.as_ref(), weight),
            weight,
            class: class_of(place.priority),
            deadline,
            since,
            cost: tokens(place.cost),
            returns: true,
        };
        let lane = self.lane_numbers.get(&place.lane).copied();
        let lane = lane.unwrap_or_else(|| self.add_lane(&place.lane));
        self.seat(lane, waiting, now, guest)
    }

    fn seat(&mut self, lane: LaneNo, waiting: Waiting, now: Instant, guest: T) -> WaiterId {
        let id = self.seats.take(Seat { guest, lane, waiting, phase: Phase::Waits, armed: None });
        self.count(id, &waiting, true);
        self.line_up(lane, id, &waiting, now);
        id
    }

    fn add_lane(&mut self, key: &LaneKey) -> LaneNo {
        let number = self.next_lane;
        self.next_lane += 1;
        self.lane_numbers.insert(key.clone(), number);
        self.lanes.insert(number, Lane::default());
        number
    }

    fn line_up(&mut self, lane: LaneNo, id: WaiterId, waiting: &Waiting, now: Instant) {
        if let Some(line) = self.lanes.get_mut(&lane) {
            line.push(id, waiting, now);
            if self.busy.insert(lane) {
                line.lift(self.lane_clock);
            }
        }
    }

    /// The lane may have one waiter less.
    fn line_down(&mut self, lane: LaneNo) {
        if self.lanes.get(&lane).is_some_and(Lane::is_empty) {
            self.busy.remove(&lane);
            self.forget_lanes();
        }
    }

    /// Twice too many, so that it is seldom done: it looks at all of them.
    fn forget_lanes(&mut self) {
        if self.lanes.len() - self.busy.len() > 2 * MOST_IDLE_LANES {
            let oldest = self.next_lane - MOST_IDLE_LANES as u64;
            let busy = &self.busy;
            self.lane_numbers.retain(|_, lane| *lane >= oldest || busy.contains(lane));
            self.lanes.retain(|lane, _| *lane >= oldest || busy.contains(lane));
        }
    }

    fn count(&mut self, id: WaiterId, waiting: &Waiting, waits: bool) {
        if waits {
            self.by_class[waiting.class] += 1;
            self.tenants.line_up(waiting.tenant, (!waiting.returns).then_some(id));
        } else {
            self.by_class[waiting.class] -= 1;
            self.tenants.line_down(waiting.tenant, id);
        }
    }

    /// How long a call would wait that would wait for longer than its patience: it is refused at
    /// once, for it would only make the others wait longer as well.
    fn hopeless(&self, lane: Option<LaneNo>, waiting: &Waiting, now: Instant) -> Option<Duration> {
        let left = waiting.deadline.saturating_duration_since(now);
        let lane = self.lanes.get(&lane?)?;
        lane.eta(waiting).filter(|&eta| eta > left.mul_f64(self.settings.patience))
    }

    /// Who has to go so that a call of `tenant` can wait: when all room is taken, the tenant that
    /// takes most for its weight loses its newest waiter.
    fn room_for(&self, tenant: u64) -> Result<Option<WaiterId>, Entry> {
        let own = self.tenants.depth(tenant);
        if self.settings.max_depth_per_tenant.is_some_and(|most| own >= most) {
            return Err(Entry::Full { scope: Scope::Tenant, depth: own });
        }
        let depth = self.depth();
        if depth < self.settings.max_depth {
            return Ok(None);
        }
        let greediest = self.tenants.greedier_than(tenant);
        let newest = greediest.and_then(|greediest| self.tenants.newest_of(greediest));
        newest.map(Some).ok_or(Entry::Full { scope: Scope::Global, depth })
    }

    /// Lets a waiter through that has to say so until then.
    pub(crate) fn grant(&mut self, id: WaiterId, now: Instant, until: Instant) -> Option<&Seat<T>> {
        let Seat { lane, waiting, .. } = self.seats.get(id)?;
        let (lane, waiting) = (*lane, *waiting);
        let line = self.lanes.get_mut(&lane)?;
        self.lane_clock = self.lane_clock.max(line.served());
        let booked = line.serve(id, &waiting, now);
        self.line_down(lane);
        self.count(id, &waiting, false);
        let seat = self.seats.get_mut(id)?;
        seat.phase = Phase::Granted { until, booked };
        Some(seat)
    }

    /// The waiter goes, with what it was granted.
    pub(crate) fn claim(&mut self, id: WaiterId) -> Option<Account> {
        let Phase::Granted { booked, .. } = self.seats.get(id)?.phase else { return None };
        let Seat { lane, waiting, .. } = self.seats.leave(id)?;
        Some(Account { lane, waiting, booked })
    }

    /// A waiter goes without anything; what it was charged is refunded.
    pub(crate) fn leave(&mut self, id: WaiterId, now: Instant) -> Option<Seat<T>> {
        let seat = self.seats.leave(id)?;
        match seat.phase {
            Phase::Waits => {
                if let Some(lane) = self.lanes.get_mut(&seat.lane) {
                    lane.remove(id, &seat.waiting, now);
                }
                self.line_down(seat.lane);
                self.count(id, &seat.waiting, false);
            }
            Phase::Absent => self.count(id, &seat.waiting, false),
            Phase::Granted { booked, .. } => self.correct(seat.lane, &seat.waiting, booked, 0),
        }
        self.tenants.release(seat.waiting.tenant);
        Some(seat)
    }

    /// A waiter was granted something and did not take it: it is out of the line until it shows up.
    pub(crate) fn set_aside(&mut self, id: WaiterId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Phase::Granted { booked, .. } = seat.phase else { return };
        seat.phase = Phase::Absent;
        let (lane, waiting) = (seat.lane, seat.waiting);
        self.correct(lane, &waiting, booked, 0);
        self.count(id, &waiting, true);
    }

    /// A waiter that was set aside is there again, at the place it had.
    pub(crate) fn shows_up(&mut self, id: WaiterId, now: Instant) {
        let Some(seat) = self.seats.get_mut(id).filter(|seat| seat.phase == Phase::Absent) else {
            return;
        };
        seat.phase = Phase::Waits;
        let (lane, waiting) = (seat.lane, seat.waiting);
        self.line_up(lane, id, &waiting, now);
    }

    /// A call that passed has ended, with so many tokens: corrects what its tenant was served.
    pub(crate) fn settle(&mut self, account: &Account, actual: Option<u64>) {
        if let Some(actual) = actual {
            self.correct(account.lane, &account.waiting, account.booked, tokens(actual));
        }
        self.tenants.release(account.waiting.tenant);
    }

    /// A call that came back has passed again: it is still booked as it was.
    pub(crate) fn passed_again(&mut self, account: &Account) {
        self.tenants.release(account.waiting.tenant);
    }

    fn correct(&mut self, lane: LaneNo, waiting: &Waiting, booked: Served, actual: u32) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.correct(waiting, booked, Correction { charged: waiting.cost, actual });
        }
    }

    pub(crate) fn seat_of(&self, id: WaiterId) -> Option<&Seat<T>> {
        self.seats.get(id)
    }

    pub(crate) fn seat_mut(&mut self, id: WaiterId) -> Option<&mut Seat<T>> {
        self.seats.get_mut(id)
    }

    pub(crate) fn seats(&self) -> impl Iterator<Item = (WaiterId, &Seat<T>)> {
        self.seats.iter()
    }

    pub(crate) fn lane(&self, number: LaneNo) -> Option<&Lane> {
        self.lanes.get(&number)
    }

    pub(crate) fn lane_mut(&mut self, number: LaneNo) -> Option<&mut Lane> {
        self.lanes.get_mut(&number)
    }

    /// The lanes in which somebody waits.
    pub(crate) fn busy_lanes(&self) -> impl Iterator<Item = LaneNo> {
        self.busy.iter().copied()
    }

    /// The position of the one of `lanes` whose turn it is.
    pub(crate) fn next_of(&self, lanes: &[LaneNo], now: Instant) -> Option<usize> {
        match lanes {
            [] => None,
            [_] => Some(0),
            many => {
                let turns = many.iter().enumerate();
                let turn = turns.min_by_key(|(_, lane)| self.turn_of(**lane, now));
                turn.map(|(at, _)| at)
            }
        }
    }

    /// When a lane's turn is among the others: by the class of its first, then by what it was served.
    fn turn_of(&self, lane: LaneNo, now: Instant) -> (Reverse<usize>, u64, LaneNo) {
        let Some(line) = self.lanes.get(&lane) else { return (Reverse(0), u64::MAX, lane) };
        let rank = match self.order(line, true, now).next() {
            Some((_, seat)) if seat.waiting.returns => usize::MAX,
            Some((_, seat)) => seat.waiting.class + self.rise(seat.waiting.since, now),
            None => 0,
        };
        (Reverse(rank), line.served(), lane)
    }

    /// By how many classes one who waits since then has risen.
    fn rise(&self, since: Instant, now: Instant) -> usize {
        let aging = self.settings.aging.as_nanos().max(1);
        let steps = now.saturating_duration_since(since).as_nanos() / aging;
        steps.min(u128::from(u32::MAX)) as usize
    }

    /// Whether a call may find no room to wait, and has nobody of its own lane before it.
    pub(crate) fn is_crowded_elsewhere(&self, lane: &LaneKey) -> bool {
        let bounded = self.settings.max_depth_per_tenant.is_some();
        let crowded = bounded || self.depth() >= self.settings.max_depth;
        // Asked last: it is a keyed hash, and a queue is seldom crowded.
        let is_busy = || self.lane_numbers.get(lane).is_some_and(|lane| self.busy.contains(lane));
        crowded && !is_busy()
    }

    /// Whose turn it is in a lane, best first.
    pub(crate) fn order(
        &self,
        lane: &Lane,
        room: bool,
        now: Instant,
    ) -> impl Iterator<Item = (WaiterId, &Seat<T>)> {
        let rise = move |id| {
            let since = self.seats.get(id).map_or(now, |seat| seat.waiting.since);
            self.rise(since, now)
        };
        let order = lane.order(room, rise);
        order.filter_map(|id| Some((id, self.seats.get(id)?)))
    }

    /// A waiter that is the first of its tenant, if there is room for it.
    pub(crate) fn leading(&self, id: WaiterId, room: bool) -> Option<(WaiterId, &Seat<T>)> {
        let seat = self.seats.get(id).filter(|seat| seat.phase == Phase::Waits)?;
        let leads = self.lanes.get(&seat.lane)?.leads(id, &seat.waiting);
        (leads && (room || seat.waiting.returns)).then_some((id, seat))
    }

    /// Somebody who waits and is not `but`, if possible for long yet.
    pub(crate) fn a_patient_one(&self, but: Option<WaiterId>) -> Option<WaiterId> {
        let waits = |id: &WaiterId| {
            Some(*id) != but && self.seats.get(*id).is_some_and(|seat| seat.phase == Phase::Waits)
        };
        let patient = self.tenants.a_patient_one().find(waits);
        patient.or_else(|| {
            let lanes = self.busy.iter().filter_map(|lane| self.lanes.get(lane));
            lanes.flat_map(Lane::returning).find(waits)
        })
    }

    pub(crate) fn depth(&self) -> usize {
        self.by_class.iter().sum()
    }

    /// Waiters of each class, lowest first.
    pub(crate) const fn by_class(&self) -> [usize; CLASSES] {
        self.by_class
    }

    /// When the one lined up who waits longest.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let waiting =
            self.seats.iter().filter(|(_, seat)| !matches!(seat.phase, Phase::Granted { .. }));
        waiting.map(|(_, seat)| seat.waiting.since).min()
    }

    /// Tenants by how many of their calls wait, most first.
    pub(crate) fn top_tenants(&self, most: usize) -> Vec<(Option<TenantId>, usize)> {
        self.tenants.top(most)
    }

    fn weight(&self, tenant: Option<&TenantId>) -> u32 {
        tenant.and_then(|tenant| self.settings.weights.get(tenant)).copied().unwrap_or(1)
    }

    /// Until when a call may wait.
    pub(crate) fn deadline(&self, place: &Place, now: Instant) -> Instant {
        place.deadline.min(after(now, self.settings.max_wait))
    }
}

/// Four thousand million tokens are as good as more, and leave no sum to overflow.
fn tokens(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    #[test]
    fn a_million_waiters_that_come_and_go_leave_nothing_that_grows() {
        let (mut state, at) = (State::new(QueueSettings::default()), now());
        let rounds = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
        for round in 0..rounds {
            let place = Place::new(at + Duration::from_secs(9));
            let place = place.tenant(round.to_string()).lane((round % 5_000).to_string());
            let Entry::Waits { id, .. } = state.enter(&place, place.deadline, at, ()) else {
                panic!("there is room");
            };
            if round % 2 == 0 {
                assert!(state.grant(id, at, at).is_some());
            }
            assert!(state.leave(id, at).is_some());
        }
        assert_eq!((state.depth(), state.seats().count(), state.busy.len()), (0, 0, 0));
        assert!(state.lanes.len() <= 2 * MOST_IDLE_LANES + 1, "{}", state.lanes.len());
        assert_eq!(state.lanes.len(), state.lane_numbers.len());
    }
}
