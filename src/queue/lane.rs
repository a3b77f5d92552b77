//! The waiters for one thing, in the order in which they go. Pure.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::SmallVec;

use crate::options::Priority;
use crate::queue::drain::Drain;
use crate::queue::fair::{Correction, Fair, Served, TenantNo, Turn};
use crate::queue::pace::Pace;
use crate::queue::seats::WaiterId;
use crate::time::{Instant, after};

/// The classes, lowest first.
pub(crate) const CLASSES: usize = 3;

/// How many waiters a gate is asked for, when it refuses those before them.
pub(crate) const MOST_ASKED: usize = 16;

/// A gate that opens now or has opened, and refuses all the same, is not asked again before this:
/// about as fine as a timer is.
const SOONEST: Duration = Duration::from_millis(1);

/// The waiters for one thing.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Those that have passed before, by when they first lined up. They go first and pay nothing:
    /// their turn has come already.
    returning: BTreeSet<Turn>,
    classes: [Fair; CLASSES],
    depths: [usize; CLASSES],
    len: usize,
    /// Tokens it was served, lifted to what the others had been when it became busy.
    served: u64,
    /// Tokens that wait.
    backlog: u64,
    drain: Drain,
    pace: Pace,
}

/// One waiter, as its lane knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) tenant: TenantNo,
    pub(crate) weight: u32,
    pub(crate) class: usize,
    pub(crate) deadline: Instant,
    pub(crate) since: Instant,
    pub(crate) cost: u32,
    /// It has passed before.
    pub(crate) returns: bool,
}

impl Waiting {
    const fn turn(&self, id: WaiterId) -> Turn {
        (if self.returns { self.since } else { self.deadline }, id)
    }
}

impl Lane {
    pub(crate) fn push(&mut self, id: WaiterId, waiting: &Waiting, now: Instant) {
        if waiting.returns {
            self.returning.insert(waiting.turn(id));
        } else {
            let class = &mut self.classes[waiting.class];
            class.push(waiting.tenant, waiting.weight, waiting.turn(id), waiting.cost);
            self.depths[waiting.class] += 1;
            self.backlog += u64::from(waiting.cost);
        }
        if self.len == 0 {
            self.drain.begins(now);
        }
        self.len += 1;
    }

    /// Takes a waiter out that left.
    pub(crate) fn remove(&mut self, id: WaiterId, waiting: &Waiting, now: Instant) {
        if waiting.returns {
            self.returning.remove(&waiting.turn(id));
        } else {
            self.classes[waiting.class].remove(waiting.tenant, waiting.turn(id), waiting.cost);
        }
        self.left(waiting, now);
    }

    /// Takes a waiter out that was let through. Returns what its tenant has been served then.
    pub(crate) fn serve(&mut self, id: WaiterId, waiting: &Waiting, now: Instant) -> Served {
        self.pace.passed();
        if waiting.returns {
            self.remove(id, waiting, now);
            return 0;
        }
        let (class, turn) = (&mut self.classes[waiting.class], waiting.turn(id));
        let served = class.serve(waiting.tenant, turn, waiting.cost);
        self.served = self.served.saturating_add(u64::from(waiting.cost));
        self.drain.served(waiting.cost, now);
        self.left(waiting, now);
        served
    }

    /// Tokens it was served, as lanes compare them.
    pub(crate) const fn served(&self) -> u64 {
        self.served
    }

    /// It becomes busy beside lanes that were served so much: idling has saved nothing up.
    pub(crate) fn lift(&mut self, served: u64) {
        self.served = self.served.max(served);
    }

    fn left(&mut self, waiting: &Waiting, now: Instant) {
        if !waiting.returns {
            self.depths[waiting.class] -= 1;
            self.backlog -= u64::from(waiting.cost);
        }
        self.len -= 1;
        if self.len == 0 {
            self.drain.ends(now);
            self.pace.abandoned();
        }
    }

    /// Corrects what a tenant was charged for a call that passed.
    pub(crate) fn correct(&mut self, waiting: &Waiting, booked: Served, by: Correction) {
        if !waiting.returns {
            let class = &mut self.classes[waiting.class];
            class.correct(waiting.tenant, waiting.weight, booked, by);
        }
    }

    /// Whose turn it is, best first; without `room` only those that need none. `since` says when a
    /// waiter lined up: a class counts as one higher for every `aging` that its next one has waited.
    pub(crate) fn order(
        &self,
        room: bool,
        rise: impl Fn(WaiterId) -> usize,
    ) -> impl Iterator<Item = WaiterId> {
        let mut classes: SmallVec<[(usize, usize); CLASSES]> = SmallVec::new();
        for (rank, class) in self.classes.iter().enumerate().filter(|_| room) {
            let first = class.heads().next();
            classes.extend(first.map(|(_, id)| (rank + rise(id), rank)));
        }
        classes.sort_unstable_by_key(|&ranks| Reverse(ranks));
        let heads = classes.into_iter().flat_map(|(_, class)| self.classes[class].heads());
        let turns = self.returning.iter().copied().chain(heads);
        turns.map(|(_, id)| id)
    }

    /// Whether a waiter is the first of its tenant; those who return all are.
    pub(crate) fn leads(&self, id: WaiterId, waiting: &Waiting) -> bool {
        let class = &self.classes[waiting.class];
        waiting.returns || class.first_of(waiting.tenant) == Some(waiting.turn(id))
    }

    /// When the gate opens, as it said last.
    pub(crate) const fn opens(&self) -> Option<Instant> {
        self.pace.opens()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waiters that have passed before.
    pub(crate) fn returning(&self) -> impl ExactSizeIterator<Item = WaiterId> {
        self.returning.iter().map(|&(_, id)| id)
    }

    /// About how long a new waiter would wait; `None` where nothing is known of the gate's rate.
    pub(crate) fn eta(&self, waiting: &Waiting) -> Option<Duration> {
        let higher: usize = self.depths[waiting.class + 1..].iter().sum();
        let ordinary = (self.len - self.returning.len()) as u64;
        let mean = self.backlog / ordinary.max(1);
        let own = self.classes[waiting.class].ahead(waiting.tenant, waiting.cost, self.backlog);
        let ahead = own.saturating_add(mean.saturating_mul(higher as u64)).min(self.backlog);
        self.drain.time_for(ahead)
    }

    /// The gate refuses everybody who was asked for, and may have said until when.
    pub(crate) fn closed_until(&mut self, opens: Option<Instant>, now: Instant) {
        self.pace.closed(opens.map(|opens| opens.max(after(now, SOONEST))), now);
    }

    /// Whether another may pass now. A lane that was closed for long opens slowly.
    pub(crate) fn lets_pass(&mut self, now: Instant) -> bool {
        self.pace.allows(now)
    }

    /// When somebody has to look after the lane, if nothing happens before.
    pub(crate) fn alarm(&self) -> Option<Instant> {
        self.pace.alarm()
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
