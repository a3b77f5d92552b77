//! Putting a balancer together.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::balance::balancer::Balancer;
use crate::balance::chooser::Chooser;
use crate::balance::endpoint::Endpoint;
use crate::balance::facts::FactStore;
use crate::balance::health::HealthPolicy;
use crate::balance::listeners::Listeners;
use crate::balance::load::Typical;
use crate::balance::registry::Registry;
use crate::balance::strategy::StrategyKind;
use crate::error::BuildError;
use crate::event::{Emitter, Observer};
use crate::rng::Rng;
use crate::time::now;

/// The most endpoints a balancer takes.
const MAX_ENDPOINTS: usize = 10_000;

/// Configures a [`Balancer`].
#[derive(Default)]
#[must_use]
pub struct BalancerBuilder {
    endpoints: Vec<Endpoint>,
    strategy: StrategyKind,
    health: HealthPolicy,
    emitter: Option<Emitter>,
    seed: Option<u64>,
    facts: Option<(Arc<dyn FactStore>, [u8; 32])>,
}

impl BalancerBuilder {
    /// Adds an endpoint.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Sets how an endpoint is chosen.
    pub fn strategy(mut self, strategy: StrategyKind) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets when an endpoint counts as unhealthy.
    pub fn health(mut self, policy: HealthPolicy) -> Self {
        self.health = policy;
        self
    }

    /// Sends the balancer's events to `observer`.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.emitter = Some(Emitter::to(observer));
        self
    }

    /// Makes jitter and choices among equals repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells other instances what providers say of the accounts, and heeds what they say: see
    /// [`Balancer::share_facts`].
    pub fn share_facts(mut self, store: impl FactStore, secret: [u8; 32]) -> Self {
        self.facts = Some((Arc::new(store), secret));
        self
    }

    /// Builds the balancer.
    ///
    /// # Errors
    /// Names the field at fault: no endpoints or too many, an id used twice, weights that are all
    /// zero in a tier or for a model, a default model or price for a model the endpoint does not serve, limits
    /// that allow nothing, a health policy out of range.
    pub fn build(self) -> Result<Balancer, BuildError> {
        self.validate()?;
        let Self { endpoints, strategy, health, emitter, seed, facts } = self;
        let epoch = now();
        let chooser = Arc::new(Chooser {
            strategy,
            typical: Typical::default(),
            rng: seed.map_or_else(Rng::from_entropy, Rng::from_seed),
            listeners: Listeners::default(),
            epoch,
        });
        let registry = Registry::new(health, Arc::clone(&chooser));
        let balancer = Balancer::from_parts(endpoints, registry, chooser, emitter);
        if let Some((store, secret)) = facts {
            balancer.share_facts(store, secret);
        }
        Ok(balancer)
    }

    fn validate(&self) -> Result<(), BuildError> {
        let Self { endpoints, health, .. } = self;
        if endpoints.is_empty() {
            return Err(BuildError::new("endpoints", "at least one endpoint is needed"));
        }
        if endpoints.len() > MAX_ENDPOINTS {
            let reason = format!("at most {MAX_ENDPOINTS} are possible");
            return Err(BuildError::new("endpoints", reason));
        }
        validate_each(endpoints)?;
        validate_weights(endpoints)?;
        health.validate()
    }
}

/// Without the secret.
impl fmt::Debug for BalancerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, strategy, health, emitter, seed, facts } = self;
        f.debug_struct("BalancerBuilder")
            .field("endpoints", endpoints)
            .field("strategy", strategy)
            .field("health", health)
            .field("emitter", emitter)
            .field("seed", seed)
            .field("shares_facts", &facts.is_some())
            .finish()
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

/// A tier or a model without weight would get no traffic, which is never what a configuration means.
fn validate_weights(endpoints: &[Endpoint]) -> Result<(), BuildError> {
    let models = endpoints.iter().flat_map(Endpoint::models).map(|(model, _)| model);
    let models: BTreeSet<&str> = models.collect();
    let served: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.share() > 0).collect();
    let unserved = |model: &&str| !served.iter().any(|endpoint| endpoint.serves(model));
    if let Some(model) = models.into_iter().find(unserved) {
        return Err(BuildError::new(
            "endpoints.weight",
            format!("the weights of all that serve model {model:?} are zero"),
        ));
    }
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
