//! The waiters for one thing, in the order in which they go. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::options::Priority;
use crate::queue::fair::{Fair, TenantNo, WaiterId};
use crate::time::{Instant, after};

/// The classes, lowest first.
const CLASSES: usize = 3;

/// How many waiters a gate is asked for, when it refuses those before them.
const MOST_ASKED: usize = 16;

/// After a window re-opens, so many pass at once; twice as many with every step. All of them at
/// once would meet the next refusal together.
const FIRST_PACE: u32 = 1;
const PACE_STEP: Duration = Duration::from_millis(25);

/// The waiters for one thing.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    classes: [Class; CLASSES],
    /// Everyone in order of arrival, the holders of the timer first.
    arrivals: BTreeMap<WaiterId, Waiting>,
    /// Tokens that wait.
    pub(crate) backlog: u64,
    drain: Drain,
    pace: Option<Pace>,
    /// When the gate opens, as it said last.
    pub(crate) opens: Option<Instant>,
}

#[derive(Debug, Default)]
struct Class {
    fair: Fair,
    arrivals: BTreeMap<WaiterId, ()>,
}

/// One waiter, as its lane knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) tenant: TenantNo,
    pub(crate) class: usize,
    pub(crate) deadline: Instant,
    pub(crate) since: Instant,
    pub(crate) cost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    left: u32,
    allowance: u32,
    next: Instant,
}

impl Waiting {
    const fn turn(&self, id: WaiterId) -> (Instant, WaiterId) {
        (self.deadline, id)
    }
}

impl Lane {
    pub(crate) fn push(&mut self, id: WaiterId, waiting: Waiting, weight: u32) {
        let class = &mut self.classes[waiting.class];
        class.fair.push(waiting.tenant, weight, waiting.turn(id), waiting.cost);
        class.arrivals.insert(id, ());
        self.arrivals.insert(id, waiting);
        self.backlog = self.backlog.saturating_add(waiting.cost);
    }

    /// Takes a waiter out that left.
    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Waiting> {
        let waiting = self.arrivals.remove(&id)?;
        let class = &mut self.classes[waiting.class];
        class.arrivals.remove(&id);
        class.fair.remove(waiting.tenant, waiting.turn(id));
        self.backlog = self.backlog.saturating_sub(waiting.cost);
        Some(waiting)
    }

    /// Takes a waiter out that was let through.
    pub(crate) fn serve(&mut self, id: WaiterId, now: Instant) -> Option<Waiting> {
        let waiting = self.arrivals.remove(&id)?;
        let class = &mut self.classes[waiting.class];
        class.arrivals.remove(&id);
        class.fair.serve(waiting.tenant, waiting.turn(id));
        self.backlog = self.backlog.saturating_sub(waiting.cost);
        self.drain.served(waiting.cost, now);
        if let Some(pace) = &mut self.pace {
            pace.left = pace.left.saturating_sub(1);
        }
        Some(waiting)
    }

    /// Corrects what a tenant was served.
    pub(crate) fn charge(&mut self, tenant: TenantNo, class: usize, tokens: i64) {
        self.classes[class].fair.charge(tenant, tokens);
    }

    /// Whose turn it is, best first: a waiter that is old enough goes before a class that is higher.
    pub(crate) fn order(&self, now: Instant, aging: Duration) -> Vec<WaiterId> {
        let mut order: Vec<(usize, bool, WaiterId)> = Vec::with_capacity(MOST_ASKED);
        for (rank, class) in self.classes.iter().enumerate() {
            let heads = class.fair.heads().take(MOST_ASKED);
            order.extend(heads.map(|(_, (_, id))| (rank, false, id)));
            if let Some((rank, id)) = self.aged(rank, class, now, aging) {
                order.push((rank, true, id));
            }
        }
        // Stable: heads of one class stay in fair order.
        order.sort_by_key(|&(rank, aged, _)| Reverse((rank, aged)));
        order.truncate(MOST_ASKED);
        order.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The oldest of a class, with the rank its age gives it, if that is above its class.
    fn aged(
        &self,
        rank: usize,
        class: &Class,
        now: Instant,
        aging: Duration,
    ) -> Option<(usize, WaiterId)> {
        let (&id, ()) = class.arrivals.first_key_value()?;
        let waited = now.saturating_duration_since(self.arrivals.get(&id)?.since);
        let steps = (waited.as_nanos() / aging.as_nanos().max(1)).min(1_000) as usize;
        (steps > 0).then_some((rank + steps, id))
    }

    pub(crate) fn get(&self, id: WaiterId) -> Option<&Waiting> {
        self.arrivals.get(&id)
    }

    /// The two that came first: they hold the timer and its backup.
    pub(crate) fn watchers(&self) -> impl Iterator<Item = WaiterId> {
        self.arrivals.keys().copied().take(2)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = WaiterId> {
        self.arrivals.keys().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Waiters of each class, lowest first.
    pub(crate) fn depths(&self) -> [usize; CLASSES] {
        std::array::from_fn(|class| self.classes[class].arrivals.len())
    }

    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.arrivals.values().map(|waiting| waiting.since).min()
    }

    pub(crate) fn last_of(&self, tenant: TenantNo) -> Option<WaiterId> {
        self.classes.iter().find_map(|class| class.fair.last_of(tenant))
    }

    /// About how long a new waiter would wait; `None` where nothing is known of the gate's rate.
    pub(crate) fn eta(&self, waiting: &Waiting) -> Option<Duration> {
        let higher = self.classes[waiting.class + 1..].iter();
        let higher: usize = higher.map(|class| class.arrivals.len()).sum();
        let mean = self.backlog / (self.arrivals.len() as u64).max(1);
        let own =
            self.classes[waiting.class].fair.ahead(waiting.tenant, waiting.cost, self.backlog);
        let ahead = own.saturating_add(mean.saturating_mul(higher as u64)).min(self.backlog);
        self.drain.time_for(ahead)
    }

    /// The gate has said when it opens.
    pub(crate) fn closed_until(&mut self, opens: Option<Instant>) {
        self.opens = opens;
        if opens.is_some() {
            self.pace = None;
        }
    }

    /// How many may pass now. A lane that was closed for a time opens slowly.
    pub(crate) fn allowance(&mut self, now: Instant) -> u32 {
        if self.opens.is_some_and(|opens| opens <= now) && self.pace.is_none() {
            let next = after(now, PACE_STEP);
            self.pace = Some(Pace { left: FIRST_PACE, allowance: FIRST_PACE, next });
            self.opens = None;
        }
        let Some(pace) = &mut self.pace else { return u32::MAX };
        if now >= pace.next {
            pace.allowance = pace.allowance.saturating_mul(2);
            pace.left = pace.allowance;
            pace.next = after(now, PACE_STEP);
        }
        // Faster than any backlog can use: open.
        if pace.allowance > 4096 {
            self.pace = None;
            return u32::MAX;
        }
        pace.left
    }

    /// When the next may pass, where the pace holds them back.
    pub(crate) fn next_step(&self) -> Option<Instant> {
        self.pace.filter(|pace| pace.left == 0).map(|pace| pace.next)
    }
}

/// The position of a class.
pub(crate) const fn class_of(priority: Priority) -> usize {
    match priority {
        Priority::Batch => 0,
        Priority::Normal => 1,
        Priority::Interactive => 2,
    }
}

/// How many tokens pass per second while there is a backlog.
#[derive(Debug, Default)]
struct Drain {
    per_second: Option<f64>,
    since: Option<Instant>,
    tokens: u64,
}

impl Drain {
    /// Rates are measured over at least so long: a burst says nothing about the minute.
    const SPAN: Duration = Duration::from_secs(2);

    fn served(&mut self, tokens: u64, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.tokens = self.tokens.saturating_add(tokens);
        let passed = now.saturating_duration_since(since);
        if passed >= Self::SPAN {
            let rate = self.tokens as f64 / passed.as_secs_f64();
            self.per_second =
                Some(self.per_second.map_or(rate, |before| before.mul_add(0.7, rate * 0.3)));
            (self.since, self.tokens) = (Some(now), 0);
        }
    }

    fn time_for(&self, tokens: u64) -> Option<Duration> {
        let rate = self.per_second.filter(|&rate| rate > 0.0)?;
        Duration::try_from_secs_f64(tokens as f64 / rate).ok()
    }
}
