//! All scopes in use, found by a hash of whose they are.
//!
//! A scope that is idle is as good as a new one, so it may be forgotten; whoever holds a scope keeps
//! it from that.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::quota::key::{Identity, KeyMaker, ScopeKey};
use crate::quota::plan::Plan;
use crate::quota::scope::{Moment, Scope};
use crate::quota::succession::succeed;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

pub(crate) type ByScope<T> = DashMap<ScopeKey, T, BuildHasherDefault<Identity>>;

/// More parts than threads: a part is swept under its lock, which must be short.
const PARTS: usize = 64;

/// The scopes of a limiter.
#[derive(Debug)]
pub(crate) struct Scopes {
    map: ByScope<Arc<Scope>>,
    keys: KeyMaker,
    count: AtomicUsize,
    most: usize,
    sweeps: Sweeps,
}

/// When idle scopes are looked for.
#[derive(Debug)]
struct Sweeps {
    /// When there are so many: twice as many as the last sweep left, so that a new scope pays for a
    /// constant number of looks.
    at: AtomicUsize,
    /// Where there is no room, not before this instant: a flood of new tenants, all of them busy,
    /// must not sweep for each.
    not_before: AtomicU64,
    under_way: AtomicBool,
}

/// Below this many, sweeping is not worth the trouble.
const FEW: usize = 1024;

/// Nanoseconds between the sweeps of a full limiter, for each scope it keeps: some ten times what it
/// takes to look at one. So long it may take a scope that has become idle for one in use.
const BETWEEN_LOOKS: u64 = 1_000;

/// More scopes are in use than are kept.
#[derive(Debug)]
pub(crate) struct Full;

impl Scopes {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), PARTS),
            keys: KeyMaker::new(),
            count: AtomicUsize::new(0),
            most,
            sweeps: Sweeps {
                at: AtomicUsize::new(2 * FEW),
                not_before: AtomicU64::new(0),
                under_way: AtomicBool::new(false),
            },
        }
    }

    /// The key of a scope of a certain kind and name.
    pub(crate) fn key(&self, kind: u32, name: &str, model: &str) -> ScopeKey {
        self.keys.key(kind, name, model)
    }

    /// The scope of `key`, made of `plan` if there is none; `Ok(None)` where there is no plan either.
    pub(crate) fn get(
        &self,
        key: ScopeKey,
        plan: impl FnOnce() -> Option<Arc<Plan>>,
        now: Moment,
    ) -> Result<Option<Arc<Scope>>, Full> {
        match self.map.get(&key) {
            Some(scope) => Ok(Some(Arc::clone(&scope))),
            None => self.make(key, plan, now),
        }
    }

    #[cold]
    fn make(
        &self,
        key: ScopeKey,
        plan: impl FnOnce() -> Option<Arc<Plan>>,
        now: Moment,
    ) -> Result<Option<Arc<Scope>>, Full> {
        self.sweep_if_due(now);
        // The plan is looked up under the map's lock: one that changes meanwhile comes after.
        match self.map.entry(key) {
            Entry::Occupied(entry) => Ok(Some(Arc::clone(entry.get()))),
            Entry::Vacant(entry) => {
                let Some(plan) = plan() else { return Ok(None) };
                self.claim()?;
                Ok(Some(Arc::clone(&entry.insert(Arc::new(Scope::new(plan))))))
            }
        }
    }

    /// Counts one more, where there is room.
    fn claim(&self) -> Result<(), Full> {
        // Relaxed, here and below: these numbers stand alone.
        let room = |count: usize| (count < self.most).then_some(count + 1);
        let claimed = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        claimed.map(drop).map_err(|_| Full)
    }

    fn sweep_if_due(&self, now: Moment) {
        let count = self.count.load(Ordering::Relaxed);
        let doubled = count >= self.sweeps.at.load(Ordering::Relaxed);
        let full =
            count >= self.most && now.nanos >= self.sweeps.not_before.load(Ordering::Relaxed);
        if doubled || full {
            self.sweep(now);
        }
    }

    /// Forgets scopes that are idle. Each look is under the map's lock, so nobody can take hold of a
    /// scope that is found unheld. One sweeps at a time.
    pub(crate) fn sweep(&self, now: Moment) {
        let mine = self.sweeps.under_way.compare_exchange(
            false,
            true,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if mine.is_err() {
            return;
        }
        self.map.retain(|_, scope| {
            // Exclusive access synchronises with whoever held it last: what that one charged is seen.
            let forgotten = Arc::get_mut(scope).is_some_and(|scope| scope.is_idle(now));
            if forgotten {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            !forgotten
        });
        let left = self.count.load(Ordering::Relaxed).max(FEW);
        self.sweeps.at.store(left.saturating_mul(2), Ordering::Relaxed);
        let pause = BETWEEN_LOOKS.saturating_mul(self.most as u64);
        let next = now.nanos.saturating_add(pause);
        self.sweeps.not_before.store(next, Ordering::Relaxed);
        self.sweeps.under_way.store(false, Ordering::Relaxed);
    }

    /// Puts a scope of another plan in the place of the one there is, as full as that was.
    pub(crate) fn replan(&self, key: ScopeKey, plan: Arc<Plan>, now: Moment) {
        if let Entry::Occupied(mut entry) = self.map.entry(key) {
            let successor = succeed(entry.get(), plan, now);
            entry.insert(successor);
        }
    }

    pub(crate) fn peek(&self, key: ScopeKey) -> Option<Arc<Scope>> {
        self.map.get(&key).map(|scope| Arc::clone(&scope))
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) const fn most(&self) -> usize {
        self.most
    }
}
