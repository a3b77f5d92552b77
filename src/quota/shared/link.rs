//! What the clones of a limiter share of its store.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::config::SharedQuota;
use super::debts::Debts;
use super::lease::{Leases, Settlement};
use super::names::Names;
use super::outbox::{Letter, Outbox, What};
use super::share::Alone;
use crate::error::BuildError;
use crate::event::Emitter;
use crate::quota::key::ScopeKey;
use crate::quota::plan::Shared;
use crate::quota::store::MemoryQuotaStore;
use crate::quota::turnstile::Freed;
use crate::remote::{BreakerState, Guarded};
use crate::rng::Rng;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::time::{Instant, now, run_beside, until};

/// The most an operation may take of a call's time.
const DEADLINE: Duration = Duration::from_millis(25);

/// What limiters and reservations hold. When the last of them is gone, the work beside them ends.
#[derive(Debug)]
pub(crate) struct Link {
    state: Arc<State>,
}

/// What the work beside the calls holds, too.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) config: SharedQuota,
    pub(super) names: Names,
    pub(super) guarded: Guarded,
    /// Where this instance keeps its share of the limits while the store is away.
    pub(super) alone: MemoryQuotaStore,
    pub(super) leases: Mutex<Leases>,
    pub(super) debts: Mutex<Debts>,
    pub(super) outbox: Outbox,
    pub(super) rng: Rng,
    /// Half of the ids of this limiter's demands, drawn at random.
    ids: u64,
    /// How many instances lived when the store last said so.
    instances: AtomicU32,
    pub(super) alone_calls: AtomicU64,
    /// Tells the work beside the calls that there is some.
    pub(super) work: Notify,
    /// Tells those who wait for it that some is done.
    pub(super) done: Notify,
    pub(super) closed: AtomicBool,
    pub(super) at_work: AtomicBool,
    lines: Arc<Shared>,
}

/// How a limiter stands with the store it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedState {
    /// Whether the store is asked.
    pub store: BreakerState,
    /// How many instances lived when the store last said so, or as many as there are at the least.
    pub instances: u32,
    /// Settlements that the store is still to be told: 4096 at the most.
    pub waiting: usize,
    /// Settlements it was never told, because there were more. Those calls stay charged as they were
    /// reserved.
    pub dropped: u64,
    /// Calls that were let in without the store.
    pub alone: u64,
    /// Scopes whose use during an outage the store is still to be told.
    pub owed: usize,
    /// Calls let in without the store whose use it will not be told: too many scopes owed already.
    pub forgotten: u64,
    /// Leases that are out.
    pub leases: usize,
}

impl Link {
    pub(crate) fn new(
        config: SharedQuota,
        most_scopes: usize,
        lines: Arc<Shared>,
    ) -> Result<Self, BuildError> {
        config.validate()?;
        let rng = Rng::from_entropy();
        let state = State {
            names: config.names()?,
            guarded: Guarded::new("quota", DEADLINE),
            alone: MemoryQuotaStore::with_most_scopes(most_scopes),
            leases: Mutex::default(),
            debts: Mutex::new(Debts::new(most_scopes.min(MOST_DEBTS))),
            outbox: Outbox::default(),
            ids: Rng::from_entropy().next_u64(),
            rng,
            instances: AtomicU32::new(config.min_instances),
            alone_calls: AtomicU64::new(0),
            work: Notify::new(),
            done: Notify::new(),
            closed: AtomicBool::new(false),
            at_work: AtomicBool::new(false),
            lines,
            config,
        };
        Ok(Self { state: Arc::new(state) })
    }

    /// Sees to it that somebody does the work beside the calls. Without a runtime nobody does, until
    /// somebody calls on one.
    pub(super) fn keep_working(&self) {
        // Relaxed, here and where the work ends: who sees that nobody works becomes the one who does.
        if self.at_work.load(Ordering::Relaxed) || self.at_work.swap(true, Ordering::Relaxed) {
            return;
        }
        if run_beside(super::work::run(Arc::clone(&self.state))).is_none() {
            self.at_work.store(false, Ordering::Relaxed);
        }
    }
}

impl Link {
    /// Waits until the store has been told everything, or `deadline` has passed. Whether it has.
    pub(crate) async fn flush(&self, deadline: Instant) -> bool {
        self.keep_working();
        let settlements = self.leases.lock().close_all();
        self.tell_settled(settlements);
        self.debts.lock().hurry(now());
        self.work.notify_one();
        loop {
            let mut done = pin!(self.done.notified());
            // From now on it is told, so that what is done while it looks is not missed.
            done.as_mut().enable();
            if self.outbox.len() == 0 && self.debts.lock().len() == 0 {
                return true;
            }
            if until(deadline, done).await.is_none() {
                return false;
            }
        }
    }
}

/// More scopes do not owe at once.
const MOST_DEBTS: usize = 65_536;

impl State {
    /// Tells `emitter` of the store's failures.
    pub(crate) fn observe(&self, emitter: &Emitter) {
        self.guarded.observe(emitter);
    }

    pub(super) fn new_id(&self) -> u128 {
        u128::from(self.ids) << 64 | u128::from(self.rng.next_u64())
    }

    pub(super) fn instances(&self) -> u32 {
        // Relaxed: the number stands alone.
        self.instances.load(Ordering::Relaxed).max(self.config.min_instances)
    }

    pub(super) fn count_instances(&self, instances: u32) {
        self.instances.store(instances, Ordering::Relaxed);
    }

    pub(super) fn alone(&self, rest: Duration) -> Alone {
        let otherwise = self.config.on_store_failure;
        Alone { instances: self.instances(), otherwise, rest }
    }

    /// Tells the store, when it can be told.
    pub(super) fn tell(&self, what: What, line: Option<ScopeKey>) {
        self.outbox.put(Letter::new(what, line));
        self.work.notify_one();
    }

    pub(super) fn tell_settled(&self, settlements: impl IntoIterator<Item = Settlement>) {
        for (grant, used) in settlements {
            self.tell(What::Settle(grant, used), None);
        }
    }

    /// Something was given back that a tenant waits for.
    pub(super) fn opened(&self, line: ScopeKey) {
        self.lines.turnstiles.opened(Freed::Own, line);
    }

    pub(crate) fn shown(&self) -> SharedState {
        let debts = self.debts.lock();
        SharedState {
            store: self.guarded.state(),
            instances: self.instances(),
            waiting: self.outbox.len(),
            dropped: self.outbox.dropped(),
            alone: self.alone_calls.load(Ordering::Relaxed),
            owed: debts.len(),
            forgotten: debts.forgotten,
            leases: self.leases.lock().len(),
        }
    }
}

impl Deref for Link {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `work::run`: what was put into the outbox before is seen.
        self.closed.store(true, Ordering::Release);
        self.work.notify_one();
    }
}
