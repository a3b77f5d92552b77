//! All endpoints with their states, and the snapshot they amount to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::balance::balancer::Shared;
use crate::balance::cell::EndpointCell;
use crate::balance::demand::EndpointKey;
use crate::balance::endpoint::Endpoint;
use crate::balance::snapshot::{Member, Pool, PoolName, Snapshot, Tier};
use crate::balance::state::{Condition, EndpointState};
use crate::balance::status::EndpointStatus;
use crate::time::{Instant, now};

/// The endpoints of a balancer.
#[derive(Debug)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
    /// Every model that some endpoint names.
    models: BTreeSet<Box<str>>,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Entry {
    cell: Arc<EndpointCell>,
    config: Endpoint,
    /// The models it names, each with the backend's name for it; a model's place is its slot.
    models: Vec<(Box<str>, Arc<str>)>,
    pub(crate) state: EndpointState,
}

impl Registry {
    pub(crate) fn new(endpoints: &[Endpoint], balancer: &Weak<Shared>) -> Self {
        let entries: Vec<Entry> = (0..)
            .zip(endpoints)
            .map(|(key, endpoint)| Entry::new(EndpointKey(key), endpoint, balancer))
            .collect();
        let models = entries.iter().flat_map(|entry| &entry.models);
        let models = models.map(|(model, _)| model.clone()).collect();
        Self { entries, models }
    }

    pub(crate) fn entry_mut(&mut self, key: EndpointKey) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.cell.key == key)
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<EndpointStatus> {
        self.entries.iter().map(|entry| entry.status(now)).collect()
    }

    /// The snapshot of endpoints that have no history.
    pub(crate) fn first_snapshot(&self) -> Snapshot {
        let nothing = Snapshot::new(Vec::new(), Pool::default(), Pool::default(), None);
        self.snapshot(&nothing, now())
    }

    /// The snapshot at `now`. Whoever is owed picks by the previous one is owed them by the new one.
    pub(crate) fn snapshot(&self, previous: &Snapshot, now: Instant) -> Snapshot {
        let pool = |name: PoolName| self.pool(&name, previous, now);
        let pools = self.models.iter();
        let pools = pools.map(|model| (model.clone(), pool(PoolName::Model(model.clone()))));
        let next_change =
            self.entries.iter().filter_map(|entry| entry.state.next_change(now)).min();
        Snapshot::new(
            pools.collect(),
            pool(PoolName::Default),
            pool(PoolName::Unnamed),
            next_change,
        )
    }

    fn pool(&self, name: &PoolName, previous: &Snapshot, now: Instant) -> Pool {
        let candidates: Vec<Candidate<'_>> =
            self.entries.iter().filter_map(|entry| entry.candidate(name, now)).collect();
        let owed = previous.pool_named(name);
        let mut tiers = tiers(&candidates, owed, |state| state == Condition::Eligible);
        if tiers.is_empty() {
            // Every endpoint is out of service. Health is a guess, so it is ignored rather than
            // refusing all traffic; a rate limit or a refused key is a fact, and is not.
            tiers = self::tiers(&candidates, owed, |state| {
                matches!(state, Condition::Unhealthy { .. })
            });
        }
        let earliest = candidates.iter().filter_map(|candidate| candidate.condition.until()).min();
        let all = candidates.iter().map(|candidate| Arc::clone(&candidate.entry.cell)).collect();
        Pool::new(tiers, all, earliest)
    }
}

/// An endpoint that serves a certain model, in whatever state.
struct Candidate<'a> {
    entry: &'a Entry,
    slot: Option<usize>,
    upstream: Option<Arc<str>>,
    condition: Condition,
}

impl Candidate<'_> {
    fn member(&self) -> Member {
        Member {
            cell: Arc::clone(&self.entry.cell),
            slot: self.slot,
            upstream: self.upstream.clone(),
        }
    }
}

/// The tiers of those candidates whose condition is wanted.
fn tiers(
    candidates: &[Candidate<'_>],
    previous: Option<&Pool>,
    wanted: impl Fn(Condition) -> bool,
) -> Vec<Tier> {
    let mut by_tier: BTreeMap<u8, Vec<Member>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| wanted(candidate.condition)) {
        by_tier.entry(candidate.entry.config.tier_number()).or_default().push(candidate.member());
    }
    by_tier
        .into_iter()
        .filter_map(|(number, members)| {
            let credits = credits(&members, previous.and_then(|pool| pool.tier_numbered(number)));
            Tier::new(number, members, &credits)
        })
        .collect()
}

/// What each member is owed by the previous tier; nothing where it was not in it.
fn credits(members: &[Member], previous: Option<&Tier>) -> Vec<f64> {
    let owed: BTreeMap<u32, f64> = previous
        .into_iter()
        .flat_map(Tier::credits)
        .map(|(cell, credit)| (cell.key.0, credit))
        .collect();
    let credit = |member: &Member| owed.get(&member.cell.key.0).copied().unwrap_or(0.0);
    members.iter().map(credit).collect()
}

impl Entry {
    fn new(key: EndpointKey, config: &Endpoint, balancer: &Weak<Shared>) -> Self {
        let models: Vec<_> =
            config.models().map(|(model, upstream)| (model.into(), upstream)).collect();
        Self {
            cell: Arc::new(EndpointCell::new(key, config, Weak::clone(balancer))),
            state: EndpointState::new(models.len()),
            models,
            config: config.clone(),
        }
    }

    /// This endpoint as one that serves the models of a pool; `None` where it does not.
    fn candidate(&self, name: &PoolName, now: Instant) -> Option<Candidate<'_>> {
        let (slot, upstream) = match name {
            PoolName::Model(model) => self.serving(model)?,
            PoolName::Unnamed => self.serving_any()?,
            PoolName::Default => self.serving_default(),
        };
        let condition = self.state.condition(slot, now);
        Some(Candidate { entry: self, slot, upstream, condition })
    }

    fn serving(&self, model: &str) -> Option<(Option<usize>, Option<Arc<str>>)> {
        match self.models.iter().position(|(name, _)| &**name == model) {
            Some(slot) => Some((Some(slot), Some(Arc::clone(&self.models[slot].1)))),
            None => self.serving_any(),
        }
    }

    fn serving_any(&self) -> Option<(Option<usize>, Option<Arc<str>>)> {
        self.models.is_empty().then_some((None, None))
    }

    fn serving_default(&self) -> (Option<usize>, Option<Arc<str>>) {
        match self.config.default_slot() {
            Some(slot) => (Some(slot), Some(Arc::clone(&self.models[slot].1))),
            None => (None, self.config.unnamed_default()),
        }
    }

    fn status(&self, now: Instant) -> EndpointStatus {
        let slots = (0..self.models.len().max(1)).map(Some);
        let worst = slots
            .map(|slot| self.state.condition(slot, now))
            .max_by_key(|condition| condition.until().is_some())
            .unwrap_or(Condition::Eligible);
        EndpointStatus::new(
            self.cell.id.clone(),
            worst,
            self.cell.in_flight(),
            self.cell.weight,
            self.config.tier_number(),
        )
    }
}
