//! The balancer: a pure core of endpoint states behind a lock, and a snapshot in front of it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwap, Guard};

use crate::balance::cell::EndpointCell;
use crate::balance::demand::{Demand, NoLease};
use crate::balance::endpoint::Endpoint;
use crate::balance::health::HealthPolicy;
use crate::balance::lease::Lease;
use crate::balance::registry::Registry;
use crate::balance::snapshot::Snapshot;
use crate::balance::state::Condition;
use crate::balance::status::EndpointStatus;
use crate::error::BuildError;
use crate::event::{Emitter, Event};
use crate::outcome::Outcome;
use crate::rng::Rng;
use crate::sync::Mutex;
use crate::time::Instant;

/// The most endpoints a balancer takes.
const MAX_ENDPOINTS: usize = 10_000;

/// Spreads attempts over endpoints by weight and keeps them off endpoints that are out of service.
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
/// assert_eq!(lease.endpoint().as_str(), "a");
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
    policy: HealthPolicy,
    rng: Rng,
    emitter: OnceLock<Emitter>,
}

impl Balancer {
    /// Starts a configuration.
    pub fn builder() -> BalancerBuilder {
        BalancerBuilder::default()
    }

    /// Leases the next endpoint for `demand`.
    ///
    /// Reads one snapshot, takes no lock, allocates nothing, and costs the same for any number of
    /// endpoints as long as the first draw may be used. `now` is the caller's, so that one clock
    /// read serves a whole call.
    ///
    /// # Errors
    /// [`NoLease::Never`] where no endpoint can ever serve the demand; [`NoLease::NotBefore`] where
    /// none can right now.
    #[inline]
    pub fn try_lease(&self, demand: &Demand<'_>, now: Instant) -> Result<Lease, NoLease> {
        let snapshot = self.shared.snapshot_at(now);
        let member = snapshot.pool(demand.model).pick(demand)?;
        Ok(Lease::new(member, now))
    }

    /// When `demand` can be served: `now` where [`try_lease`](Self::try_lease) would succeed, else
    /// the instant at which the first endpoint returns. Takes no lease and no turn.
    ///
    /// # Errors
    /// [`NoLease::Never`] where no endpoint can ever serve the demand, [`NoLease::NotBefore`] of an
    /// unknown instant where only exclusions stand against it.
    pub fn earliest(&self, demand: &Demand<'_>, now: Instant) -> Result<Instant, NoLease> {
        self.shared.snapshot_at(now).pool(demand.model).earliest(demand, now)
    }

    /// What every endpoint is doing at `now`, in the order they were configured. Takes the lock.
    #[must_use]
    pub fn status(&self, now: Instant) -> Vec<EndpointStatus> {
        self.shared.registry.lock().status(now)
    }

    /// Lets `emitter` have the balancer's events, unless the balancer was built with an observer.
    pub(crate) fn observe(&self, emitter: Emitter) {
        // The first observer stays: a balancer may serve several clients.
        let _ = self.shared.emitter.set(emitter);
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("snapshot", &self.shared.snapshot.load())
            .finish_non_exhaustive()
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
        if let Some(registry) = self.registry.try_lock() {
            self.publish(&registry, now);
        }
        self.snapshot.load()
    }

    /// Takes note of how an attempt ended, and replaces the snapshot if that changed anything.
    pub(crate) fn note(
        &self,
        cell: &EndpointCell,
        slot: Option<usize>,
        outcome: &Outcome,
        now: Instant,
    ) {
        let mut registry = self.registry.lock();
        let Some(entry) = registry.entry_mut(cell.key) else { return };
        let changed = entry.state.note(slot, outcome, self.policy, now, &self.rng);
        cell.set_troubled(!entry.state.is_clean());
        if !changed {
            return;
        }
        let condition = entry.state.condition(slot, now);
        self.publish(&registry, now);
        drop(registry);
        self.report(cell, condition, outcome.label(), now);
    }

    fn publish(&self, registry: &Registry, now: Instant) {
        let snapshot = registry.snapshot(&self.snapshot.load(), now);
        self.snapshot.store(Arc::new(snapshot));
    }

    fn report(&self, cell: &EndpointCell, condition: Condition, why: &'static str, now: Instant) {
        if let Some(emitter) = self.emitter.get() {
            emitter.emit(|| Event::EndpointState {
                endpoint: cell.id.as_str(),
                state: condition.label(),
                why,
                lasts: condition.until().map(|until| until.saturating_duration_since(now)),
            });
        }
    }
}

/// Configures a [`Balancer`].
#[derive(Debug, Default)]
#[must_use]
pub struct BalancerBuilder {
    endpoints: Vec<Endpoint>,
    policy: HealthPolicy,
    emitter: Option<Emitter>,
    seed: Option<u64>,
}

impl BalancerBuilder {
    /// Adds an endpoint.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Sets when an endpoint counts as unhealthy.
    pub fn health(mut self, policy: HealthPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sends the balancer's events to `observer`.
    pub fn observer(mut self, observer: impl crate::event::Observer) -> Self {
        self.emitter = Some(Emitter::to(observer));
        self
    }

    /// Makes jitter repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the balancer.
    ///
    /// # Errors
    /// Names the field at fault: no endpoints or too many, an id used twice, weights that are all
    /// zero in a tier or for a model, a default model the endpoint does not serve.
    pub fn build(self) -> Result<Balancer, BuildError> {
        self.validate()?;
        let Self { endpoints, policy, emitter, seed } = self;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let registry = Registry::new(&endpoints, shared);
            Shared {
                snapshot: ArcSwap::from_pointee(registry.first_snapshot()),
                registry: Mutex::new(registry),
                policy,
                rng: seed.map_or_else(Rng::from_entropy, Rng::from_seed),
                emitter: emitter.map_or_else(OnceLock::new, OnceLock::from),
            }
        });
        Ok(Balancer { shared })
    }

    fn validate(&self) -> Result<(), BuildError> {
        let Self { endpoints, policy, .. } = self;
        if endpoints.is_empty() {
            return Err(BuildError::new("endpoints", "at least one endpoint is needed"));
        }
        if endpoints.len() > MAX_ENDPOINTS {
            return Err(BuildError::new(
                "endpoints",
                format!("at most {MAX_ENDPOINTS} are possible"),
            ));
        }
        validate_each(endpoints)?;
        validate_weights(endpoints)?;
        let HealthPolicy::AnyRecentError { recovery } = policy;
        if recovery.is_zero() {
            return Err(BuildError::new("health.recovery", "must be above zero"));
        }
        Ok(())
    }
}

fn validate_each(endpoints: &[Endpoint]) -> Result<(), BuildError> {
    let mut ids = HashSet::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        endpoint.validate(&format!("endpoints[{index}]"))?;
        if !ids.insert(endpoint.id()) {
            return Err(BuildError::new(
                format!("endpoints[{index}].id"),
                format!("{:?} is used twice", endpoint.id().as_str()),
            ));
        }
    }
    Ok(())
}

/// A tier without weight would get no traffic, which is never what a configuration means.
fn validate_weights(endpoints: &[Endpoint]) -> Result<(), BuildError> {
    let tiers: BTreeSet<u8> = endpoints.iter().map(Endpoint::tier_number).collect();
    for tier in tiers {
        let mut members = endpoints.iter().filter(|endpoint| endpoint.tier_number() == tier);
        if members.all(|endpoint| endpoint.share() == 0) {
            return Err(BuildError::new(
                "endpoints.weight",
                format!("the weights of tier {tier} sum to zero"),
            ));
        }
    }
    Ok(())
}
