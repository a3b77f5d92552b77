//! All scopes in use, found by a hash of whose they are.
//!
//! Keys are 128-bit hashes with a random key per process: names are not kept, a tenant cannot aim for
//! another's scope, and an entry is the same size whatever the name. A scope that is idle is as good
//! as a new one, so it may be forgotten; whoever holds a scope keeps it from that.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::quota::scope::{Moment, Plan, Scope};
use crate::sync::{AtomicUsize, Ordering};

/// Whose scope it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScopeKey(u128);

impl Hash for ScopeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) type ByScope<T> = DashMap<ScopeKey, T, BuildHasherDefault<Identity>>;

/// The scopes of a limiter.
#[derive(Debug)]
pub(crate) struct Scopes {
    map: ByScope<Arc<Scope>>,
    low: RandomState,
    high: RandomState,
    most: usize,
    /// How many there were after the last sweep: the next comes when they have doubled, so that
    /// sweeping costs each new scope a constant.
    swept: AtomicUsize,
}

/// Below this many, sweeping is not worth the trouble.
const FEW: usize = 1024;

impl Scopes {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            map: ByScope::default(),
            low: RandomState::new(),
            high: RandomState::new(),
            most,
            swept: AtomicUsize::new(FEW),
        }
    }

    /// The key of a scope of a certain kind and name.
    pub(crate) fn key(&self, kind: u32, name: &str, model: &str) -> ScopeKey {
        let of = |state: &RandomState| state.hash_one((kind, name, model));
        ScopeKey(u128::from(of(&self.high)) << 64 | u128::from(of(&self.low)))
    }

    /// The scope of `key`, made of `plan` if there is none; `None` where too many are in use.
    pub(crate) fn get(
        &self,
        key: ScopeKey,
        plan: impl FnOnce() -> Arc<Plan>,
        now: Moment,
    ) -> Option<Arc<Scope>> {
        if let Some(scope) = self.map.get(&key) {
            return Some(Arc::clone(&scope));
        }
        self.make_room(now)?;
        Some(Arc::clone(&self.map.entry(key).or_insert_with(|| Scope::new(plan()))))
    }

    /// Sweeps when scopes have doubled since the last time, or when there is no room.
    fn make_room(&self, now: Moment) -> Option<()> {
        let count = self.map.len();
        if count >= self.swept.load(Ordering::Relaxed).saturating_mul(2) || count >= self.most {
            self.sweep(now);
        }
        (self.map.len() < self.most).then_some(())
    }

    /// Forgets scopes that are idle. The map's lock is held for each look, so nobody can take hold
    /// of a scope that is found unheld.
    pub(crate) fn sweep(&self, now: Moment) {
        self.map.retain(|_, scope| Arc::strong_count(scope) > 1 || !scope.is_idle(now));
        self.swept.store(self.map.len().max(FEW), Ordering::Relaxed);
    }

    /// Puts a scope of another plan in the place of the one there is, as full as that was.
    pub(crate) fn replan(&self, key: ScopeKey, plan: Arc<Plan>, now: Moment) {
        if let Entry::Occupied(mut entry) = self.map.entry(key) {
            let scope = Scope::new(plan);
            scope.inherit(entry.get(), now);
            entry.insert(scope);
        }
    }

    pub(crate) fn peek(&self, key: ScopeKey) -> Option<Arc<Scope>> {
        self.map.get(&key).map(|scope| Arc::clone(&scope))
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) const fn most(&self) -> usize {
        self.most
    }
}
