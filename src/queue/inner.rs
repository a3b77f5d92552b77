//! A desk behind a lock, and a word that says whether anybody waits at it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::queue::adaptive::AdaptiveLimit;
use crate::queue::dispatch::{Aftermath, Desk};
use crate::queue::gate::{Gate, Passage};
use crate::queue::line::Line;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::request_queue::QueueStats;
use crate::queue::room::Room;
use crate::queue::seats::WaiterId;
use crate::queue::settings::QueueSettings;
use crate::queue::state::{Account, Entry, State};
use crate::queue::waiter::{Offer, Waiter};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, fence};
use crate::time::{Instant, after, now};

/// What the clones of a queue, its waiters and its slots share.
pub(crate) struct Inner {
    desk: Mutex<Desk>,
    /// Twice the waiters, plus one once closed: what a call that wants to pass looks at first.
    line: AtomicUsize,
    /// Whether the gate may have opened while the desk was busy.
    knocked: AtomicBool,
    room: Room,
    /// Woken when nobody waits or nobody runs any more.
    idle: Notify,
    /// How many wait for that.
    idlers: AtomicUsize,
}

const CLOSED: usize = 1;
const WAITER: usize = 2;

/// A gate that has the queue reopened whenever it is asked is asked so often in a row, and then again
/// after a pause.
const MOST_IN_VAIN: u32 = 3;
const PAUSE: Duration = Duration::from_millis(1);

impl Inner {
    pub(crate) fn new(settings: QueueSettings, limit: Option<AdaptiveLimit>) -> Self {
        Self {
            desk: Mutex::new(Desk::new(State::new(settings))),
            line: AtomicUsize::new(0),
            knocked: AtomicBool::new(false),
            room: Room::new(limit),
            idle: Notify::new(),
            idlers: AtomicUsize::new(0),
        }
    }

    /// Lets a call pass that finds nobody waiting, or nobody of its lane in a queue that is full. One
    /// that passes is counted as running.
    pub(super) fn pass_by<G: Gate>(
        &self,
        gate: &G,
        demand: &G::Demand,
        place: &Place,
        now: Instant,
    ) -> Result<Option<G::Pass>, Refused<G::Never>> {
        if now >= place.deadline {
            return Err(Refused::TimedOut { waited: Duration::ZERO });
        }
        let may_pass = self.is_free() || self.is_crowded_elsewhere(place);
        if !may_pass || !self.room.reserve() {
            return Ok(None);
        }
        let reserved = Reserved(self);
        match gate.try_pass(demand, now) {
            Passage::Pass(pass) => {
                reserved.keep();
                Ok(Some(pass))
            }
            Passage::Never(never) => Err(Refused::Never(never)),
            Passage::NotBefore(Some(at)) if at >= place.deadline => {
                Err(Refused::WouldMissDeadline { eta: at.saturating_duration_since(now) })
            }
            Passage::NotBefore(_) => Ok(None),
        }
    }

    /// Lets a call pass again that finds nobody waiting. It has room already.
    pub(super) fn pass_by_again<G: Gate>(
        &self,
        gate: &G,
        demand: &G::Demand,
        now: Instant,
    ) -> Result<Option<G::Pass>, Refused<G::Never>> {
        if self.waiting() > 0 {
            return Ok(None);
        }
        match gate.try_pass(demand, now) {
            Passage::Pass(pass) => Ok(Some(pass)),
            Passage::Never(never) => Err(Refused::Never(never)),
            Passage::NotBefore(_) => Ok(None),
        }
    }

    /// Whether the call may be refused a place to wait because of calls that wait for something else:
    /// it need not wait then, if its own gate is open.
    fn is_crowded_elsewhere(&self, place: &Place) -> bool {
        !self.is_closed() && self.visit(|desk, _| desk.state.is_crowded_elsewhere(&place.lane))
    }

    /// Whether nobody waits and the queue is open.
    fn is_free(&self) -> bool {
        // SeqCst with the fence in `seated`: a call that starts after somebody lined up does not
        // overtake it.
        self.line.load(Ordering::SeqCst) == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// At the desk, so that whoever lines up has either seen it or is waited for.
    pub(super) fn close(&self) {
        self.visit(|_, _| self.line.fetch_or(CLOSED, Ordering::Relaxed));
    }

    pub(super) fn waiting(&self) -> usize {
        // Acquire pairs with the AcqRel in `line_down`.
        self.line.load(Ordering::Acquire) / WAITER
    }

    pub(super) fn running(&self) -> usize {
        self.room.running()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.running() == 0
    }

    pub(super) fn line_up<G: Gate>(
        this: &Arc<Self>,
        waiter: Arc<Waiter<G>>,
        place: &Place,
        now: Instant,
    ) -> Result<Line<G>, Refused<G::Never>> {
        let guest = Arc::clone(&waiter) as Arc<dyn Offer>;
        let (id, deadline) = this.visit(|desk, then| {
            if this.is_closed() {
                return Err(Refused::Closed);
            }
            let deadline = desk.state.deadline(place, now);
            match desk.state.enter(place, deadline, now, guest) {
                Entry::Full { scope, depth } => Err(Refused::Full { scope, depth }),
                Entry::WouldMissDeadline { eta } => Err(Refused::WouldMissDeadline { eta }),
                Entry::Waits { id, instead_of } => {
                    if let Some(other) = instead_of {
                        desk.evict(other, now, then);
                    }
                    this.seated(desk, id, now, then);
                    Ok((id, deadline))
                }
            }
        })?;
        Ok(Line { inner: Arc::clone(this), waiter, id, deadline, since: now, left: false })
    }

    /// Lines a call up again that passed before.
    pub(super) fn line_up_again<G: Gate>(
        this: &Arc<Self>,
        waiter: Arc<Waiter<G>>,
        place: &Place,
        since: Instant,
        now: Instant,
    ) -> Result<Line<G>, Refused<G::Never>> {
        let guest = Arc::clone(&waiter) as Arc<dyn Offer>;
        let (id, deadline) = this.visit(|desk, then| {
            let over = desk.over();
            if over.is_some_and(|over| over <= now) {
                return Err(Refused::Closed);
            }
            let deadline = desk.state.deadline(place, now);
            let deadline = over.map_or(deadline, |over| over.min(deadline));
            let id = desk.state.enter_again(place, deadline, since, now, guest);
            this.seated(desk, id, now, then);
            Ok((id, deadline))
        })?;
        Ok(Line { inner: Arc::clone(this), waiter, id, deadline, since: now, left: false })
    }

    /// A waiter more, and the gate is asked with it in line.
    fn seated(&self, desk: &mut Desk, id: WaiterId, now: Instant, then: &mut Aftermath) {
        // SeqCst: pairs with the fence in `freed`. Either whoever frees something sees this waiter,
        // or the dispatch sees what was freed.
        self.line.fetch_add(WAITER, Ordering::SeqCst);
        // SeqCst: as above.
        fence(Ordering::SeqCst);
        desk.came(id, now, &self.room, then);
    }

    /// A waiter less.
    pub(super) fn line_down(&self) {
        // AcqRel pairs with the Acquire in `waiting`.
        if self.line.fetch_sub(WAITER, Ordering::AcqRel) / WAITER == 1 {
            self.tell_idlers();
        }
    }

    /// The waiter is there, and learns for when to set its timer.
    pub(super) fn shows_up(&self, id: WaiterId) -> Option<Instant> {
        self.visit(|desk, then| {
            let now = desk.state.seat_of(id).filter(|seat| seat.is_absent()).map(|_| now());
            if let Some(now) = now {
                desk.state.shows_up(id, now);
                desk.dispatch(now, &self.room, then);
            }
            desk.arm(id)
        })
    }

    /// The timer that the waiter holds has gone off.
    pub(super) fn rings(&self, id: WaiterId, now: Instant) {
        self.visit(|desk, then| {
            desk.rings(id, now);
            desk.dispatch(now, &self.room, then);
        });
    }

    /// The waiter has what it was granted, or was told why not.
    pub(super) fn claimed(&self, id: WaiterId) -> Option<Account> {
        self.visit(|desk, _| desk.claimed(id))
    }

    /// The waiter leaves. Its place, its timer or what it was granted: somebody else has it now.
    /// Returns whether the queue is over.
    pub(super) fn leave_line(&self, id: WaiterId) -> bool {
        let now = now();
        let over = self.visit(|desk, then| {
            desk.leave(id, now, &self.room, then);
            desk.dispatch(now, &self.room, then);
            desk.over()
        });
        self.line_down();
        over.is_some_and(|over| over <= now)
    }

    /// A call that came back has passed again.
    pub(super) fn passed_again(&self, account: &Account) {
        self.visit(|desk, _| desk.state.passed_again(account));
    }

    /// A call that ran has ended.
    pub(super) fn ended(&self, account: Option<Account>, tokens: Option<u64>) {
        let last = self.room.leave();
        let somebody_waits = self.somebody_waits();
        if account.is_some() || somebody_waits {
            let now = now();
            self.visit(|desk, then| {
                if let Some(account) = account {
                    desk.state.settle(&account, tokens);
                }
                desk.dispatch(now, &self.room, then);
                if then.is_empty() {
                    desk.look_soon(after(now, PAUSE), then);
                }
            });
        }
        if last {
            // The fence in `somebody_waits` pairs with the one in `until` too.
            self.tell_idlers_seen();
        }
    }

    fn tell_idlers(&self) {
        // SeqCst: pairs with the fence in `until`. Either they see that it is idle, or they are seen.
        fence(Ordering::SeqCst);
        self.tell_idlers_seen();
    }

    /// After a fence that came after what made it idle.
    fn tell_idlers_seen(&self) {
        if self.idlers.load(Ordering::Relaxed) > 0 {
            self.idle.notify_waiters();
        }
    }

    pub(super) fn settle(&self, account: &Account, tokens: u64) {
        self.visit(|desk, _| desk.state.settle(account, Some(tokens)));
    }

    pub(super) fn first_content(&self, ttft: Duration) {
        if self.room.observe(ttft, now()) {
            self.freed();
        }
    }

    /// Something was freed: whoever's turn it is gets it.
    pub(super) fn freed(&self) {
        if self.somebody_waits() {
            self.knock();
        }
    }

    /// Asked after something was freed.
    fn somebody_waits(&self) -> bool {
        // SeqCst: pairs with the fence in `seated`.
        fence(Ordering::SeqCst);
        self.line.load(Ordering::Relaxed) >= WAITER
    }

    /// Dispatches, or leaves it to whoever is at the desk.
    fn knock(&self) {
        // Release pairs with the Acquire in `answer`: what was freed is seen by who answers.
        self.knocked.store(true, Ordering::Release);
        self.answer();
    }

    /// Does something at the desk, and then what follows from it. Every visit ends with a look at
    /// the door: whoever knocked meanwhile has gone.
    fn visit<T>(&self, work: impl FnOnce(&mut Desk, &mut Aftermath) -> T) -> T {
        let mut then = Aftermath::default();
        let result = work(&mut self.desk.lock(), &mut then);
        if then.carry_out() {
            // Release: as in `knock`, for what was given back.
            self.knocked.store(true, Ordering::Release);
        }
        self.answer();
        result
    }

    fn answer(&self) {
        for round in 1.. {
            // SeqCst: pairs with itself in the other who is here. Between knocking and trying the
            // lock, and between unlocking and listening: one of the two sees the other.
            fence(Ordering::SeqCst);
            if !self.knocked.load(Ordering::Relaxed) {
                return;
            }
            let Some(mut desk) = self.desk.try_lock() else { return };
            // Acquire pairs with the Release in `knock`.
            self.knocked.swap(false, Ordering::Acquire);
            let (now, mut then) = (now(), Aftermath::default());
            desk.dispatch(now, &self.room, &mut then);
            let in_vain = then.is_empty();
            if in_vain && round >= MOST_IN_VAIN {
                desk.look_again(after(now, PAUSE), &mut then);
            }
            drop(desk);
            if then.carry_out() {
                // Release: as in `knock`, for what was given back.
                self.knocked.store(true, Ordering::Release);
            }
            if in_vain && round >= MOST_IN_VAIN {
                return;
            }
        }
    }

    /// From `at` on nobody waits any more: gives up those who do, if it has come; how many.
    pub(super) fn over_at(&self, at: Instant) -> usize {
        let now = now();
        self.visit(|desk, then| desk.over_at(at, now, then))
    }

    pub(super) fn stats(&self, now: Instant) -> QueueStats {
        self.visit(|desk, _| QueueStats {
            depth: desk.state.depth(),
            running: self.running(),
            oldest_wait: desk.state.oldest().map(|since| now.saturating_duration_since(since)),
            by_class: desk.state.by_class(),
            top_tenants: desk.state.top_tenants(10),
            concurrency_limit: self.room.limit(),
        })
    }

    pub(super) async fn until(&self, done: impl Fn(&Self) -> bool) {
        let _idler = Idler::new(self);
        loop {
            // Registered before the counts are read: an end in between is not missed.
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if done(self) {
                return;
            }
            idle.await;
        }
    }
}

/// Somebody who waits for the queue to be idle.
struct Idler<'a>(&'a Inner);

impl<'a> Idler<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.idlers.fetch_add(1, Ordering::Relaxed);
        // SeqCst: pairs with the fences in `tell_idlers` and `ended`.
        fence(Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Idler<'_> {
    fn drop(&mut self) {
        self.0.idlers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room that a call has until the gate has answered.
struct Reserved<'a>(&'a Inner);

impl Reserved<'_> {
    fn keep(self) {
        self.0.room.keep();
        std::mem::forget(self);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.0.room.give_back() {
            self.0.tell_idlers();
            self.0.freed();
        }
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use crate::queue::adaptive::AdaptivePolicy;
    use loom::thread;

    /// One place, in the weakest orders a gate could use.
    struct Single(Arc<AtomicBool>);

    struct Pass(Arc<AtomicBool>);

    impl Drop for Pass {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Gate for Single {
        type Demand = ();
        type Pass = Pass;
        type Never = ();

        fn try_pass(&self, (): &(), _: Instant) -> Passage<Pass, ()> {
            // A look before the exchange, which may be an old one where the exchange never is.
            if !self.0.load(Ordering::Relaxed) {
                return Passage::NotBefore(None);
            }
            match self.0.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => Passage::Pass(Pass(Arc::clone(&self.0))),
                Err(_) => Passage::NotBefore(None),
            }
        }
    }

    struct World {
        inner: Arc<Inner>,
        gate: Arc<Single>,
    }

    impl World {
        fn new(limit: Option<usize>) -> Arc<Self> {
            let policy = |initial| AdaptivePolicy { initial, ..AdaptivePolicy::default() };
            let limit = limit.map(policy).map(AdaptiveLimit::new);
            let inner = Arc::new(Inner::new(QueueSettings::default(), limit));
            Arc::new(Self { inner, gate: Arc::new(Single(Arc::new(AtomicBool::new(false)))) })
        }

        fn open(&self) {
            self.gate.0.store(true, Ordering::Relaxed);
            self.inner.freed();
        }

        fn line_up(&self) -> Line<Single> {
            let waiter = Arc::new(Waiter::new(Arc::clone(&self.gate), ()));
            let place = Place::new(after(now(), Duration::from_secs(60)));
            Inner::line_up(&self.inner, waiter, &place, now()).expect("there is room")
        }
    }

    #[test]
    fn loom_what_is_freed_reaches_whoever_lines_up_meanwhile() {
        loom::model(|| {
            let world = World::new(None);
            let opener = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.open())
            };
            let mut line = world.line_up();
            opener.join().unwrap();
            assert!(line.claim().is_some());
        });
    }

    #[test]
    fn loom_who_knocks_while_the_desk_is_busy_is_answered() {
        loom::model(|| {
            let world = World::new(None);
            let mut line = world.line_up();
            let opener = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.open())
            };
            let _ = world.inner.stats(now());
            opener.join().unwrap();
            assert!(line.claim().is_some());
        });
    }

    #[test]
    fn loom_what_was_granted_to_one_who_leaves_goes_to_the_next() {
        loom::model(|| {
            let world = World::new(None);
            let (first, mut second) = (world.line_up(), world.line_up());
            let opener = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.open())
            };
            drop(first);
            opener.join().unwrap();
            assert!(second.claim().is_some());
        });
    }

    #[test]
    fn loom_two_who_come_at_once_do_not_both_get_the_last_room() {
        loom::model(|| {
            let world = World::new(Some(1));
            let reserved = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.inner.room.reserve())
            };
            let both = world.inner.room.reserve() && reserved.join().unwrap();
            assert!(!both);
        });
    }

    #[test]
    fn loom_a_queue_that_closed_with_nobody_waiting_lets_nobody_line_up() {
        loom::model(|| {
            let world = World::new(None);
            let comer = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let waiter = Arc::new(Waiter::new(Arc::clone(&world.gate), ()));
                    let place = Place::new(after(now(), Duration::from_secs(60)));
                    Inner::line_up(&world.inner, waiter, &place, now()).ok()
                })
            };
            world.inner.close();
            let empty = world.inner.waiting() == 0;
            let line = comer.join().unwrap();
            assert!(!(empty && line.is_some()));
        });
    }
}
