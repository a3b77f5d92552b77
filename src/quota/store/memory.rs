//! The reference store: in this process, under one lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::contract::{Demand, Grant, QuotaStore, StoredScope, Verdict};
use crate::quota::amounts::Amounts;
use crate::quota::denied::{Denied, Reason};
use crate::quota::held::{CallScopes, Held};
use crate::quota::limits::Limits;
use crate::quota::plan::{Plan, Shared};
use crate::quota::scope::{Moment, Scope};
use crate::quota::succession::succeed;
use crate::remote::StoreError;
use crate::sync::Mutex;
use crate::time::{Instant, after, now, wall_clock};

/// The reference store: in this process, under one lock. Made to be read and to test against; a
/// [`QuotaLimiter`](crate::quota::QuotaLimiter) does the same without a lock.
///
/// Cheap to clone; clones share everything. Idle scopes are forgotten when their number has doubled.
/// `Debug` counts them: whoever asks the store directly may key them by what they like.
#[derive(Clone)]
pub struct MemoryQuotaStore {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    most_scopes: usize,
}

#[derive(Default)]
struct State {
    scopes: HashMap<Arc<str>, (Arc<Limits>, Arc<Scope>)>,
    /// What is out, by id.
    open: HashMap<u128, Open>,
    /// Nothing of it expires before, so that not every question looks through all of it.
    first_expiry: Option<Instant>,
    /// Until when each instance lives.
    instances: HashMap<u128, Instant>,
    /// Neither is looked through before there are so many.
    sweep_at: usize,
    /// Nor before this, in nanoseconds, where the store is full.
    next_sweep: u64,
}

struct Open {
    grant: Grant,
    held: Held,
    expires: Instant,
}

/// Below this many, sweeping is not worth the trouble.
const FEW: usize = 64;

/// A full store is looked through so often at the most, in nanoseconds.
const SWEEP_EVERY: u64 = 100_000_000;

impl Default for MemoryQuotaStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryQuotaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQuotaStore").field("scopes", &self.scopes()).finish_non_exhaustive()
    }
}

impl MemoryQuotaStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_most_scopes(usize::MAX)
    }

    /// An empty store that keeps so many scopes at the most, and refuses others as saturated.
    #[must_use]
    pub fn with_most_scopes(most_scopes: usize) -> Self {
        Self { shared: Arc::new(Shared::new()), state: Arc::default(), most_scopes }
    }

    /// How many scopes are in use.
    #[must_use]
    pub fn scopes(&self) -> usize {
        self.state.lock().scopes.len()
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment { nanos: self.shared.nanos(at), wall: wall_clock() }
    }

    /// Takes what is demanded from every scope, or from none.
    pub(crate) fn try_reserve(&self, demand: &Arc<Demand>, at: Instant) -> Result<Grant, Denied> {
        let now = self.moment(at);
        let mut state = self.state.lock();
        state.expire(at, now);
        if let Some(open) = state.open.get(&demand.id) {
            return Ok(open.grant.clone());
        }
        state.sweep(now, self.most_scopes);
        state.has_room_for(demand, self.most_scopes)?;
        let mut held = Held::default();
        let scopes = demand.scopes.iter().map(|scope| state.scope(scope, &self.shared, now));
        *held.scopes() = scopes.collect::<CallScopes>();
        held.take(&demand.amounts, now).map_err(|(denied, _freed)| denied)?;
        let grant = Grant::new(Arc::clone(demand), Vec::new());
        let expires = after(at, demand.expires_in);
        state.first_expiry = Some(state.first_expiry.map_or(expires, |first| first.min(expires)));
        state.open.insert(demand.id, Open { grant: grant.clone(), held, expires });
        Ok(grant)
    }

    /// Corrects what was taken to what was used, and ends the call.
    pub(crate) fn settle_at(&self, grant: &Grant, actual: &Amounts, at: Instant) {
        let mut state = self.state.lock();
        state.expire(at, self.moment(at));
        if let Some(mut open) = state.open.remove(&grant.demand.id) {
            let _freed = open.held.settle(actual, self.shared.nanos(at));
        }
    }
}

#[async_trait]
impl QuotaStore for MemoryQuotaStore {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        Ok(match self.try_reserve(demand, now()) {
            Ok(grant) => Verdict::Granted(grant),
            Err(denied) => Verdict::Denied(denied),
        })
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        self.settle_at(grant, actual, now());
        Ok(())
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Result<u32, StoreError> {
        let at = now();
        let mut state = self.state.lock();
        let until = state.instances.entry(instance).or_insert(at);
        *until = after(at, ttl).max(*until);
        state.instances.retain(|_, until| *until > at);
        Ok(u32::try_from(state.instances.len()).unwrap_or(u32::MAX).max(1))
    }
}

impl State {
    /// Scopes that are there have their room.
    fn has_room_for(&self, demand: &Demand, most: usize) -> Result<(), Denied> {
        if self.scopes.len() + demand.scopes.len() <= most {
            return Ok(());
        }
        let mut new = demand.scopes.iter().filter(|scope| !self.scopes.contains_key(&scope.key));
        match new.nth(most.saturating_sub(self.scopes.len())) {
            Some(scope) => Err(Denied::new(scope.level.clone(), Reason::Saturated { most })),
            None => Ok(()),
        }
    }

    /// The scope under a key, with the limits it is to have now.
    fn scope(&mut self, wanted: &StoredScope, shared: &Arc<Shared>, now: Moment) -> Arc<Scope> {
        let plan = || Arc::new(Plan::new(wanted.level.clone(), &wanted.limits, shared));
        let new = || (Arc::clone(&wanted.limits), Arc::new(Scope::new(plan())));
        let (limits, scope) = self.scopes.entry(Arc::clone(&wanted.key)).or_insert_with(new);
        if *limits != wanted.limits {
            *limits = Arc::clone(&wanted.limits);
            *scope = succeed(scope, plan(), now);
        }
        Arc::clone(scope)
    }

    /// What was not settled in time is settled with what was taken.
    fn expire(&mut self, at: Instant, now: Moment) {
        if self.first_expiry.is_none_or(|first| first > at) {
            return;
        }
        let expired = self.open.extract_if(|_, open| open.expires <= at);
        expired.for_each(|(_, mut open)| {
            let taken = open.grant.demand.amounts;
            let _freed = open.held.settle(&taken, now.nanos);
        });
        self.first_expiry = self.open.values().map(|open| open.expires).min();
    }

    /// When full it looks for room as well, but not with every call.
    fn sweep(&mut self, now: Moment, most: usize) {
        let grown = self.scopes.len() >= self.sweep_at.max(FEW);
        let full = self.scopes.len() >= most && now.nanos >= self.next_sweep;
        if grown || full {
            self.next_sweep = now.nanos.saturating_add(SWEEP_EVERY);
            self.scopes.retain(|_, (_, scope)| {
                !Arc::get_mut(scope).is_some_and(|scope| scope.is_idle(now))
            });
            self.sweep_at = 2 * self.scopes.len();
        }
    }
}
