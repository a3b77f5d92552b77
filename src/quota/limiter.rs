//! The limiter: scopes by level, reserved from all or none.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::error::BuildError;
use crate::event::Emitter;
use crate::options::TenantId;
use crate::quota::amounts::Amounts;
use crate::quota::budget::Budget;
use crate::quota::builder::QuotaBuilder;
use crate::quota::denied::{Denied, Level, Reason};
use crate::quota::estimate::Estimator;
use crate::quota::held::{CallScopes, objection};
use crate::quota::key::ScopeKey;
use crate::quota::limits::{Dimension, Limits};
use crate::quota::plan::{Plan, Shared};
use crate::quota::reservation::Reservation;
use crate::quota::scope::{Moment, Scope};
use crate::quota::scopes::{ByScope, Full, Scopes};
use crate::quota::shared::{self, Link, SharedQuota, SharedState};
use crate::quota::turnstile::Freed;
use crate::request::ChatRequest;
use crate::sync::{AtomicBool, Ordering};
use crate::time::{Instant, now, wall_clock};
use crate::usage::{Price, Usage};

/// Kinds of scopes, as part of their keys.
const TENANT: u32 = 0;
const TENANT_MODEL: u32 = 1;
const FIRST_KEY: u32 = 2;

/// Holds tenants to their quotas: so many calls, tokens and nano-dollars per time, so many at once.
///
/// Cheap to clone; clones share everything. Usable without a client:
///
/// ```
/// use evenkeel::quota::{Amounts, Limits, QuotaLimiter, Whose};
/// use evenkeel::TenantId;
///
/// let quota = QuotaLimiter::builder()
///     .per_tenant(Limits::new().tokens_per_minute(1_000))
///     .build()?;
///
/// let tenant = TenantId::new("acme");
/// let whose = Whose::tenant(&tenant);
/// let reservation = quota.try_reserve(&whose, &Amounts::tokens(200, 800))?;
/// let denied = quota.try_reserve(&whose, &Amounts::tokens(1, 0)).unwrap_err();
/// assert!(denied.retry_after().is_some());
///
/// // The answer was shorter: the rest goes back.
/// reservation.settle(&Amounts::tokens(200, 50));
/// assert!(quota.try_reserve(&whose, &Amounts::tokens(100, 600)).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct QuotaLimiter {
    inner: Arc<Inner>,
}

/// What the clones of a limiter and its reservations share.
pub(crate) struct Inner {
    global: Option<Arc<Scope>>,
    tenant: Option<Arc<Plan>>,
    tenant_model: Option<Arc<Plan>>,
    keys: Box<[(Arc<str>, Arc<Plan>)]>,
    overrides: ByScope<Arc<Plan>>,
    /// Whether there are or were overrides: asking the map would lock all of it.
    has_overrides: AtomicBool,
    scopes: Scopes,
    pub(crate) estimator: Estimator,
    pub(crate) shared: Arc<Shared>,
    needs_wall: AtomicBool,
    /// Where the limits are not kept here but in a store.
    link: OnceLock<Arc<Link>>,
}

/// Whose quota a call takes from. `Debug` shows how many keys there are, not their values.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct Whose<'a> {
    /// Who pays; `None` is the anonymous tenant.
    pub tenant: Option<&'a TenantId>,
    /// The logical model.
    pub model: Option<&'a str>,
    /// Keys of the application's own, by the name their limits are configured under.
    pub keys: &'a [(Arc<str>, Arc<str>)],
}

impl fmt::Debug for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, model, keys } = self;
        f.debug_struct("Whose")
            .field("tenant", tenant)
            .field("model", model)
            .field("keys", &keys.len())
            .finish()
    }
}

impl<'a> Whose<'a> {
    /// A tenant, on no model in particular.
    #[must_use]
    pub const fn tenant(tenant: &'a TenantId) -> Self {
        Self { tenant: Some(tenant), model: None, keys: &[] }
    }

    /// Of a tenant that may be anonymous, on a model, with keys.
    #[must_use]
    pub const fn new(
        tenant: Option<&'a TenantId>,
        model: Option<&'a str>,
        keys: &'a [(Arc<str>, Arc<str>)],
    ) -> Self {
        Self { tenant, model, keys }
    }

    pub(crate) fn tenant_name(&self) -> &'a str {
        self.tenant.map_or("", TenantId::as_str)
    }

    pub(crate) fn model_name(&self) -> &'a str {
        self.model.unwrap_or("")
    }
}

impl QuotaLimiter {
    /// Starts a configuration.
    pub fn builder() -> QuotaBuilder {
        QuotaBuilder::default()
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Takes `amounts` from every limit that applies, or from none.
    ///
    /// Takes no lock and allocates nothing for a tenant that is known. The reservation is to be
    /// [settled](Reservation::settle) with what was used.
    ///
    /// # Errors
    /// [`Denied`] names the limit; of several that stand against the call, the one that does so
    /// longest, and its [`retry_after`](Denied::retry_after) is exact. Limits that instances
    /// [share](QuotaBuilder::shared) are never taken from without asking: [`Reason::Unasked`].
    pub fn try_reserve(&self, whose: &Whose<'_>, amounts: &Amounts) -> Result<Reservation, Denied> {
        self.try_reserve_at(whose, amounts, now())
    }

    /// As [`try_reserve`](Self::try_reserve), at an instant the caller has read already.
    ///
    /// # Errors
    /// As [`try_reserve`](Self::try_reserve).
    #[inline]
    pub fn try_reserve_at(
        &self,
        whose: &Whose<'_>,
        amounts: &Amounts,
        now: Instant,
    ) -> Result<Reservation, Denied> {
        self.inner.kept_here(whose.tenant)?;
        let (now, line) = (self.inner.moment(now), self.inner.line(whose));
        let taken = self.inner.estimator.taken_of(amounts);
        // Filled where it lies: it is some two hundred bytes, and moving it costs as much as taking.
        let mut reservation = Reservation::new(line, *amounts, &taken);
        let scopes = |scopes: &mut _| self.inner.scopes_of(line, whose, now, scopes);
        match reservation.take(scopes, &taken, now) {
            Ok(()) => Ok(reservation),
            Err(denied) => Err(denied.of(whose.tenant)),
        }
    }

    /// What stands against `amounts` at `now`, without taking anything.
    ///
    /// # Errors
    /// [`Denied`] where more scopes are in use than the limiter keeps.
    pub(crate) fn objection(
        &self,
        whose: &Whose<'_>,
        amounts: &Amounts,
        now: Instant,
    ) -> Result<Option<Denied>, Denied> {
        let now = self.inner.moment(now);
        let mut scopes = CallScopes::new();
        self.inner.scopes_of(self.inner.line(whose), whose, now, &mut scopes)?;
        let denied = objection(&scopes, &self.inner.estimator.taken_of(amounts), now);
        Ok(denied.map(|denied| denied.of(whose.tenant)))
    }

    /// Takes `amounts`, and where every limit that stands against them says so, waits for them until
    /// `deadline`: first come, first served per tenant. A deadline that has passed waits for nothing.
    ///
    /// Waking up costs a waiting tenant one look at its limits. It happens when its call should fit,
    /// when its own limits are given something back, and when limits are that it shares.
    ///
    /// # Errors
    /// [`Denied`] where a limit refuses, where waiting cannot help, and at once where the wait would
    /// be longer than the deadline allows; at the deadline where others of the tenant were first
    /// ([`Reason::InLine`]) or no running call ended.
    ///
    /// # Cancellation
    /// Dropping the future leaves the line; nothing is taken before it is ready.
    ///
    /// # Limits that instances share
    /// The store is asked once, within 25 ms, unless all limits of the call are
    /// [leased](crate::quota::SharedQuota::without_leases). Whoever waits asks again when the call
    /// should fit. Where the store does not answer, each limit does what its
    /// [`OnStoreFailure`](crate::quota::store::OnStoreFailure) says; while it is known not to,
    /// nothing is waited for. That a dropped future had taken something already is found out and
    /// undone. Needs to run on a tokio runtime, and starts a task there that tells the store what calls
    /// used, until the last clone of the limiter is gone.
    pub async fn reserve(
        &self,
        whose: &Whose<'_>,
        amounts: &Amounts,
        deadline: Instant,
    ) -> Result<Reservation, Denied> {
        match self.inner.link.get() {
            None => crate::quota::turnstile::reserve(self, whose, amounts, deadline).await,
            Some(link) => {
                // Apart, so that the future is no larger for those who share nothing.
                Box::pin(shared::reserve(self, link, whose, amounts, deadline)).await
            }
        }
    }

    /// Keeps its limits in a store that other instances share, from now on: as
    /// [`QuotaBuilder::shared`] does, for a limiter that is built already. All its clones share. Calls
    /// that run were let in here, and are settled here.
    ///
    /// # Errors
    /// Names the field at fault: no secret, or the limiter shares already.
    pub fn share(&self, shared: SharedQuota) -> Result<(), BuildError> {
        let lines = Arc::clone(&self.inner.shared);
        let link = Link::new(shared, self.inner.scopes.most(), lines)?;
        let given_already = |_| BuildError::new("shared", "was given already");
        self.inner.link.set(Arc::new(link)).map_err(given_already)
    }

    /// Whether its limits are kept in a store.
    pub(crate) fn is_shared(&self) -> bool {
        self.inner.link.get().is_some()
    }

    /// How the limiter stands with the store it [shares](QuotaBuilder::shared); `None` where its limits
    /// are its own. Counts what is kept, which takes a few short locks.
    #[must_use]
    pub fn shared(&self) -> Option<SharedState> {
        self.inner.link.get().map(|link| link.shown())
    }

    /// Waits until the store it shares has been told everything that calls used, and has back what was
    /// leased; `false` where that was not so by `deadline`. For a process that is about to end. Where
    /// nothing is shared there is nothing to wait for.
    ///
    /// # Cancellation
    /// What was not told is told later, as long as the runtime lives.
    pub async fn flush(&self, deadline: Instant) -> bool {
        match self.inner.link.get() {
            Some(link) => link.flush(deadline).await,
            None => true,
        }
    }

    /// Tells `emitter` of the failures of the store it shares.
    pub(crate) fn observe(&self, emitter: &Emitter) {
        self.inner.link.get().into_iter().for_each(|link| link.observe(emitter));
    }

    /// A handle on a tenant's scope, for tenants that call all the time: it spares the look-up.
    ///
    /// # Errors
    /// [`Denied`] where more scopes are in use than the limiter keeps.
    pub fn handle(&self, tenant: &TenantId) -> Result<TenantHandle, Denied> {
        let line = self.inner.line(&Whose::tenant(tenant));
        let now = self.inner.moment(now());
        let mut scopes = CallScopes::new();
        self.inner.scopes_of_handle(line, tenant, now, &mut scopes)?;
        Ok(TenantHandle { limiter: self.clone(), tenant: tenant.clone(), line, scopes })
    }

    /// What `request` is expected to use. `counted` is a provider's own count of its input tokens.
    #[must_use]
    pub fn estimate(
        &self,
        request: &ChatRequest,
        counted: Option<u64>,
        whose: &Whose<'_>,
        price: Option<Price>,
    ) -> Amounts {
        let (tenant, model) = (whose.tenant_name(), whose.model_name());
        self.inner.estimator.amounts(request, counted, tenant, model, price)
    }

    /// Learns from what a call really used, for the estimates to come.
    pub fn learn(&self, request: &ChatRequest, usage: &Usage, whose: &Whose<'_>) {
        self.inner.estimator.learn(request, usage, whose.tenant_name(), whose.model_name());
    }

    /// Gives one tenant limits of its own, from now on.
    ///
    /// How full its limits are stays as it is, for limits of the same dimension and window and budgets
    /// of the same period; so do the calls that are running, which settle with the new limits. A
    /// limit that was not there before charges them what they use.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn set_tenant_limits(&self, tenant: &TenantId, limits: &Limits) -> Result<(), BuildError> {
        limits.validate("limits")?;
        let (key, plan) = self.inner.override_tenant(tenant, limits);
        self.inner.replan(key, plan);
        Ok(())
    }

    /// Gives one tenant the limits all have, or none where all have none.
    pub fn clear_tenant_limits(&self, tenant: &TenantId) {
        let key = self.inner.line(&Whose::tenant(tenant));
        self.inner.overrides.remove(&key);
        let none = || Arc::new(Plan::new(Level::Tenant, &Limits::new(), &self.inner.shared));
        self.inner.replan(key, self.inner.tenant.clone().unwrap_or_else(none));
    }

    /// What is left to a tenant of each of its limits by rate, what it has used of each of its budgets,
    /// and how many of its calls run; `None` where nothing of its quota is in use, and where limits are
    /// shared, which only their store can tell.
    #[must_use]
    pub fn usage(&self, tenant: &TenantId) -> Option<TenantUsage> {
        let scope = self.inner.scopes.peek(self.inner.line(&Whose::tenant(tenant)))?;
        let now = self.inner.moment(now());
        let available = scope.available(now).collect();
        let budgets = scope.budgets_used(now).collect();
        Some(TenantUsage { available, budgets, running: scope.running() })
    }

    /// How many scopes are in use.
    #[must_use]
    pub fn scopes(&self) -> usize {
        self.inner.scopes.len()
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

/// What is left to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantUsage {
    /// What could be taken now, by dimension, in the order of configuration.
    pub available: Vec<(Dimension, u64)>,
    /// What is used of each budget in its present period, running calls included, in the order of
    /// configuration.
    pub budgets: Vec<(Budget, u64)>,
    /// Calls that are running.
    pub running: u32,
}

/// A tenant's scope, held: it is not forgotten meanwhile.
///
/// When the tenant's limits have been changed the handle goes on with the new ones, at the price of
/// the look-up it was to spare; take a new one then.
#[derive(Clone)]
pub struct TenantHandle {
    limiter: QuotaLimiter,
    tenant: TenantId,
    line: ScopeKey,
    scopes: CallScopes,
}

impl TenantHandle {
    /// As [`QuotaLimiter::try_reserve_at`], without looking the tenant up. Limits of keys and of a
    /// tenant on a model do not apply.
    ///
    /// # Errors
    /// As [`QuotaLimiter::try_reserve`].
    #[inline]
    pub fn try_reserve_at(&self, amounts: &Amounts, now: Instant) -> Result<Reservation, Denied> {
        let inner = &self.limiter.inner;
        inner.kept_here(Some(&self.tenant))?;
        let (now, taken) = (inner.moment(now), inner.estimator.taken_of(amounts));
        let mut reservation = Reservation::new(self.line, *amounts, &taken);
        match reservation.take(|scopes| self.scopes_now(now, scopes), &taken, now) {
            Ok(()) => Ok(reservation),
            Err(denied) => Err(denied.of(Some(&self.tenant))),
        }
    }

    /// The scopes that are held, or those in their place once limits have changed.
    fn scopes_now(&self, now: Moment, scopes: &mut CallScopes) -> Result<(), Denied> {
        if self.scopes.iter().any(|scope| scope.is_retired()) {
            return self.limiter.inner.scopes_of_handle(self.line, &self.tenant, now, scopes);
        }
        for scope in &self.scopes {
            scopes.push(Arc::clone(scope));
        }
        Ok(())
    }
}

impl Inner {
    pub(crate) fn new(
        global: &Limits,
        tenant: &Limits,
        tenant_model: &Limits,
        keys: &[(Arc<str>, Limits)],
        most: usize,
        estimator: Estimator,
    ) -> Self {
        let shared = Arc::new(Shared::new());
        let plan = |level, limits: &Limits| {
            let plan = Plan::new(level, limits, &shared);
            (!plan.is_empty()).then(|| Arc::new(plan))
        };
        let keyed = |(name, limits): &(Arc<str>, Limits)| {
            Some((Arc::clone(name), plan(Level::Key(Arc::clone(name)), limits)?))
        };
        let all = [global, tenant, tenant_model].into_iter().chain(keys.iter().map(|(_, l)| l));
        let needs_wall = all.into_iter().any(|limits| !limits.budgets.is_empty());
        Self {
            global: plan(Level::Global, global).map(|plan| Arc::new(Scope::new(plan))),
            tenant: plan(Level::Tenant, tenant),
            tenant_model: plan(Level::TenantModel, tenant_model),
            keys: keys.iter().filter_map(keyed).collect(),
            overrides: ByScope::default(),
            has_overrides: AtomicBool::new(false),
            scopes: Scopes::new(most),
            estimator,
            shared,
            needs_wall: AtomicBool::new(needs_wall),
            link: OnceLock::new(),
        }
    }

    /// Refuses what only a store can tell.
    #[inline]
    fn kept_here(&self, tenant: Option<&TenantId>) -> Result<(), Denied> {
        match self.link.get() {
            None => Ok(()),
            Some(_) => Err(unasked(tenant)),
        }
    }

    pub(crate) fn override_tenant(
        &self,
        tenant: &TenantId,
        limits: &Limits,
    ) -> (ScopeKey, Arc<Plan>) {
        let key = self.line(&Whose::tenant(tenant));
        let plan = Arc::new(Plan::new(Level::Tenant, limits, &self.shared));
        // Release pairs with the Acquire in `moment`: who finds the override reads calendar time.
        if !limits.budgets.is_empty() {
            self.needs_wall.store(true, Ordering::Release);
        }
        self.overrides.insert(key, Arc::clone(&plan));
        // Release pairs with the Acquire in `scopes_of`: the override is there.
        self.has_overrides.store(true, Ordering::Release);
        (key, plan)
    }

    fn replan(&self, key: ScopeKey, plan: Arc<Plan>) {
        self.scopes.replan(key, plan, self.moment(now()));
        self.shared.turnstiles.opened(Freed::Own, key);
    }

    /// Calendar time is read only where a budget asks for it.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        // Acquire pairs with the Release in `override_tenant`.
        let needs_wall = self.needs_wall.load(Ordering::Acquire);
        let wall = if needs_wall { wall_clock() } else { std::time::UNIX_EPOCH };
        Moment { nanos: self.shared.nanos(at), wall }
    }

    pub(crate) fn line(&self, whose: &Whose<'_>) -> ScopeKey {
        self.scopes.key(TENANT, whose.tenant_name(), "")
    }

    /// The scopes a call takes from, from the narrowest to the widest: a tenant that is refused by its
    /// own limits takes nothing, not even for an instant, from those it shares.
    pub(crate) fn scopes_of(
        &self,
        line: ScopeKey,
        whose: &Whose<'_>,
        now: Moment,
        scopes: &mut CallScopes,
    ) -> Result<(), Denied> {
        if let Some(plan) = &self.tenant_model {
            let key = self.scopes.key(TENANT_MODEL, whose.tenant_name(), whose.model_name());
            scopes.push(self.scope(key, plan, whose, now)?);
        }
        if let Some(scope) = self.tenant_scope(line, whose, now)? {
            scopes.push(scope);
        }
        for (kind, (name, plan)) in (FIRST_KEY..).zip(&self.keys) {
            if let Some((_, value)) = whose.keys.iter().find(|(key, _)| key == name) {
                scopes.push(self.scope(self.scopes.key(kind, value, ""), plan, whose, now)?);
            }
        }
        if let Some(scope) = &self.global {
            scopes.push(Arc::clone(scope));
        }
        Ok(())
    }

    /// The limits of a call, in the order of [`scopes_of`](Self::scopes_of), each with the value of
    /// its key where it is one of a key.
    pub(crate) fn plans_of<'a>(
        &self,
        line: ScopeKey,
        whose: &Whose<'a>,
    ) -> Vec<(Arc<Plan>, &'a str)> {
        let own = self.overrides.get(&line).map(|plan| Arc::clone(&plan));
        let keyed = self.keys.iter().filter_map(|(name, plan)| {
            let (_, value) = whose.keys.iter().find(|(key, _)| key == name)?;
            Some((Arc::clone(plan), &**value))
        });
        let global = self.global.iter().map(|scope| (Arc::clone(&scope.plan), ""));
        let tenant = own.or_else(|| self.tenant.clone()).into_iter().map(|plan| (plan, ""));
        let tenant_model = self.tenant_model.iter().map(|plan| (Arc::clone(plan), ""));
        let all = tenant_model.chain(tenant).chain(keyed).chain(global);
        all.filter(|(plan, _)| !plan.is_empty()).collect()
    }

    fn tenant_scope(
        &self,
        key: ScopeKey,
        whose: &Whose<'_>,
        now: Moment,
    ) -> Result<Option<Arc<Scope>>, Denied> {
        // Acquire pairs with the Release in `override_tenant`.
        if self.tenant.is_none() && !self.has_overrides.load(Ordering::Acquire) {
            return Ok(None);
        }
        let own = || self.overrides.get(&key).map(|plan| Arc::clone(&plan));
        let plan = || own().or_else(|| self.tenant.clone());
        let scope = self.scopes.get(key, plan, now);
        scope.map_err(|Full| self.saturated(Level::Tenant, whose))
    }

    fn scope(
        &self,
        key: ScopeKey,
        plan: &Arc<Plan>,
        whose: &Whose<'_>,
        now: Moment,
    ) -> Result<Arc<Scope>, Denied> {
        let scope = self.scopes.get(key, || Some(Arc::clone(plan)), now).ok().flatten();
        scope.ok_or_else(|| self.saturated(plan.level.clone(), whose))
    }

    fn saturated(&self, level: Level, whose: &Whose<'_>) -> Denied {
        Denied::new(level, Reason::Saturated { most: self.scopes.most() }).of(whose.tenant)
    }

    /// The scopes that a handle holds.
    fn scopes_of_handle(
        &self,
        line: ScopeKey,
        tenant: &TenantId,
        now: Moment,
        scopes: &mut CallScopes,
    ) -> Result<(), Denied> {
        scopes.extend(self.tenant_scope(line, &Whose::tenant(tenant), now)?);
        scopes.extend(self.global.clone());
        Ok(())
    }
}

#[cold]
fn unasked(tenant: Option<&TenantId>) -> Denied {
    Denied::new(Level::Tenant, Reason::Unasked).of(tenant)
}

impl fmt::Debug for QuotaLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaLimiter").field("scopes", &self.scopes()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("scopes", &self.scopes.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TenantHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantHandle").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
