//! Who waits, in which lane, and how much of the room each tenant takes. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::options::TenantId;
use crate::queue::fair::{TenantNo, WaiterId};
use crate::queue::lane::{Lane, Waiting, class_of};
use crate::queue::place::Place;
use crate::queue::refused::Scope;
use crate::queue::settings::QueueSettings;
use crate::queue::slot::Account;
use crate::time::{Instant, after};

/// Lanes without waiters are kept for what they know, but no more than this.
const MOST_IDLE_LANES: usize = 256;

/// Names a lane.
pub(crate) type LaneKey = Option<Arc<str>>;

/// The waiters of a queue.
#[derive(Debug)]
pub(crate) struct State {
    settings: QueueSettings,
    lanes: HashMap<LaneKey, Lane>,
    /// Which lane a waiter is in.
    whereabouts: HashMap<WaiterId, LaneKey>,
    tenants: Tenants,
    depth: usize,
    next: WaiterId,
}

/// What becomes of a call that wants to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It waits. Somebody else may have lost its place for it.
    Waits {
        id: WaiterId,
        evicted: Option<WaiterId>,
    },
    Full {
        scope: Scope,
        depth: usize,
    },
    WouldMissDeadline {
        eta: Duration,
    },
}

impl State {
    pub(crate) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            lanes: HashMap::new(),
            whereabouts: HashMap::new(),
            tenants: Tenants::default(),
            depth: 0,
            next: 0,
        }
    }

    pub(crate) const fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Lets a call wait, if there is room and it has the time.
    pub(crate) fn enter(&mut self, place: &Place, deadline: Instant, now: Instant) -> Entry {
        let tenant = self.tenants.hold(place.tenant.as_ref());
        let weight = self.weight(place.tenant.as_ref());
        let waiting = Waiting {
            tenant,
            class: class_of(place.priority),
            deadline,
            since: now,
            cost: place.cost.max(1),
        };
        if let Some(refusal) = self.objection(&place.lane, &waiting, now) {
            self.tenants.release(tenant);
            return refusal;
        }
        let evicted = match self.make_room(tenant) {
            Ok(evicted) => evicted,
            Err((scope, depth)) => {
                self.tenants.release(tenant);
                return Entry::Full { scope, depth };
            }
        };
        let id = self.next;
        self.next += 1;
        self.push(&place.lane, id, waiting, weight);
        Entry::Waits { id, evicted }
    }

    /// Puts a waiter back that was let through and did not pass after all.
    pub(crate) fn reenter(&mut self, lane: &LaneKey, id: WaiterId, waiting: Waiting) {
        let weight = self.tenants.name(waiting.tenant).map_or(1, |name| self.weight(Some(&name)));
        self.push(lane, id, waiting, weight);
    }

    /// Lets a call that passed before wait again. It has its place already, so no bound stands
    /// against it; its turn is before all of its tenant's that have not passed yet.
    pub(crate) fn line_up_again(
        &mut self,
        place: &Place,
        account: Option<Account>,
        now: Instant,
    ) -> WaiterId {
        let waiting = match account {
            Some(Account { lane, waiting }) => {
                self.uncharge(&lane, &waiting);
                Waiting { deadline: waiting.since, ..waiting }
            }
            None => Waiting {
                tenant: self.tenants.hold(place.tenant.as_ref()),
                class: class_of(place.priority),
                deadline: now,
                since: now,
                cost: place.cost.max(1),
            },
        };
        let id = self.next;
        self.next += 1;
        self.reenter(&place.lane, id, waiting);
        id
    }

    fn push(&mut self, lane: &LaneKey, id: WaiterId, waiting: Waiting, weight: u32) {
        self.lanes.entry(lane.clone()).or_default().push(id, waiting, weight);
        self.whereabouts.insert(id, lane.clone());
        self.tenants.count(waiting.tenant, weight, 1);
        self.depth += 1;
    }

    /// A call that is expected to wait for longer than its patience is refused at once: it would
    /// only make the others wait longer as well.
    fn objection(&self, lane: &LaneKey, waiting: &Waiting, now: Instant) -> Option<Entry> {
        let left = waiting.deadline.saturating_duration_since(now);
        let patience = left.mul_f64(self.settings.patience);
        let lane = self.lanes.get(lane)?;
        let opens = lane.opens.map(|opens| opens.saturating_duration_since(now));
        let eta = opens
            .filter(|&wait| wait > left)
            .or_else(|| lane.eta(waiting).filter(|&eta| eta > patience));
        eta.map(|eta| Entry::WouldMissDeadline { eta })
    }

    /// When all room is taken, the tenant that takes most for its weight loses its newest waiter.
    fn make_room(&mut self, tenant: TenantNo) -> Result<Option<WaiterId>, (Scope, usize)> {
        let own = self.tenants.depth(tenant);
        let most = self.settings.max_depth_per_tenant.unwrap_or(usize::MAX);
        if own >= most {
            return Err((Scope::Tenant, own));
        }
        if self.depth < self.settings.max_depth {
            return Ok(None);
        }
        let greediest = self
            .tenants
            .greediest()
            .filter(|&greediest| greediest != tenant && self.tenants.depth(greediest) > own + 1);
        let newest = greediest.and_then(|tenant| self.newest_of(tenant));
        newest.map(Some).ok_or((Scope::Global, self.depth))
    }

    fn newest_of(&self, tenant: TenantNo) -> Option<WaiterId> {
        self.lanes.values().filter_map(|lane| lane.last_of(tenant)).max()
    }

    /// Takes a waiter out that left or was refused. Its tenant is still held.
    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Waiting> {
        let key = self.whereabouts.remove(&id)?;
        let lane = self.lanes.get_mut(&key)?;
        let waiting = lane.remove(id)?;
        self.left(&key, waiting.tenant);
        Some(waiting)
    }

    /// Takes a waiter out that was let through. Its tenant is still held.
    pub(crate) fn serve(&mut self, id: WaiterId, now: Instant) -> Option<Waiting> {
        let key = self.whereabouts.remove(&id)?;
        let waiting = self.lanes.get_mut(&key)?.serve(id, now)?;
        self.left(&key, waiting.tenant);
        Some(waiting)
    }

    fn left(&mut self, key: &LaneKey, tenant: TenantNo) {
        self.depth -= 1;
        self.tenants.count(tenant, 0, -1);
        if self.lanes.len() > MOST_IDLE_LANES && self.lanes.get(key).is_some_and(Lane::is_empty) {
            self.lanes.remove(key);
        }
    }

    /// Corrects what a tenant was served, and lets go of it.
    pub(crate) fn settle(&mut self, lane: &LaneKey, waiting: &Waiting, actual: u64) {
        let correction =
            i64::try_from(actual).unwrap_or(i64::MAX).saturating_sub(waiting.cost as i64);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.charge(waiting.tenant, waiting.class, correction);
        }
        self.tenants.release(waiting.tenant);
    }

    /// A waiter that was let through did not pass after all.
    pub(crate) fn uncharge(&mut self, lane: &LaneKey, waiting: &Waiting) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.charge(waiting.tenant, waiting.class, -(waiting.cost as i64));
        }
    }

    /// The lane a waiter is in.
    pub(crate) fn key_of(&self, id: WaiterId) -> LaneKey {
        self.whereabouts.get(&id).cloned().flatten()
    }

    pub(crate) fn release(&mut self, tenant: TenantNo) {
        self.tenants.release(tenant);
    }

    pub(crate) fn lane_mut(&mut self, key: &LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(key)
    }

    /// Lanes in which somebody waits.
    pub(crate) fn busy_lanes(&self) -> Vec<LaneKey> {
        let busy = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
        busy.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values()
    }

    pub(crate) fn lane_of(&self, id: WaiterId) -> Option<&Lane> {
        self.lanes.get(self.whereabouts.get(&id)?)
    }

    pub(crate) const fn depth(&self) -> usize {
        self.depth
    }

    /// Tenants by how many of their calls wait, most first.
    pub(crate) fn top_tenants(&self, most: usize) -> Vec<(Option<TenantId>, usize)> {
        self.tenants.top(most)
    }

    fn weight(&self, tenant: Option<&TenantId>) -> u32 {
        tenant.and_then(|tenant| self.settings.weights.get(tenant)).copied().unwrap_or(1)
    }

    /// How long a call may wait at the most.
    pub(crate) fn deadline(&self, place: &Place, now: Instant) -> Instant {
        place.deadline.min(after(now, self.settings.max_wait))
    }
}

/// Tenants that wait or whose calls run, as numbers.
#[derive(Debug, Default)]
struct Tenants {
    numbers: HashMap<Option<TenantId>, TenantNo>,
    known: HashMap<TenantNo, Known>,
    /// By waiting calls for their weight.
    crowd: BTreeSet<(u64, TenantNo)>,
    next: TenantNo,
}

#[derive(Debug)]
struct Known {
    name: Option<TenantId>,
    holds: usize,
    depth: usize,
    weight: u32,
}

impl Known {
    /// Waiting calls for the weight, in parts fine enough to compare.
    const fn pressure(&self) -> u64 {
        self.depth as u64 * 1_024 / self.weight as u64
    }
}

impl Tenants {
    fn hold(&mut self, name: Option<&TenantId>) -> TenantNo {
        let number = match self.numbers.get(&name.cloned()) {
            Some(&number) => number,
            None => self.introduce(name.cloned()),
        };
        if let Some(known) = self.known.get_mut(&number) {
            known.holds += 1;
        }
        number
    }

    fn introduce(&mut self, name: Option<TenantId>) -> TenantNo {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(name.clone(), number);
        self.known.insert(number, Known { name, holds: 0, depth: 0, weight: 1 });
        number
    }

    fn release(&mut self, number: TenantNo) {
        let Some(known) = self.known.get_mut(&number) else { return };
        known.holds -= 1;
        if known.holds == 0
            && let Some(known) = self.known.remove(&number)
        {
            self.crowd.remove(&(known.pressure(), number));
            self.numbers.remove(&known.name);
        }
    }

    fn count(&mut self, number: TenantNo, weight: u32, change: isize) {
        let Some(known) = self.known.get_mut(&number) else { return };
        self.crowd.remove(&(known.pressure(), number));
        known.depth = known.depth.saturating_add_signed(change);
        known.weight = if weight > 0 { weight } else { known.weight };
        if known.depth > 0 {
            self.crowd.insert((known.pressure(), number));
        }
    }

    fn greediest(&self) -> Option<TenantNo> {
        self.crowd.last().map(|&(_, number)| number)
    }

    fn depth(&self, number: TenantNo) -> usize {
        self.known.get(&number).map_or(0, |known| known.depth)
    }

    fn name(&self, number: TenantNo) -> Option<TenantId> {
        self.known.get(&number).and_then(|known| known.name.clone())
    }

    fn top(&self, most: usize) -> Vec<(Option<TenantId>, usize)> {
        let mut depths: Vec<_> = self.known.values().filter(|known| known.depth > 0).collect();
        depths.sort_by_key(|known| std::cmp::Reverse(known.depth));
        depths.into_iter().take(most).map(|known| (known.name.clone(), known.depth)).collect()
    }
}
