//! The one immutable view that picks are made from.
//!
//! A snapshot holds, per model, the endpoints that may be picked right now and nothing else, so
//! that a pick costs the same however many endpoints are out of service. It is replaced as a whole
//! when an endpoint enters or leaves a state.

use std::sync::Arc;

use crate::balance::cell::EndpointCell;
use crate::balance::demand::{Demand, NoLease};
use crate::balance::schedule::Schedule;
use crate::error::NoEndpoint;
use crate::sync::{AtomicU64, Ordering};
use crate::time::Instant;

/// Everything a pick needs.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Ordered by length, then bytes: a look-up compares lengths first, and those mostly differ.
    pools: Box<[(Box<str>, Pool)]>,
    /// For calls that name no model.
    default: Pool,
    /// For models no endpoint names: the endpoints that name none themselves.
    unnamed: Pool,
    /// When an endpoint leaves a state by itself. The first pick from then on replaces the snapshot.
    pub(crate) next_change: Option<Instant>,
}

impl Snapshot {
    pub(crate) fn new(
        mut pools: Vec<(Box<str>, Pool)>,
        default: Pool,
        unnamed: Pool,
        next_change: Option<Instant>,
    ) -> Self {
        pools.sort_unstable_by(|(a, _), (b, _)| by_length(a, b));
        Self { pools: pools.into_boxed_slice(), default, unnamed, next_change }
    }

    /// The endpoints for calls that ask for `model`. Logarithmic in the number of models.
    #[inline]
    pub(crate) fn pool(&self, model: Option<&str>) -> &Pool {
        let Some(model) = model else { return &self.default };
        match self.pools.binary_search_by(|(name, _)| by_length(name, model)) {
            Ok(at) => &self.pools[at].1,
            Err(_) => &self.unnamed,
        }
    }

    /// Every pool with its name; the two unnamed ones included.
    pub(crate) fn pool_named(&self, name: &PoolName) -> Option<&Pool> {
        match name {
            PoolName::Default => Some(&self.default),
            PoolName::Unnamed => Some(&self.unnamed),
            PoolName::Model(model) => self
                .pools
                .binary_search_by(|(name, _)| by_length(name, model))
                .ok()
                .map(|at| &self.pools[at].1),
        }
    }
}

#[inline]
fn by_length(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Which pool of a snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PoolName {
    Default,
    Unnamed,
    Model(Box<str>),
}

/// The endpoints that serve one model.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Those that may be picked, by tier, best first.
    tiers: Box<[Tier]>,
    /// All of them, whatever their state, for the reasons of a refusal.
    all: Box<[Arc<EndpointCell>]>,
    /// When the first of those that are out of service returns.
    earliest: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(
        tiers: Vec<Tier>,
        all: Vec<Arc<EndpointCell>>,
        earliest: Option<Instant>,
    ) -> Self {
        Self { tiers: tiers.into(), all: all.into(), earliest }
    }

    /// The next endpoint for `demand`, tiers in order.
    #[inline]
    pub(crate) fn pick(&self, demand: &Demand<'_>) -> Result<&Member, NoLease> {
        self.tiers.iter().find_map(|tier| tier.pick(demand)).ok_or_else(|| self.refusal(demand))
    }

    /// When an endpoint for `demand` can be picked.
    pub(crate) fn earliest(&self, demand: &Demand<'_>, now: Instant) -> Result<Instant, NoLease> {
        if self.tiers.iter().any(|tier| tier.has_one_for(demand)) {
            return Ok(now);
        }
        match self.refusal(demand) {
            NoLease::NotBefore(Some(at)) => Ok(at.max(now)),
            refusal => Err(refusal),
        }
    }

    #[cold]
    fn refusal(&self, demand: &Demand<'_>) -> NoLease {
        if self.all.is_empty() {
            return match demand.model {
                Some(model) => NoLease::Never(NoEndpoint::UnknownModel { model: model.into() }),
                None => NoLease::NotBefore(None),
            };
        }
        let missing = self.all.iter().map(|cell| cell.capabilities.missing(&demand.needs));
        match missing.reduce(Option::and).flatten() {
            Some(capability) => NoLease::Never(NoEndpoint::MissingCapability {
                model: demand.model.map(str::to_owned),
                capability,
            }),
            None => NoLease::NotBefore(self.earliest),
        }
    }

    pub(crate) fn tier_numbered(&self, number: u8) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.number == number)
    }
}

/// The endpoints of one tier that may be picked, and the order in which they are.
#[derive(Debug)]
pub(crate) struct Tier {
    number: u8,
    members: Box<[Member]>,
    schedule: Schedule,
    tickets: Tickets,
}

/// A counter on a cache line of its own: it is the one word all picks of a tier write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tickets(AtomicU64);

/// An endpoint as a pick for a certain model.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) cell: Arc<EndpointCell>,
    /// The model's place among those the endpoint names.
    pub(crate) slot: Option<usize>,
    /// The backend's name for the model, where the endpoint has one.
    pub(crate) upstream: Option<Arc<str>>,
}

/// How many tickets a pick draws before it looks through the whole tier. A draw fails only where
/// the call has already tried the endpoint, or needs what the endpoint cannot do.
const DRAWS: usize = 4;

impl Tier {
    /// A tier whose members start with what they are owed; `None` where no weight is above zero.
    pub(crate) fn new(number: u8, members: Vec<Member>, credits: &[f64]) -> Option<Self> {
        let weights: Vec<u32> = members.iter().map(|member| member.cell.weight).collect();
        let schedule = Schedule::new(&weights, credits)?;
        Some(Self { number, members: members.into(), schedule, tickets: Tickets::default() })
    }

    #[inline]
    fn pick(&self, demand: &Demand<'_>) -> Option<&Member> {
        let member = self.draw();
        if demand.admits(&member.cell) { Some(member) } else { self.pick_again(demand) }
    }

    #[inline]
    fn draw(&self) -> &Member {
        // Relaxed: tickets need to be distinct, not to be ordered with anything.
        &self.members[self.schedule.member(self.tickets.0.fetch_add(1, Ordering::Relaxed))]
    }

    #[cold]
    fn pick_again(&self, demand: &Demand<'_>) -> Option<&Member> {
        let admitted = |member: &&Member| demand.admits(&member.cell) && member.cell.weight > 0;
        let drawn = (1..DRAWS.min(self.members.len())).map(|_| self.draw()).find(admitted);
        drawn.or_else(|| self.members.iter().find(admitted))
    }

    fn has_one_for(&self, demand: &Demand<'_>) -> bool {
        self.members.iter().any(|member| member.cell.weight > 0 && demand.admits(&member.cell))
    }

    /// What each member is owed by now, in picks.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (&Arc<EndpointCell>, f64)> {
        let credits = self.schedule.credits_after(self.tickets.0.load(Ordering::Relaxed));
        self.members.iter().map(|member| &member.cell).zip(credits)
    }
}
