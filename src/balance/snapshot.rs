//! The one immutable view that picks are made from.
//!
//! A snapshot holds, per model, the endpoints that may be picked right now and nothing else, so
//! that a pick costs the same however many endpoints are out of service. It is replaced as a whole
//! when an endpoint enters or leaves a state.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::cell::EndpointCell;
use crate::balance::demand::{Demand, NoLease};
use crate::balance::lease::Lease;
use crate::balance::load::Typical;
use crate::balance::mirror::{Mirror, Spent};
use crate::balance::strategy::{Candidates, Schedule, StrategyKind, choose};
use crate::error::NoEndpoint;
use crate::rate::Refused;
use crate::rng::Rng;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, after};
use crate::usage::Price;

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

    /// A snapshot of nothing.
    pub(crate) fn empty() -> Self {
        Self::new(Vec::new(), Pool::default(), Pool::default(), None)
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

    /// The pool of that name, if the snapshot has one.
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

/// What picks share beyond the snapshot.
#[derive(Debug)]
pub(crate) struct Chooser {
    pub(crate) strategy: StrategyKind,
    pub(crate) typical: Typical,
    pub(crate) rng: Rng,
    /// What limits count time from.
    pub(crate) epoch: Instant,
}

impl Chooser {
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// The endpoints that serve one model.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Those that may be picked, by tier, best first.
    tiers: Box<[Tier]>,
    /// Those that are out of service for their health alone: used where nobody else can do what a
    /// call needs.
    unhealthy: Box<[Tier]>,
    /// All of them, whatever their state, for the reasons of a refusal.
    all: Box<[Arc<EndpointCell>]>,
    /// When the first of those that are out of service returns.
    earliest: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(
        tiers: Vec<Tier>,
        unhealthy: Vec<Tier>,
        all: Vec<Arc<EndpointCell>>,
        earliest: Option<Instant>,
    ) -> Self {
        Self { tiers: tiers.into(), unhealthy: unhealthy.into(), all: all.into(), earliest }
    }

    /// The tiers that can do what `demand` needs: those in service, or else those that are out for
    /// their health. Health is a guess, so it is ignored rather than refusing the call; a rate limit
    /// or a refused key is a fact, and is not.
    #[inline]
    fn serving(&self, demand: &Demand<'_>) -> &[Tier] {
        let able = |tier: &Tier| tier.members.iter().any(|member| demand.suits(&member.cell));
        if self.unhealthy.is_empty() || self.tiers.iter().any(able) {
            &self.tiers
        } else {
            &self.unhealthy
        }
    }

    /// A lease on the next endpoint for `demand`, tiers in order.
    #[inline]
    pub(crate) fn lease(
        &self,
        demand: &Demand<'_>,
        chooser: &Chooser,
        now: Instant,
    ) -> Result<Lease, NoLease> {
        self.serving(demand)
            .iter()
            .find_map(|tier| tier.lease(demand, chooser, now))
            .ok_or_else(|| self.refusal(demand, chooser, now))
    }

    /// When an endpoint for `demand` can be leased.
    pub(crate) fn earliest(
        &self,
        demand: &Demand<'_>,
        chooser: &Chooser,
        now: Instant,
    ) -> Result<Instant, NoLease> {
        let mut members = self.serving(demand).iter().flat_map(Tier::members);
        if members.any(|member| member.is_open_to(demand, chooser, now)) {
            return Ok(now);
        }
        match self.refusal(demand, chooser, now) {
            NoLease::NotBefore(Some(at)) => Ok(at.max(now)),
            refusal => Err(refusal),
        }
    }

    /// Whose turn it is by weight, without leasing it.
    #[inline]
    pub(crate) fn turn(&self) -> Option<&Member> {
        let tier = self.tiers.first().or_else(|| self.unhealthy.first())?;
        Some(&tier.members[tier.draw()])
    }

    #[cold]
    fn refusal(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> NoLease {
        if self.all.is_empty() {
            return match demand.model {
                Some(model) => NoLease::Never(NoEndpoint::UnknownModel { model: model.into() }),
                None => NoLease::NotBefore(None),
            };
        }
        let missing = self.all.iter().map(|cell| cell.capabilities.missing(&demand.needs));
        if let Some(capability) = missing.reduce(Option::and).flatten() {
            let model = demand.model.map(str::to_owned);
            return NoLease::Never(NoEndpoint::MissingCapability { model, capability });
        }
        self.not_before(demand, chooser, now)
    }

    /// The first instant at which an endpoint returns or a full one has room.
    fn not_before(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> NoLease {
        let members = self.serving(demand).iter().flat_map(Tier::members);
        let admitted = members.filter(|member| demand.admits(&member.cell));
        let mut opens = self.earliest;
        let mut too_large = None;
        let mut others = self.earliest.is_some();
        for member in admitted {
            match member.room_in(demand, chooser, now) {
                Ok(Some(wait)) => {
                    let at = after(now, wait);
                    opens = Some(opens.map_or(at, |opens| opens.min(at)));
                }
                Ok(None) => others = true,
                Err(Refused::Never { burst }) => too_large = too_large.max(Some(burst)),
                Err(Refused::NotYet(_)) => {}
            }
        }
        match too_large {
            Some(most) if opens.is_none() && !others => {
                NoLease::Never(NoEndpoint::TooLarge { most })
            }
            _ => NoLease::NotBefore(opens),
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
    /// Turns for calls that could not use the one they drew: taken apart, so that such calls do not
    /// use up the turns of others.
    spare: Tickets,
}

/// A counter on a cache line of its own: it is the one word all picks of a tier write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tickets(AtomicU64);

/// How many spare turns a pick takes before it looks through the whole tier. They are taken only
/// where the call has tried the endpoint, needs what it cannot do, or finds it full.
const TURNS: u64 = 64;

impl Tier {
    /// A tier whose members start with what they are owed; `None` where no weight is above zero.
    ///
    /// A schedule too large for credits goes on where `previous` stopped.
    pub(crate) fn new(
        number: u8,
        members: Vec<Member>,
        credits: &[f64],
        previous: Option<&Self>,
    ) -> Option<Self> {
        let weights: Vec<u64> = members.iter().map(|member| member.weight).collect();
        let schedule = Schedule::new(&weights, credits)?;
        let drawn = previous.map_or(0, |tier| tier.tickets.0.load(Ordering::Relaxed));
        let first = if schedule.keeps_credits() { 0 } else { drawn };
        let tickets = |first| Tickets(AtomicU64::new(first));
        let (tickets, spare) = (tickets(first), tickets(drawn));
        Some(Self { number, members: members.into(), schedule, tickets, spare })
    }

    #[inline]
    fn lease(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> Option<Lease> {
        let chosen = match chooser.strategy {
            StrategyKind::Weighted => None,
            ref strategy => choose(strategy, &Candidates::new(self, demand, chooser, now)),
        };
        let first = &self.members[chosen.unwrap_or_else(|| self.draw())];
        first.lease(demand, chooser, now).or_else(|| self.lease_another(demand, chooser, now))
    }

    #[cold]
    fn lease_another(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> Option<Lease> {
        let lease = |member: &Member| member.lease(demand, chooser, now);
        let turns = 0..TURNS.min(4 * self.members.len() as u64);
        turns
            .map(|_| &self.members[self.draw_spare()])
            .find_map(lease)
            .or_else(|| self.members.iter().find_map(lease))
    }

    fn draw_spare(&self) -> usize {
        self.schedule.member(self.spare.0.fetch_add(1, Ordering::Relaxed))
    }

    /// The position whose turn it is.
    #[inline]
    pub(crate) fn draw(&self) -> usize {
        // Relaxed: tickets need to be distinct, not to be ordered with anything.
        self.schedule.member(self.tickets.0.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// What each member is owed by now, in picks.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (&Arc<EndpointCell>, f64)> {
        let credits = self.schedule.credits_after(self.tickets.0.load(Ordering::Relaxed));
        self.members.iter().map(|member| &member.cell).zip(credits)
    }
}

/// An endpoint as a pick for a certain model.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) cell: Arc<EndpointCell>,
    /// The model's place among those the endpoint names.
    pub(crate) slot: Option<usize>,
    /// The backend's name for the model, where the endpoint has one.
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) price: Option<Price>,
    /// What it gets of the traffic right now. Above zero.
    pub(crate) weight: u64,
    /// Whether one attempt at a time finds out if it works again.
    pub(crate) trial: bool,
    pub(crate) concurrency: Option<u32>,
    pub(crate) mirror: Option<Arc<Mirror>>,
}

impl Member {
    /// Lets an attempt in, if it may come and there is room.
    #[inline]
    fn lease(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> Option<Lease> {
        if !demand.admits(&self.cell) || (self.trial && !self.cell.trial().begin()) {
            return None;
        }
        let Some(spent) = self.enter(demand, chooser, now) else {
            if self.trial {
                self.cell.trial().end();
            }
            return None;
        };
        Some(Lease::new(self, spent, now))
    }

    /// Takes a place and what the call is expected to use. `Some(None)` where nothing is limited.
    #[inline]
    fn enter(
        &self,
        demand: &Demand<'_>,
        chooser: &Chooser,
        now: Instant,
    ) -> Option<Option<(Arc<Mirror>, Spent)>> {
        if !self.cell.enter(self.concurrency) {
            return None;
        }
        let Some(mirror) = &self.mirror else { return Some(None) };
        let spend = demand.spend(chooser.typical.output_tokens());
        match mirror.reserve(spend, chooser.nanos(now)) {
            Ok(spent) => Some(Some((Arc::clone(mirror), spent))),
            Err(_) => {
                self.cell.leave();
                None
            }
        }
    }

    /// Whether [`lease`](Self::lease) would succeed if nobody else came first.
    pub(crate) fn is_open_to(&self, demand: &Demand<'_>, chooser: &Chooser, now: Instant) -> bool {
        demand.admits(&self.cell)
            && !(self.trial && self.cell.trial().is_running())
            && self.concurrency.is_none_or(|limit| self.cell.in_flight() < limit)
            && matches!(self.room_in(demand, chooser, now), Ok(None))
    }

    /// How long until its rates have room; `None` where they have. What else is in the way ends when
    /// a call does.
    fn room_in(
        &self,
        demand: &Demand<'_>,
        chooser: &Chooser,
        now: Instant,
    ) -> Result<Option<Duration>, Refused> {
        let Some(mirror) = &self.mirror else { return Ok(None) };
        let spend = demand.spend(chooser.typical.output_tokens());
        let wait = mirror.wait_for(spend, chooser.nanos(now))?;
        Ok((!wait.is_zero()).then_some(wait))
    }
}
