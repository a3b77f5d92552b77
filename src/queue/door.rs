//! What the fuzzers reach of the queue: its pure state, with numbers for waiters. No part of the
//! interface.

use std::fmt;
use std::time::Duration;

use crate::options::TenantId;
use crate::queue::place::Place;
use crate::queue::refused::Scope;
use crate::queue::seats::WaiterId;
use crate::queue::settings::QueueSettings;
use crate::queue::state::{Account, Entry, State};
use crate::time::Instant;

/// The waiters of a queue, each known by the number it was given.
pub struct Waiters {
    state: State<u64>,
    /// By number; `None` for those that are gone.
    waiters: Vec<Option<WaiterId>>,
    /// Calls that passed and have not ended, by the number of their waiter.
    running: Vec<(u64, Account)>,
}

/// What became of a call that wanted to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entered {
    Waits { number: u64, instead_of: Option<u64> },
    Full { scope: Scope, depth: usize },
    WouldMissDeadline { eta: Duration },
}

impl Waiters {
    pub fn new(settings: QueueSettings) -> Self {
        Self { state: State::new(settings), waiters: Vec::new(), running: Vec::new() }
    }

    /// Lets a call wait. Who loses its place for it is still there: [`leave`](Self::leave) takes it out.
    pub fn enter(&mut self, place: &Place, now: Instant) -> Entered {
        let number = self.waiters.len() as u64;
        let deadline = self.state.deadline(place, now);
        match self.state.enter(place, deadline, now, number) {
            Entry::Waits { id, instead_of } => {
                self.waiters.push(Some(id));
                Entered::Waits { number, instead_of: instead_of.and_then(|id| self.number(id)) }
            }
            Entry::Full { scope, depth } => Entered::Full { scope, depth },
            Entry::WouldMissDeadline { eta } => Entered::WouldMissDeadline { eta },
        }
    }

    /// Lets a call wait that has passed before.
    pub fn enter_again(&mut self, place: &Place, since: Instant, now: Instant) -> u64 {
        let number = self.waiters.len() as u64;
        let deadline = self.state.deadline(place, now);
        let id = self.state.enter_again(place, deadline, since, now, number);
        self.waiters.push(Some(id));
        number
    }

    /// Those of all lanes whose turn it is, best first, lane by lane.
    pub fn order(&self, now: Instant) -> Vec<Vec<u64>> {
        let lanes = self.state.busy_lanes().filter_map(|lane| self.state.lane(lane));
        lanes
            .map(|lane| self.state.order(lane, true, now).map(|(_, seat)| seat.guest).collect())
            .collect()
    }

    /// Whether it was there to be let through.
    pub fn grant(&mut self, number: u64, now: Instant) -> bool {
        let Some(id) = self.id(number) else { return false };
        self.state.grant(id, now, now).is_some()
    }

    /// Whether it had been let through; it runs from now on.
    pub fn claim(&mut self, number: u64) -> bool {
        let account = self.id(number).and_then(|id| self.state.claim(id));
        let Some(account) = account else { return false };
        self.waiters[number as usize] = None;
        self.running.push((number, account));
        true
    }

    /// Whether it was there to leave.
    pub fn leave(&mut self, number: u64, now: Instant) -> bool {
        let Some(id) = self.id(number) else { return false };
        self.waiters[number as usize] = None;
        self.state.leave(id, now).is_some()
    }

    /// It was let through and did not say so.
    pub fn set_aside(&mut self, number: u64) {
        if let Some(id) = self.id(number) {
            self.state.set_aside(id);
        }
    }

    /// It was set aside and is there again.
    pub fn shows_up(&mut self, number: u64, now: Instant) {
        if let Some(id) = self.id(number) {
            self.state.shows_up(id, now);
        }
    }

    /// Whether the call was running; it ends with so many tokens.
    pub fn settle(&mut self, number: u64, actual: Option<u64>) -> bool {
        let Some(at) = self.running.iter().position(|(running, _)| *running == number) else {
            return false;
        };
        let (_, account) = self.running.swap_remove(at);
        self.state.settle(&account, actual);
        true
    }

    pub fn depth(&self) -> usize {
        self.state.depth()
    }

    pub fn by_class(&self) -> [usize; 3] {
        self.state.by_class()
    }

    pub fn oldest(&self) -> Option<Instant> {
        self.state.oldest()
    }

    pub fn top_tenants(&self) -> Vec<(Option<TenantId>, usize)> {
        self.state.top_tenants(usize::MAX)
    }

    fn id(&self, number: u64) -> Option<WaiterId> {
        *self.waiters.get(usize::try_from(number).ok()?)?
    }

    fn number(&self, id: WaiterId) -> Option<u64> {
        self.state.seat_of(id).map(|seat| seat.guest)
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").field("depth", &self.depth()).finish_non_exhaustive()
    }
}
