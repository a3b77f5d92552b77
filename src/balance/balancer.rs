//! The balancer: a pure core of endpoint states behind a lock, and a snapshot in front of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::balance::builder::BalancerBuilder;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::{Ask, Chooser};
use crate::balance::demand::{Demand, NoLease};
use crate::balance::endpoint::Endpoint;
use crate::balance::facts::{FactStore, Heard, Sharing};
use crate::balance::lease::Lease;
use crate::balance::listeners::Subscription;
use crate::balance::member::Member;
use crate::balance::quote::Quote;
use crate::balance::registry::{Entry, Registry};
use crate::balance::snapshot::Snapshot;
use crate::balance::state::{Condition, News};
use crate::balance::status::EndpointStatus;
use crate::balance::strategy::StrategyKind;
use crate::balance::tally::EndpointTotals;
use crate::error::BuildError;
use crate::event::{Emitter, Event};
use crate::outcome::Outcome;
use crate::provider::Provider;
use crate::remote::BreakerState;
use crate::report::EndpointId;
use crate::request::ChatRequest;
use crate::sync::Mutex;
use crate::time::{Instant, now};
use crate::usage::Price;

/// Spreads attempts over endpoints and keeps them off endpoints that are out of service.
///
/// Cheap to clone; clones share everything. Usable without a client:
///
/// ```
/// use evenkeel::balance::{Balancer, Demand};
/// use evenkeel::outcome::{End, Outcome};
/// use evenkeel::{ChatResponse, Endpoint, provider_fn, time};
///
/// let endpoint = |id: &'static str| {
///     Endpoint::new(provider_fn(id, |_, _| async { Ok(ChatResponse::text_only("hi")) }))
/// };
/// let balancer = Balancer::builder()
///     .endpoint(endpoint("a").weight(2))
///     .endpoint(endpoint("b"))
///     .build()?;
///
/// let lease = balancer.try_lease(&Demand::new(None), time::now()).expect("both are eligible");
/// assert_eq!(lease.endpoint(), "a");
/// lease.settle(&Outcome::new(End::Success), time::now());
/// # Ok::<(), evenkeel::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Balancer {
    shared: Arc<Shared>,
}

/// What the clones of a balancer and its leases share.
pub(crate) struct Shared {
    snapshot: ArcSwap<Snapshot>,
    registry: Mutex<Registry>,
    chooser: Arc<Chooser>,
    emitter: OnceLock<Emitter>,
    sharing: OnceLock<Sharing>,
}

/// The conditions that endpoints have entered.
type Entered = Vec<(Arc<EndpointCell>, Condition)>;

impl Balancer {
    /// Starts a configuration.
    pub fn builder() -> BalancerBuilder {
        BalancerBuilder::default()
    }

    pub(crate) fn from_parts(
        endpoints: Vec<Endpoint>,
        mut registry: Registry,
        chooser: Arc<Chooser>,
        emitter: Option<Emitter>,
    ) -> Self {
        let shared = Arc::new_cyclic(|shared| {
            endpoints.into_iter().for_each(|endpoint| registry.add(endpoint, shared));
            let snapshot = registry.snapshot(&Snapshot::empty(), now());
            // What an endpoint starts as is nothing that happened to it.
            registry.entered(now());
            Shared {
                snapshot: ArcSwap::from_pointee(snapshot),
                registry: Mutex::new(registry),
                chooser,
                emitter: emitter.map_or_else(OnceLock::new, OnceLock::from),
                sharing: OnceLock::new(),
            }
        });
        shared.report_served(None);
        Self { shared }
    }

    /// Leases an endpoint for `demand`.
    ///
    /// Reads one snapshot, takes no lock and allocates nothing. What it costs beyond that is the
    /// strategy's: see [`StrategyKind`](super::StrategyKind). `now` is the caller's, so that one
    /// clock read serves a whole call.
    ///
    /// # Errors
    /// [`NoLease::Never`] where no endpoint can ever serve the demand; [`NoLease::NotBefore`] where
    /// none can right now.
    #[inline]
    pub fn try_lease(&self, demand: &Demand<'_>, now: Instant) -> Result<Lease, NoLease> {
        let snapshot = self.shared.snapshot_at(now);
        snapshot.pool(demand.model).lease(&Ask::new(demand, &self.shared.chooser, now))
    }

    /// Hands `with` the endpoint whose turn it is by weight for calls of `model`, and takes the
    /// turn: for callers that keep their own account of attempts. `None` where none is in service.
    #[inline]
    pub fn turn<T>(
        &self,
        model: Option<&str>,
        now: Instant,
        with: impl FnOnce(&EndpointId) -> T,
    ) -> Option<T> {
        let snapshot = self.shared.snapshot_at(now);
        snapshot.pool(model).turn().map(|member| with(&member.cell.id))
    }

    /// When `demand` can be served: `now` where [`try_lease`](Self::try_lease) would succeed, else
    /// the instant at which the first endpoint returns or has room. Takes no lease and no turn.
    ///
    /// # Errors
    /// [`NoLease::Never`] where no endpoint can ever serve the demand, [`NoLease::NotBefore`] of an
    /// unknown instant where only exclusions or running calls stand against it.
    pub fn earliest(&self, demand: &Demand<'_>, now: Instant) -> Result<Instant, NoLease> {
        let ask = Ask::new(demand, &self.shared.chooser, now);
        self.shared.snapshot_at(now).pool(demand.model).earliest(&ask)
    }

    /// Whether a running call is in the way of `demand`: it may be served as soon as one ends, which
    /// may be before [`earliest`](Self::earliest), for that goes by the clock alone.
    pub(crate) fn waits_for_an_end(&self, demand: &Demand<'_>, now: Instant) -> bool {
        let ask = Ask::new(demand, &self.shared.chooser, now);
        self.shared.snapshot_at(now).pool(demand.model).waits_for_an_end(&ask)
    }

    /// Whether an endpoint that gets calls and is not excluded could ever serve `demand`, in service
    /// or not.
    pub(crate) fn could_serve(&self, demand: &Demand<'_>, now: Instant) -> bool {
        let ask = Ask::new(demand, &self.shared.chooser, now);
        self.shared.snapshot_at(now).pool(demand.model).knows_one_for(&ask)
    }

    /// What a call of `request` for `model` may come to, for whoever reserves for it before it is
    /// made. A provider counts tokens on the caller's thread, if it counts at all.
    #[must_use]
    pub fn quote(&self, request: &ChatRequest, model: Option<&str>, now: Instant) -> Quote {
        let snapshot = self.shared.snapshot_at(now);
        let pool = snapshot.pool(model);
        let count = |provider: &dyn Provider| {
            // It is the application's code, and only an estimate is lost.
            catch_unwind(AssertUnwindSafe(|| provider.count_tokens(request))).ok().flatten()
        };
        Quote { price: pool.dearest(), input_tokens: pool.any_provider().and_then(count) }
    }

    /// The dearest price of `model`, as in a [`quote`](Self::quote).
    pub(crate) fn price(&self, model: &str, now: Instant) -> Option<Price> {
        self.shared.snapshot_at(now).pool(Some(model)).dearest()
    }

    /// How long an answer of any endpoint takes by the way things go; `None` before the first one.
    pub(crate) fn typical_service(&self) -> Option<Duration> {
        self.shared.chooser.typical.service()
    }

    /// Whether a demand's affinity tells.
    pub(crate) fn heeds_affinity(&self) -> bool {
        matches!(self.shared.chooser.strategy, StrategyKind::Affinity | StrategyKind::Custom(_))
    }

    /// Whether any endpoint serves `model`, whatever its state. Takes the lock.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.shared.registry.lock().entries().iter().any(|entry| entry.config.serves(model))
    }

    /// What every endpoint is doing at `now`, in the order they were added. Takes the lock.
    #[must_use]
    pub fn status(&self, now: Instant) -> Vec<EndpointStatus> {
        self.shared.registry.lock().status(now)
    }

    /// As [`status`](Self::status), each with what the attempts of clients on it came to.
    #[must_use]
    pub fn totals(&self, now: Instant) -> Vec<(EndpointStatus, EndpointTotals)> {
        self.shared.registry.lock().totals(now)
    }

    /// Whether attempts for `model` may be made at `now`, on an endpoint that is free or busy. `None`
    /// is for calls that name no model. Takes no lock.
    #[must_use]
    pub fn is_serving(&self, model: Option<&str>, now: Instant) -> bool {
        self.shared.snapshot_at(now).pool(model).is_serving()
    }

    /// Adds an endpoint. Running calls are undisturbed; the next pick may go to it.
    ///
    /// # Errors
    /// Names the field at fault, as when a balancer is built.
    pub fn add(&self, endpoint: Endpoint) -> Result<(), BuildError> {
        endpoint.validate("endpoint")?;
        let id = endpoint.id().clone();
        self.change(|registry, shared| {
            if registry.get(endpoint.id()).is_some() {
                let reason = format!("{:?} is used already", endpoint.id().as_str());
                return Err(BuildError::new("endpoint.id", reason));
            }
            registry.add(endpoint, &Arc::downgrade(shared));
            Ok(())
        })?;
        self.shared.report_served(Some(&id));
        Ok(())
    }

    /// Gives an endpoint of the same id a new configuration, and forgets what was held against the
    /// old one: this is how a new key ends a disabled state. Running calls are undisturbed.
    ///
    /// # Errors
    /// Names the field at fault; `endpoint.id` where there is no endpoint of that id.
    pub fn replace(&self, endpoint: Endpoint) -> Result<(), BuildError> {
        endpoint.validate("endpoint")?;
        let id = endpoint.id().clone();
        self.change(|registry, shared| {
            let before = registry.get(endpoint.id()).ok_or_else(|| unknown(endpoint.id()))?;
            // Of another account the old one's refusal says nothing.
            if before.config.account_name() == endpoint.account_name()
                && before.state.is_account_disabled()
            {
                shared.tell(before, Some(News::Restored));
            }
            registry.replace(endpoint, &Arc::downgrade(shared));
            Ok(())
        })?;
        self.shared.report_served(Some(&id));
        Ok(())
    }

    /// Changes an endpoint's weight and nothing else; what is known of it stays known.
    ///
    /// # Errors
    /// `endpoint.id` where there is no endpoint of that id.
    pub fn reweight(&self, id: &EndpointId, weight: u32) -> Result<(), BuildError> {
        self.edit(id, |entry| entry.config = entry.config.clone().weight(weight))
    }

    /// Gives an endpoint no new attempts. Its running ones go on; it stays in the
    /// [`status`](Self::status) until it is removed.
    ///
    /// # Errors
    /// `endpoint.id` where there is no endpoint of that id.
    pub fn drain(&self, id: &EndpointId) -> Result<(), BuildError> {
        self.edit(id, |entry| entry.state.draining = true)
    }

    /// Takes an endpoint out. Its running attempts go on to their end.
    ///
    /// # Errors
    /// `endpoint.id` where there is no endpoint of that id.
    pub fn remove(&self, id: &EndpointId) -> Result<(), BuildError> {
        let removed = self.change(|registry, _| registry.remove(id).ok_or_else(|| unknown(id)))?;
        self.shared.report(&removed.cell, ("removed", None), "configuration", now());
        Ok(())
    }

    /// Calls `listener` whenever a lease may be had that could not be had before: when a lease has
    /// ended, settled or dropped, when an endpoint was added, replaced, reweighted, drained or
    /// removed, and when a probe or another instance has let one back in. Whoever waits for one asks again then.
    ///
    /// It is not called for what time alone brings about: [`NoLease::NotBefore`] names that instant.
    /// It is called on the thread that caused the change, under no lock of the balancer's, and may
    /// ask for a lease itself. It should be quick, and must not end a lease each time it is called,
    /// for that calls it again. A panic in it is caught. What races with the subscription itself may
    /// go untold. Without a listener, a lease's end pays one relaxed load for it.
    ///
    /// The balancer does not keep the listener alive, the subscription does; so it may hold the
    /// balancer.
    pub fn subscribe(&self, listener: impl Fn() + Send + Sync + 'static) -> Subscription {
        self.shared.chooser.listeners.add(listener)
    }

    /// Tells other instances, through `store`, what providers say of the accounts that endpoints
    /// use, and heeds what others say: rate limits and overload with a hint, money that is gone,
    /// credentials that are refused. Which account an endpoint uses is
    /// [its own to say](Endpoint::account). See [`facts`](super::facts).
    ///
    /// All instances need the same `secret`, which keys the hashes that stand for accounts. A
    /// balancer shares through one store: a second call changes nothing, for a balancer may serve
    /// several clients.
    ///
    /// Telling and listening is done by one task on the runtime of whoever calls this, or of the
    /// first call after. It reads the store about once a second, ends with the balancer, and is
    /// never waited for. What could not be told is told later, unless it has ended.
    pub fn share_facts(&self, store: impl FactStore, secret: [u8; 32]) {
        let sharing = Sharing::new(Arc::new(store), secret, Arc::downgrade(&self.shared));
        if self.shared.sharing.set(sharing).is_err() {
            return;
        }
        self.shared.watch_store();
        let now = now();
        let mut registry = self.shared.registry.lock();
        let entered = self.shared.publish(&mut registry, now);
        drop(registry);
        self.shared.report_all(&entered, "expired", now);
    }

    fn edit(&self, id: &EndpointId, edit: impl FnOnce(&mut Entry)) -> Result<(), BuildError> {
        self.change(|registry, _| {
            edit(registry.get_mut(id).ok_or_else(|| unknown(id))?);
            Ok(())
        })
    }

    /// Changes the registry and publishes what it amounts to.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Registry, &Arc<Shared>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let mut registry = self.shared.registry.lock();
        let now = now();
        let expired = registry.entered(now);
        let changed = change(&mut registry, &self.shared);
        let entered = self.shared.publish(&mut registry, now);
        drop(registry);
        self.shared.report_all(&expired, "expired", now);
        self.shared.report_all(&entered, "configuration", now);
        if changed.is_ok() {
            self.shared.chooser.listeners.tell();
        }
        changed
    }

    /// The store it shares facts through, where it does.
    pub(crate) fn store(&self) -> Option<(&'static str, BreakerState)> {
        self.shared.sharing.get().map(Sharing::store)
    }

    /// The providers of endpoints that are out of service for faults, money or credentials.
    pub(crate) fn sick(&self, now: Instant) -> Vec<(Arc<EndpointCell>, Arc<dyn Provider>)> {
        let registry = self.shared.registry.lock();
        let sick = registry.entries().iter().filter(|entry| entry.is_sick(now));
        sick.map(|entry| (Arc::clone(&entry.cell), Arc::clone(&entry.cell.provider))).collect()
    }

    /// Lets an endpoint back in whose probe has succeeded.
    pub(crate) fn revive(&self, cell: &EndpointCell, now: Instant) {
        self.shared.revive(cell, now);
    }

    /// Lets `emitter` have the balancer's events, unless the balancer was built with an observer.
    pub(crate) fn observe(&self, emitter: Emitter) {
        // The first observer stays: a balancer may serve several clients.
        if emitter.is_observed() {
            if self.shared.emitter.set(emitter).is_ok() {
                self.shared.report_served(None);
            }
            self.shared.watch_store();
        }
    }
}

fn unknown(id: &EndpointId) -> BuildError {
    BuildError::new("endpoint.id", format!("there is no endpoint {:?}", id.as_str()))
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.shared.snapshot.load();
        f.debug_struct("Balancer").field("snapshot", &snapshot).finish_non_exhaustive()
    }
}

impl Shared {
    /// The snapshot for a pick at `now`.
    #[inline]
    fn snapshot_at(&self, now: Instant) -> Guard<Arc<Snapshot>> {
        let snapshot = self.snapshot.load();
        match snapshot.next_change {
            Some(at) if now >= at => self.renewed(now),
            _ => snapshot,
        }
    }

    /// Replaces a snapshot in which an endpoint's state has ended by itself. Whoever finds the lock
    /// taken goes on with the old snapshot: somebody else is building the new one.
    #[cold]
    fn renewed(&self, now: Instant) -> Guard<Arc<Snapshot>> {
        if let Some(mut registry) = self.registry.try_lock() {
            let entered = self.publish(&mut registry, now);
            drop(registry);
            self.report_all(&entered, "expired", now);
        }
        self.snapshot.load()
    }

    /// Takes note of how an attempt ended, and replaces the snapshot if that changed anything.
    pub(crate) fn note(
        &self,
        member: &Member,
        outcome: &Outcome,
        (started, now): (Instant, Instant),
    ) {
        let cell = &member.cell;
        let mut registry = self.registry.lock();
        let policy = *registry.policy();
        let Some(entry) = registry.entry_mut(cell.key) else { return };
        let slot = entry.slot_of_member(member);
        let before = entry.view(slot, &policy, now);
        let news = entry.state.note(slot, outcome, &policy, (started, now), &self.chooser.rng);
        // Under the lock: what was found out last is told last.
        self.tell(entry, news);
        cell.set_trouble(entry.state.trouble());
        let after = entry.view(slot, &policy, now);
        if before == after {
            return;
        }
        let entered = self.publish(&mut registry, now);
        drop(registry);
        self.report_one(cell, after.condition, outcome.label(), (&entered, now));
    }

    fn revive(&self, cell: &EndpointCell, now: Instant) {
        let mut registry = self.registry.lock();
        let policy = *registry.policy();
        let Some(entry) = registry.entry_mut(cell.key) else { return };
        let news = entry.state.revive(&policy, now);
        self.tell(entry, news);
        let condition = entry.condition(now);
        let entered = self.publish(&mut registry, now);
        drop(registry);
        self.report_one(cell, condition, "probe", (&entered, now));
        self.chooser.listeners.tell();
    }

    /// Takes in what other instances were told.
    pub(crate) fn hear(&self, heard: &Heard, now: Instant) {
        let Some(sharing) = self.sharing.get() else { return };
        let mut registry = self.registry.lock();
        let expired = registry.entered(now);
        let changed = registry.hear(heard, sharing.accounts(), now);
        let entered = if changed { self.publish(&mut registry, now) } else { Entered::default() };
        drop(registry);
        self.report_all(&expired, "expired", now);
        self.report_all(&entered, "shared", now);
        if changed {
            self.chooser.listeners.tell();
        }
    }

    fn tell(&self, entry: &Entry, news: Option<News>) {
        if let (Some(sharing), Some(news)) = (self.sharing.get(), news) {
            sharing.tell(entry, news);
        }
    }

    fn watch_store(&self) {
        if let (Some(sharing), Some(emitter)) = (self.sharing.get(), self.emitter.get()) {
            sharing.observe(emitter);
        }
    }

    /// Replaces the snapshot, and tells what is to be reported once the lock is released.
    fn publish(&self, registry: &mut Registry, now: Instant) -> Entered {
        let mut snapshot = registry.snapshot(&self.snapshot.load(), now);
        let start = self.sharing.get().and_then(|sharing| sharing.keep_running(now));
        snapshot.next_change = snapshot.next_change.into_iter().chain(start).min();
        self.snapshot.store(Arc::new(snapshot));
        registry.entered(now)
    }

    /// Reports what happened to one endpoint, and what time has brought about at others.
    fn report_one(
        &self,
        cell: &EndpointCell,
        condition: Condition,
        why: &'static str,
        (entered, now): (&Entered, Instant),
    ) {
        self.report(cell, (condition.label(), condition.until()), why, now);
        for (other, condition) in entered.iter().filter(|(other, _)| other.key != cell.key) {
            self.report(other, (condition.label(), condition.until()), "expired", now);
        }
    }

    fn report_all(&self, entered: &Entered, why: &'static str, now: Instant) {
        for (cell, condition) in entered {
            self.report(cell, (condition.label(), condition.until()), why, now);
        }
    }

    /// Reports what endpoints are configured to serve, all of them or one.
    fn report_served(&self, id: Option<&EndpointId>) {
        let Some(emitter) = self.emitter.get() else { return };
        let served = self.registry.lock().served(id);
        for (cell, model) in &served {
            emitter.emit(|| Event::EndpointConfigured {
                endpoint: cell.id.as_str(),
                provider: &cell.provider_id,
                model: model.as_deref(),
            });
        }
    }

    fn report(
        &self,
        cell: &EndpointCell,
        (state, until): (&'static str, Option<Instant>),
        why: &'static str,
        now: Instant,
    ) {
        if let Some(emitter) = self.emitter.get() {
            emitter.emit(|| Event::EndpointState {
                endpoint: cell.id.as_str(),
                state,
                why,
                lasts: until.map(|until| until.saturating_duration_since(now)),
            });
        }
    }
}
