//! All endpoints with their states, and the snapshot they amount to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::balance::balancer::Shared;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::Chooser;
use crate::balance::demand::EndpointKey;
use crate::balance::endpoint::Endpoint;
use crate::balance::facts::{Accounts, Heard};
use crate::balance::health::HealthPolicy;
use crate::balance::member::Member;
use crate::balance::mirror::Mirror;
use crate::balance::snapshot::{Known, Pool, PoolName, Snapshot, Tier};
use crate::balance::state::{Condition, EndpointState, Trouble};
use crate::balance::status::EndpointStatus;
use crate::balance::tally::EndpointTotals;
use crate::report::EndpointId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::usage::Price;

/// The endpoints of a balancer.
#[derive(Debug)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
    policy: HealthPolicy,
    next_key: u32,
    chooser: Arc<Chooser>,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cell: Arc<EndpointCell>,
    pub(crate) config: Endpoint,
    /// The models it names; a model's place is its slot.
    models: Vec<Model>,
    /// The mirror for models it does not name.
    unnamed: Option<Arc<Mirror>>,
    pub(crate) state: EndpointState,
    /// The condition of each slot as it was reported last.
    reported: Vec<Condition>,
}

#[derive(Debug)]
struct Model {
    name: Box<str>,
    upstream: Arc<str>,
    mirror: Option<Arc<Mirror>>,
}

impl Registry {
    pub(crate) const fn new(policy: HealthPolicy, chooser: Arc<Chooser>) -> Self {
        Self { entries: Vec::new(), policy, next_key: 0, chooser }
    }

    pub(crate) fn add(&mut self, endpoint: Endpoint, balancer: &Weak<Shared>) {
        let key = EndpointKey(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        let (balancer, chooser) = (Weak::clone(balancer), Arc::clone(&self.chooser));
        let cell = EndpointCell::new(key, &endpoint, balancer, chooser);
        self.entries.push(Entry::new(Arc::new(cell), endpoint));
    }

    /// Takes the endpoint out; its attempts go on, for they hold its cell.
    pub(crate) fn remove(&mut self, id: &EndpointId) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.cell.id == *id)?;
        Some(self.entries.remove(at))
    }

    /// Puts a new configuration in the place of the endpoint's old one. What was known of it is
    /// forgotten, except where the provider is the same: then its running attempts still count.
    pub(crate) fn replace(&mut self, endpoint: Endpoint, balancer: &Weak<Shared>) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.cell.id == *endpoint.id()) else {
            return false;
        };
        if Arc::ptr_eq(&self.entries[at].cell.provider, endpoint.provider()) {
            let cell = Arc::clone(&self.entries[at].cell);
            cell.set_trouble(Trouble::NONE);
            self.entries[at] = Entry::new(cell, endpoint);
        } else {
            self.add(endpoint, balancer);
            self.entries.swap_remove(at);
        }
        true
    }

    pub(crate) fn get(&self, id: &EndpointId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.cell.id == *id)
    }

    pub(crate) fn get_mut(&mut self, id: &EndpointId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.cell.id == *id)
    }

    pub(crate) fn entry_mut(&mut self, key: EndpointKey) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.cell.key == key)
    }

    /// Takes in what other instances were told. Whether that changed anything.
    pub(crate) fn hear(&mut self, heard: &Heard, accounts: &Accounts, now: Instant) -> bool {
        let mut changed = false;
        for entry in &mut self.entries {
            changed |= entry.hear(heard, accounts, now, &self.chooser.rng);
        }
        changed
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) const fn policy(&self) -> &HealthPolicy {
        &self.policy
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<EndpointStatus> {
        self.entries.iter().map(|entry| entry.status(now)).collect()
    }

    /// The same, with what each one's attempts came to.
    pub(crate) fn totals(&self, now: Instant) -> Vec<(EndpointStatus, EndpointTotals)> {
        let of = |entry: &Entry| (entry.status(now), entry.cell.tally.read());
        self.entries.iter().map(of).collect()
    }

    /// The snapshot at `now`. Whoever is owed picks by the previous one is owed them by the new one.
    pub(crate) fn snapshot(&self, previous: &Snapshot, now: Instant) -> Snapshot {
        let spared = self.spared(now);
        let pool = |name: PoolName| self.pool(&name, previous, &spared, now);
        let models: BTreeSet<&str> =
            self.entries.iter().flat_map(|entry| &entry.models).map(|model| &*model.name).collect();
        let pools = models.into_iter().map(Box::<str>::from);
        let pools = pools.map(|model| (model.clone(), pool(PoolName::Model(model))));
        let changes = self.entries.iter();
        let changes = changes.filter_map(|entry| entry.state.next_change(&self.policy, now));
        let (default, unnamed) = (pool(PoolName::Default), pool(PoolName::Unnamed));
        Snapshot::new(pools.collect(), default, unnamed, changes.min())
    }

    /// What each endpoint, or the one named `id`, is configured to serve: a model, or any.
    pub(crate) fn served(
        &self,
        id: Option<&EndpointId>,
    ) -> Vec<(Arc<EndpointCell>, Option<Box<str>>)> {
        let entries = self.entries.iter().filter(|entry| id.is_none_or(|id| entry.cell.id == *id));
        let of = |entry: &Entry| {
            let any = entry.models.is_empty().then_some(None);
            let named = entry.models.iter().map(|model| Some(model.name.clone()));
            let cell = Arc::clone(&entry.cell);
            any.into_iter().chain(named).map(move |model| (Arc::clone(&cell), model)).collect()
        };
        entries.flat_map(|entry| -> Vec<_> { of(entry) }).collect()
    }

    /// The conditions that endpoints entered since this was asked last.
    pub(crate) fn entered(&mut self, now: Instant) -> Vec<(Arc<EndpointCell>, Condition)> {
        let of = |entry: &mut Entry| {
            let cell = Arc::clone(&entry.cell);
            entry.entered(now).into_iter().map(move |condition| (Arc::clone(&cell), condition))
        };
        self.entries.iter_mut().flat_map(of).collect()
    }

    /// Unhealthy endpoints that are used all the same, because too many are: those that became so
    /// last. One on trial counts, for it serves no more than a call at a time. A fault that takes most
    /// endpoints out at once is more likely ours than theirs.
    fn spared(&self, now: Instant) -> BTreeSet<EndpointKey> {
        let unhealthy = self.entries.iter().filter(|entry| !entry.state.draining);
        let mut unhealthy: Vec<(Instant, EndpointKey)> = unhealthy
            .filter_map(|entry| Some((entry.state.unhealthy_since(now)?, entry.cell.key)))
            .collect();
        unhealthy.sort_unstable();
        let most = self.policy.most_unhealthy(self.entries.len());
        unhealthy.into_iter().skip(most).map(|(_, key)| key).collect()
    }

    fn pool(
        &self,
        name: &PoolName,
        previous: &Snapshot,
        spared: &BTreeSet<EndpointKey>,
        now: Instant,
    ) -> Pool {
        let candidates: Vec<Candidate<'_>> =
            self.entries.iter().filter_map(|entry| entry.candidate(name, now)).collect();
        let owed = previous.pool_named(name);
        let mut tiers = self.tiers(&candidates, owed, now, |candidate| {
            candidate.admission(spared.contains(&candidate.entry.cell.key))
        });
        let whatever_health = match candidates.iter().any(Candidate::is_sick) {
            true => self.tiers(&candidates, owed, now, |candidate| candidate.admission(true)),
            false => Vec::new(),
        };
        // What others say of money and credentials may be wrong, or of another key: before nobody is
        // left, one call at a time finds out. Cooldowns are obeyed whoever was told of them.
        if tiers.is_empty() && whatever_health.is_empty() {
            tiers = self.tiers(&candidates, owed, now, |candidate| candidate.verification(now));
        }
        let all = candidates.iter().map(|candidate| Known {
            cell: Arc::clone(&candidate.entry.cell),
            price: candidate.price().filter(|_| candidate.entry.config.share() > 0),
            returns: candidate.condition.until().filter(|_| candidate.entry.config.share() > 0),
            gets_calls: candidate.entry.config.share() > 0 && !candidate.entry.state.draining,
        });
        Pool::new(tiers, whatever_health, all.collect())
    }

    /// The tiers of those candidates that are let in.
    fn tiers(
        &self,
        candidates: &[Candidate<'_>],
        previous: Option<&Pool>,
        now: Instant,
        admit: impl Fn(&Candidate<'_>) -> Option<Admission>,
    ) -> Vec<Tier> {
        let mut by_tier: BTreeMap<u8, Vec<Arc<Member>>> = BTreeMap::new();
        for candidate in candidates {
            let Some(admission) = admit(candidate) else { continue };
            let weight = u64::from(candidate.entry.config.share());
            if weight > 0 {
                let weight = weight * candidate.entry.state.tenths(&self.policy, now);
                let tier = by_tier.entry(candidate.entry.config.tier_number());
                tier.or_default().push(Arc::new(candidate.member(weight, admission)));
            }
        }
        let tier = |(number, members): (u8, Vec<Arc<Member>>)| {
            let previous = previous.and_then(|pool| pool.tier_numbered(number));
            let credits = credits(&members, previous);
            Tier::new(number, members, &credits, previous)
        };
        by_tier.into_iter().filter_map(tier).collect()
    }
}

/// What each member is owed by the previous tier; nothing where it was not in it.
fn credits(members: &[Arc<Member>], previous: Option<&Tier>) -> Vec<f64> {
    let owed: BTreeMap<EndpointKey, f64> = previous
        .into_iter()
        .flat_map(Tier::credits)
        .map(|(cell, credit)| (cell.key, credit))
        .collect();
    members.iter().map(|member| owed.get(&member.cell.key).copied().unwrap_or(0.0)).collect()
}

/// How many calls an endpoint is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Full,
    OneAtATime,
}

/// An endpoint that serves a certain model, in whatever state.
struct Candidate<'a> {
    entry: &'a Entry,
    slot: Option<usize>,
    condition: Condition,
}

impl Candidate<'_> {
    /// Whether nothing but its health keeps calls away from it, all or most of them.
    fn is_sick(&self) -> bool {
        match self.condition {
            Condition::Unhealthy { .. } => true,
            Condition::Trial => !self.entry.state.was_refused(self.slot),
            _ => false,
        }
    }

    fn admission(&self, whatever_health: bool) -> Option<Admission> {
        match self.condition {
            Condition::Eligible => Some(Admission::Full),
            _ if whatever_health && self.is_sick() => Some(Admission::Full),
            Condition::Trial => Some(Admission::OneAtATime),
            _ => None,
        }
    }

    /// The admission of one that is disabled by what other instances say and by nothing else.
    fn verification(&self, now: Instant) -> Option<Admission> {
        let refused = matches!(self.condition, Condition::Disabled { .. });
        let first_hand = self.entry.state.condition_first_hand(self.slot, now);
        (refused && first_hand.is_serving()).then_some(Admission::OneAtATime)
    }

    fn price(&self) -> Option<Price> {
        let model = self.slot.map(|slot| &*self.entry.models[slot].name);
        self.entry.config.price_of(model)
    }

    fn member(&self, weight: u64, admission: Admission) -> Member {
        let model = self.slot.map(|slot| &self.entry.models[slot]);
        let config = &self.entry.config;
        Member {
            cell: Arc::clone(&self.entry.cell),
            key: self.entry.cell.key,
            able: self.entry.cell.capabilities.bits(),
            slot: self.slot,
            upstream: model.map_or_else(
                || config.unnamed_default(),
                |model| Some(Arc::clone(&model.upstream)),
            ),
            price: self.price(),
            weight,
            per_weight: 1.0 / weight as f32,
            trial: admission == Admission::OneAtATime,
            concurrency: config.declared().concurrency,
            mirror: model.map_or(&self.entry.unnamed, |model| &model.mirror).clone(),
        }
    }
}

impl Entry {
    fn new(cell: Arc<EndpointCell>, config: Endpoint) -> Self {
        let mirror = || Mirror::new(config.declared()).map(Arc::new);
        let model =
            |(name, upstream): (&str, _)| Model { name: name.into(), upstream, mirror: mirror() };
        let models: Vec<_> = config.models().map(model).collect();
        let unnamed = mirror();
        let (state, reported) = (EndpointState::new(models.len()), Vec::new());
        Self { cell, state, models, unnamed, config, reported }
    }

    /// This endpoint as one that serves the models of a pool; `None` where it does not.
    fn candidate(&self, name: &PoolName, now: Instant) -> Option<Candidate<'_>> {
        let slot = match name {
            PoolName::Model(model) => self.slot_of(model)?,
            PoolName::Unnamed => self.models.is_empty().then_some(None)?,
            PoolName::Default => self.config.default_slot(),
        };
        Some(Candidate { entry: self, slot, condition: self.state.condition(slot, now) })
    }

    /// `Some(None)` where it serves the model among any others.
    fn slot_of(&self, model: &str) -> Option<Option<usize>> {
        match self.models.iter().position(|named| &*named.name == model) {
            Some(slot) => Some(Some(slot)),
            None => self.models.is_empty().then_some(None),
        }
    }

    /// The slot that the backend's model of `member` has now: an attempt may have begun under a
    /// configuration of other models.
    pub(crate) fn slot_of_member(&self, member: &Member) -> Option<usize> {
        let (slot, upstream) = (member.slot?, member.upstream.as_ref()?);
        let is_it = |model: &Model| model.upstream == *upstream;
        match self.models.get(slot) {
            Some(model) if is_it(model) => Some(slot),
            _ => self.models.iter().position(is_it),
        }
    }

    fn hear(&mut self, heard: &Heard, accounts: &Accounts, now: Instant, rng: &Rng) -> bool {
        let disabled = heard.get(accounts.account(self.config.account_name()));
        let mut changed = self.state.hear_disabled(disabled, now, rng);
        let slots: Vec<Option<usize>> = self.slots().collect();
        for slot in slots {
            if let Some(told) = heard.get(self.account_of(slot, accounts)) {
                changed |= self.state.hear_cooling(slot, told, now, rng);
            }
        }
        if changed {
            self.cell.set_trouble(self.state.trouble());
        }
        changed
    }

    /// What is kept about the model in `slot`.
    pub(crate) fn account_of(&self, slot: Option<usize>, accounts: &Accounts) -> u128 {
        let named = slot.and_then(|slot| self.models.get(slot));
        let upstream = named.map(|model| Arc::clone(&model.upstream));
        let upstream = upstream.or_else(|| self.config.unnamed_default());
        accounts.model(self.config.account_name(), upstream.as_deref())
    }

    /// The slots that calls can be of.
    fn slots(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        let others = self.config.default_slot().is_none();
        (0..self.models.len()).map(Some).chain(others.then_some(None))
    }

    /// What of it a snapshot shows.
    pub(crate) fn view(&self, slot: Option<usize>, policy: &HealthPolicy, now: Instant) -> View {
        View {
            condition: self.state.condition(slot, now),
            first_hand: self.state.condition_first_hand(slot, now),
            worst: self.condition(now),
            tenths: self.state.tenths(policy, now),
        }
    }

    /// What keeps it from serving, of all its models the one that is worst off.
    pub(crate) fn condition(&self, now: Instant) -> Condition {
        let conditions = self.slots().map(|slot| self.state.condition(slot, now));
        conditions.max_by_key(severity).unwrap_or(Condition::Eligible)
    }

    /// Whether faults, money or credentials keep any of its models from serving.
    pub(crate) fn is_sick(&self, now: Instant) -> bool {
        self.slots().map(|slot| self.state.condition(slot, now)).any(|condition| {
            matches!(
                condition,
                Condition::Unhealthy { .. } | Condition::Disabled { .. } | Condition::Trial
            )
        })
    }

    /// The conditions that any of its models entered since this was asked last, once each.
    fn entered(&mut self, now: Instant) -> Vec<Condition> {
        let conditions = self.slots().map(|slot| self.state.condition(slot, now));
        let conditions: Vec<Condition> = conditions.collect();
        let before = self.reported.iter().map(Some).chain(std::iter::repeat(None));
        let changed = conditions.iter().zip(before).filter(|(condition, before)| {
            before.is_none_or(|before| before.label() != condition.label())
        });
        let mut entered: Vec<Condition> = changed.map(|(condition, _)| *condition).collect();
        entered.sort_by_key(severity);
        entered.dedup_by_key(|condition| condition.label());
        self.reported = conditions;
        entered
    }

    fn status(&self, now: Instant) -> EndpointStatus {
        let models =
            self.models.iter().zip(0..).map(|(model, slot)| {
                (model.name.to_string(), self.state.condition(Some(slot), now))
            });
        EndpointStatus::new(&self.cell, &self.config, self.condition(now), models.collect(), now)
    }
}

/// What of an endpoint a snapshot shows: while it stays the same, so does the snapshot.
#[derive(Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) condition: Condition,
    first_hand: Condition,
    worst: Condition,
    tenths: u64,
}

const fn severity(condition: &Condition) -> u8 {
    match condition {
        Condition::Eligible => 0,
        Condition::Trial => 1,
        Condition::Unhealthy { .. } => 2,
        Condition::Cooling { .. } => 3,
        Condition::Disabled { .. } => 4,
        Condition::Draining => 5,
    }
}
