//! The queue: a desk behind a lock, and a word that says whether anybody waits at it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::fence;
use std::time::Duration;

use tokio::sync::Notify;

use crate::options::TenantId;
use crate::queue::adaptive::AdaptiveLimit;
use crate::queue::builder::QueueBuilder;
use crate::queue::dispatch::{Aftermath, Desk};
use crate::queue::gate::{Gate, Passage};
use crate::queue::line::Line;
use crate::queue::place::Place;
use crate::queue::refused::Refused;
use crate::queue::slot::{Account, Slot};
use crate::queue::state::{Entry, State};
use crate::queue::waiter::{Offer, Waiter};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::time::{Instant, now, until};

/// Lets calls wait for a [`Gate`] in fair order.
///
/// Cheap to clone; clones share everything. Without waiters a call asks the gate and nobody else.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use evenkeel::queue::{Gate, Passage, Place, RequestQueue};
/// use evenkeel::time::{Instant, now};
/// use tokio::sync::{OwnedSemaphorePermit, Semaphore};
///
/// /// Four at once.
/// struct Four(Arc<Semaphore>);
///
/// impl Gate for Four {
///     type Demand = ();
///     type Pass = OwnedSemaphorePermit;
///     type Never = ();
///
///     fn try_pass(&self, (): &(), _now: Instant) -> Passage<OwnedSemaphorePermit, ()> {
///         match Arc::clone(&self.0).try_acquire_owned() {
///             Ok(permit) => Passage::Pass(permit),
///             Err(_) => Passage::NotBefore(None),
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let queue = RequestQueue::builder().max_depth(100).build()?;
/// let gate = Arc::new(Four(Arc::new(Semaphore::new(4))));
/// let place = Place::new(now() + Duration::from_secs(5)).tenant("acme").cost(500);
///
/// let (slot, permit) = queue.acquire(&gate, (), place).await.expect("nobody is in front");
/// // ... work ...
/// drop(permit);
/// slot.settle(420);
/// # Ok::<(), evenkeel::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RequestQueue {
    pub(super) inner: Arc<Inner>,
}

/// What the clones of a queue, its waiters and its slots share.
pub(crate) struct Inner {
    desk: Mutex<Desk>,
    /// Twice the waiters, plus one once closed: what a call that wants to pass looks at first.
    line: AtomicUsize,
    /// Whether the gate may have opened while the desk was busy.
    knocked: AtomicBool,
    running: AtomicUsize,
    idle: Notify,
    pub(super) adaptive: Option<AdaptiveLimit>,
}

const CLOSED: usize = 1;
const WAITER: usize = 2;

/// What a queue looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Calls that wait.
    pub depth: usize,
    /// Calls that passed and have not ended.
    pub running: usize,
    /// How long the call that waits longest has waited.
    pub oldest_wait: Option<Duration>,
    /// Calls that wait: batch, normal, interactive.
    pub by_class: [usize; 3],
    /// Tenants with most waiting calls, most first; at most ten.
    pub top_tenants: Vec<(Option<TenantId>, usize)>,
    /// How many calls may run at once, where that adapts itself.
    pub concurrency_limit: Option<usize>,
}

impl RequestQueue {
    /// Starts a configuration.
    pub fn builder() -> QueueBuilder {
        QueueBuilder::default()
    }

    pub(crate) fn from_parts(state: State, adaptive: Option<AdaptiveLimit>) -> Self {
        let inner = Inner {
            desk: Mutex::new(Desk::new(state)),
            line: AtomicUsize::new(0),
            knocked: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            idle: Notify::new(),
            adaptive,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until `gate` lets `demand` pass.
    ///
    /// Returns the call's [`Slot`], to be held until the call ends, and the gate's pass.
    ///
    /// # Errors
    /// [`Refused`] says why; `WouldMissDeadline` and `Full` at once, not after waiting.
    ///
    /// # Cancellation
    /// Dropping the future gives up the place; what was granted meanwhile goes to the next.
    ///
    /// # Panics
    /// When polled outside a tokio runtime with its timer enabled and there is something to wait for.
    pub async fn acquire<G: Gate>(
        &self,
        gate: &Arc<G>,
        demand: G::Demand,
        place: Place,
    ) -> Result<(Slot, G::Pass), Refused<G::Never>> {
        let now = now();
        if self.inner.is_free() {
            match self.inner.ask(&**gate, &demand, now) {
                Passage::Pass(pass) => return Ok((Slot::unqueued(&self.inner, place), pass)),
                Passage::Never(never) => return Err(Refused::Never(never)),
                Passage::NotBefore(Some(at)) if at >= place.deadline => {
                    return Err(Refused::WouldMissDeadline {
                        eta: at.saturating_duration_since(now),
                    });
                }
                Passage::NotBefore(_) => {}
            }
        }
        let waiter = Arc::new(Waiter::new(Arc::clone(gate), demand));
        Inner::line_up(&self.inner, waiter, place, now)?.await
    }

    /// The gate may have opened: whoever's turn it is asks it. Costs next to nothing while nobody
    /// waits.
    ///
    /// May be called from within a gate, a pass's destructor, or anywhere else.
    pub fn reopen(&self) {
        self.inner.freed();
    }

    /// Takes no more calls. Those that wait go on waiting.
    pub fn close(&self) {
        self.inner.line.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Takes no more calls, serves those that wait until `deadline`, and refuses the rest. Returns
    /// how many were refused.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue closed, and the waiting calls waiting.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.close();
        if until(deadline, self.inner.until(|inner| inner.waiting() == 0)).await.is_some() {
            return 0;
        }
        let refused = self.inner.waiting();
        let aftermath = self.inner.desk.lock().refuse_all();
        aftermath.carry_out();
        refused
    }

    /// Waits until no call waits and none is running.
    pub async fn drained(&self) {
        self.inner.until(|inner| inner.waiting() == 0 && inner.running() == 0).await;
    }

    /// How many calls wait. One atomic load.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.inner.waiting()
    }

    /// Whether it takes no more calls.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.line.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// What it looks like right now. Takes the lock.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let now = now();
        let desk = self.inner.desk.lock();
        let state = &desk.state;
        let by_class = state.lanes().fold([0; 3], |sum, lane| {
            let depths = lane.depths();
            std::array::from_fn(|class| sum[class] + depths[class])
        });
        let oldest = state.lanes().filter_map(crate::queue::lane::Lane::oldest).min();
        QueueStats {
            depth: state.depth(),
            running: self.inner.running(),
            oldest_wait: oldest.map(|since| now.saturating_duration_since(since)),
            by_class,
            top_tenants: state.top_tenants(10),
            concurrency_limit: self.inner.adaptive.as_ref().map(AdaptiveLimit::current),
        }
    }
}

impl Inner {
    /// Whether nobody waits and the queue is open.
    fn is_free(&self) -> bool {
        // SeqCst with the fence in `line_up`: a call that starts after somebody lined up does not
        // overtake it.
        self.line.load(Ordering::SeqCst) == 0
    }

    fn waiting(&self) -> usize {
        // Acquire pairs with the AcqRel in `line_down`.
        self.line.load(Ordering::Acquire) / WAITER
    }

    pub(super) fn running(&self) -> usize {
        // Acquire pairs with the AcqRel in `ended`.
        self.running.load(Ordering::Acquire)
    }

    /// Asks the gate, if the adaptive limit has room.
    fn ask<G: Gate>(
        &self,
        gate: &G,
        demand: &G::Demand,
        now: Instant,
    ) -> Passage<G::Pass, G::Never> {
        if self.has_room() { gate.try_pass(demand, now) } else { Passage::NotBefore(None) }
    }

    fn has_room(&self) -> bool {
        self.adaptive.as_ref().is_none_or(|limit| self.running() < limit.current())
    }

    fn line_up<G: Gate>(
        this: &Arc<Self>,
        waiter: Arc<Waiter<G>>,
        place: Place,
        now: Instant,
    ) -> Result<Line<G>, Refused<G::Never>> {
        let mut desk = this.desk.lock();
        if this.line.load(Ordering::Relaxed) & CLOSED != 0 {
            return Err(Refused::Closed);
        }
        let deadline = desk.state.deadline(&place, now);
        let mut aftermath = Aftermath::default();
        let id = match desk.state.enter(&place, deadline, now) {
            Entry::Full { scope, depth } => return Err(Refused::Full { scope, depth }),
            Entry::WouldMissDeadline { eta } => return Err(Refused::WouldMissDeadline { eta }),
            Entry::Waits { id, evicted } => {
                if let Some(evicted) = evicted {
                    let why = Refused::Full {
                        scope: crate::queue::refused::Scope::Tenant,
                        depth: desk.state.depth(),
                    };
                    desk.refuse(evicted, why, &mut aftermath);
                }
                id
            }
        };
        desk.seat(id, Arc::clone(&waiter) as Arc<dyn Offer>);
        // SeqCst: pairs with the fence in `freed`. Either whoever frees something sees this waiter, or
        // the dispatch below sees what was freed.
        this.line.fetch_add(WAITER, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        drop(desk);
        aftermath.carry_out();
        this.dispatch(now);
        Ok(Line::new(Arc::clone(this), waiter, id, place, deadline, now))
    }

    /// Lines a call up again that passed before, at its old place: its tenant is not charged twice,
    /// and within its tenant it goes first.
    pub(super) fn line_up_again<G: Gate>(
        this: &Arc<Self>,
        waiter: Arc<Waiter<G>>,
        place: Place,
        account: Option<Account>,
        now: Instant,
    ) -> Line<G> {
        let mut desk = this.desk.lock();
        let deadline = desk.state.deadline(&place, now);
        let id = desk.state.line_up_again(&place, account, now);
        desk.seat(id, Arc::clone(&waiter) as Arc<dyn Offer>);
        // SeqCst: pairs with the fence in `freed`, as in `line_up`.
        this.line.fetch_add(WAITER, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        drop(desk);
        this.dispatch(now);
        Line::new(Arc::clone(this), waiter, id, place, deadline, now)
    }

    /// A waiter less.
    pub(super) fn line_down(&self) {
        // AcqRel pairs with the Acquire in `waiting`.
        if self.line.fetch_sub(WAITER, Ordering::AcqRel) / WAITER == 1 {
            self.idle.notify_waiters();
        }
    }

    pub(super) fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A call less that runs.
    pub(super) fn ended(&self) {
        // AcqRel pairs with the Acquire in `running`.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
        self.freed();
    }

    /// Something was freed: whoever's turn it is gets it.
    pub(super) fn freed(&self) {
        // SeqCst: pairs with the fence in `line_up`.
        fence(Ordering::SeqCst);
        if self.line.load(Ordering::Relaxed) >= WAITER {
            self.knock();
        }
    }

    /// Dispatches, or leaves it to whoever is at the desk.
    fn knock(&self) {
        // SeqCst here and in `dispatch`: the desk is either free, or its holder sees the knock.
        self.knocked.store(true, Ordering::SeqCst);
        self.answer(now());
    }

    fn answer(&self, now: Instant) {
        // SeqCst: see `knock`.
        while self.knocked.load(Ordering::SeqCst) {
            let Some(mut desk) = self.desk.try_lock() else { return };
            // SeqCst: see `knock`.
            self.knocked.store(false, Ordering::SeqCst);
            let aftermath = desk.dispatch(now, &|| self.has_room());
            drop(desk);
            if aftermath.carry_out() {
                // SeqCst: see `knock`.
                self.knocked.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Dispatches, waiting for the desk.
    pub(super) fn dispatch(&self, now: Instant) {
        let mut desk = self.desk.lock();
        let aftermath = desk.dispatch(now, &|| self.has_room());
        drop(desk);
        if aftermath.carry_out() {
            // SeqCst: see `knock`.
            self.knocked.store(true, Ordering::SeqCst);
        }
        self.answer(now);
    }

    /// Does something at the desk, and then what follows from it.
    pub(super) fn at_desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let result = work(&mut self.desk.lock());
        self.answer(now());
        result
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
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

impl fmt::Debug for RequestQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("waiting", &self.inner.waiting())
            .field("running", &self.inner.running())
            .finish_non_exhaustive()
    }
}
