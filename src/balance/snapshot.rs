//! The one immutable view that picks are made from.
//!
//! A snapshot holds, per model, the endpoints that may be picked right now and nothing else, so
//! that a pick costs the same however many endpoints are out of service. It is replaced as a whole
//! when an endpoint enters or leaves a state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::calls::Running;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::Ask;
use crate::balance::demand::NoLease;
use crate::balance::lease::Lease;
use crate::balance::member::Member;
use crate::balance::mirror::Spent;
use crate::balance::quote::dearer;
use crate::balance::strategy::{Candidates, Schedule, StrategyKind, choose};
use crate::error::NoEndpoint;
use crate::provider::Provider;
use crate::rate::Refused;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, after};
use crate::usage::Price;

/// Everything a pick needs.
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

/// Counts alone: a schedule may have thousands of turns.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("models", &self.pools.len())
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

/// The endpoints that serve one model.
#[derive(Default)]
pub(crate) struct Pool {
    /// Those that may be picked, by tier, best first.
    tiers: Box<[Tier]>,
    /// Those and what is out of service for its health alone: used where nobody else can do what a
    /// call needs.
    whatever_health: Box<[Tier]>,
    /// All of them, whatever their state, for the reasons of a refusal.
    all: Box<[Known]>,
    /// The dearest price of all of them: a call may wait for one that is out of service now.
    dearest: Option<Price>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoints", &self.all.len())
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}

/// An endpoint of a pool, in whatever state.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) cell: Arc<EndpointCell>,
    /// When it returns, where it is out of service until a certain instant.
    pub(crate) returns: Option<Instant>,
    /// Whether it gets calls while it is in service: it has a weight, and does not drain.
    pub(crate) gets_calls: bool,
    pub(crate) price: Option<Price>,
}

impl Pool {
    pub(crate) fn new(tiers: Vec<Tier>, whatever_health: Vec<Tier>, all: Vec<Known>) -> Self {
        let dearest = all.iter().filter_map(|known| known.price).reduce(dearer);
        let whatever_health = whatever_health.into();
        Self { tiers: tiers.into(), whatever_health, all: all.into(), dearest }
    }

    /// The tiers that can do what the call needs: those in service, or else all that are out for
    /// their health at the most. Health is a guess, so it is ignored rather than refusing the call;
    /// a rate limit or a refused key is a fact, and is not. A trial serves one call at a time, so it
    /// is no reason to refuse the others.
    #[inline]
    fn serving(&self, ask: &Ask<'_>) -> &[Tier] {
        let able = |member: &Arc<Member>| !member.trial && ask.suits(member.able);
        if self.whatever_health.is_empty()
            || self.tiers.iter().any(|tier| tier.members.iter().any(able))
        {
            &self.tiers
        } else {
            &self.whatever_health
        }
    }

    /// A lease on the next endpoint for the call, tiers in order.
    #[inline]
    pub(crate) fn lease(&self, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        let mut spent = None;
        let entered = self.serving(ask).iter().find_map(|tier| tier.enter(ask, &mut spent));
        match entered {
            Some((member, running)) => Ok(Lease::new(member, running, spent, ask.at)),
            None => Err(self.refusal(ask)),
        }
    }

    /// When an endpoint for the call can be leased.
    pub(crate) fn earliest(&self, ask: &Ask<'_>) -> Result<Instant, NoLease> {
        let mut members = self.serving(ask).iter().flat_map(Tier::members);
        if members.any(|member| member.is_open_to(ask)) {
            return Ok(ask.now);
        }
        match self.refusal(ask) {
            NoLease::NotBefore(Some(at)) => Ok(at.max(ask.now)),
            refusal => Err(refusal),
        }
    }

    /// Whether there is an endpoint that attempts may be made on, busy or not.
    pub(crate) fn is_serving(&self) -> bool {
        !self.tiers.is_empty() || !self.whatever_health.is_empty()
    }

    pub(crate) fn knows_one_for(&self, ask: &Ask<'_>) -> bool {
        self.all.iter().any(|known| {
            known.gets_calls && ask.admits(known.cell.capabilities.bits(), known.cell.key)
        })
    }

    /// Whether a running call has the place of one that is wanted.
    pub(crate) fn waits_for_an_end(&self, ask: &Ask<'_>) -> bool {
        self.serving(ask).iter().flat_map(Tier::members).any(|member| member.is_busy_for(ask))
    }

    pub(crate) const fn dearest(&self) -> Option<Price> {
        self.dearest
    }

    /// A provider that serves the model, in whatever state.
    pub(crate) fn any_provider(&self) -> Option<&dyn Provider> {
        self.all.first().map(|known| &*known.cell.provider)
    }

    /// Whose turn it is by weight, without leasing it.
    #[inline]
    pub(crate) fn turn(&self) -> Option<&Member> {
        let tier = self.tiers.first().or_else(|| self.whatever_health.first())?;
        Some(&tier.members[tier.draw()])
    }

    #[cold]
    fn refusal(&self, ask: &Ask<'_>) -> NoLease {
        if self.all.is_empty() {
            return match ask.demand.model {
                Some(model) => NoLease::Never(NoEndpoint::UnknownModel { model: model.into() }),
                None => NoLease::NotBefore(None),
            };
        }
        let missing =
            self.all.iter().map(|known| known.cell.capabilities.missing(&ask.demand.needs));
        if let Some(capability) = missing.reduce(Option::and).flatten() {
            let model = ask.demand.model.map(str::to_owned);
            return NoLease::Never(NoEndpoint::MissingCapability { model, capability });
        }
        self.not_before(ask)
    }

    /// The first instant at which an endpoint returns or a full one has room.
    fn not_before(&self, ask: &Ask<'_>) -> NoLease {
        let wanted = self
            .all
            .iter()
            .filter(|known| ask.admits(known.cell.capabilities.bits(), known.cell.key));
        let mut opens = wanted.filter_map(|known| known.returns).min();
        let mut too_large = None;
        let mut others = opens.is_some();
        let members = self.serving(ask).iter().flat_map(Tier::members);
        for member in members.filter(|member| ask.suits(member.able)) {
            match member.room_in(ask) {
                Ok(Some(wait)) if ask.admits(member.able, member.key) => {
                    let at = after(ask.now, wait);
                    opens = Some(opens.map_or(at, |opens| opens.min(at)));
                }
                // Somebody who was refused after all has just given it back, and tells nobody.
                Ok(None) if member.is_open_to(ask) => {
                    let at = after(ask.now, GIVEN_BACK);
                    opens = Some(opens.map_or(at, |opens| opens.min(at)));
                }
                // Running calls are in its way, or the call has tried it.
                Ok(_) => others = true,
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
pub(crate) struct Tier {
    number: u8,
    members: Box<[Arc<Member>]>,
    schedule: Schedule,
    tickets: Tickets,
    /// Turns for calls that could not use the one they drew: taken apart, so that such calls do not
    /// use up the turns of others.
    spare: Tickets,
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier")
            .field("number", &self.number)
            .field("in_service", &self.members.len())
            .finish_non_exhaustive()
    }
}

/// A counter on a cache line of its own: it is the one word all picks of a tier write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tickets(AtomicU64);

/// Where an attempt was let in, and its place there.
type Entered<'a> = (&'a Arc<Member>, Running);

/// When to come back for room that another attempt held for a moment: above zero, for who waits
/// needs a time to wait for.
const GIVEN_BACK: Duration = Duration::from_millis(1);

/// How many spare turns a pick takes before it looks through the whole tier. They are taken only
/// where the call has tried the endpoint, needs what it cannot do, or finds it full.
const TURNS: u64 = 64;

impl Tier {
    /// A tier whose members start with what they are owed; `None` where no weight is above zero.
    ///
    /// A schedule too large for credits goes on where `previous` stopped.
    pub(crate) fn new(
        number: u8,
        members: Vec<Arc<Member>>,
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
    fn enter(&self, ask: &Ask<'_>, spent: &mut Option<Spent>) -> Option<Entered<'_>> {
        let chosen = match ask.chooser.strategy {
            StrategyKind::Weighted => None,
            ref strategy => choose(strategy, &Candidates::new(self, ask)),
        };
        let first = &self.members[chosen.unwrap_or_else(|| self.draw())];
        match first.enter(ask, spent) {
            Some(running) => Some((first, running)),
            None => self.enter_another(ask, spent),
        }
    }

    #[cold]
    fn enter_another(&self, ask: &Ask<'_>, spent: &mut Option<Spent>) -> Option<Entered<'_>> {
        let turns = 0..TURNS.min(4 * self.members.len() as u64);
        let drawn = turns.map(|_| &self.members[self.draw_spare()]);
        drawn.chain(&self.members).find_map(|member| Some((member, member.enter(ask, spent)?)))
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

    /// The positions of this turn and the next.
    #[inline]
    pub(crate) fn draw_two(&self) -> [usize; 2] {
        self.schedule.two_members(self.tickets.0.fetch_add(2, Ordering::Relaxed))
    }

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// What each member is owed by now, in picks.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (&Arc<EndpointCell>, f64)> {
        let credits = self.schedule.credits_after(self.tickets.0.load(Ordering::Relaxed));
        self.members.iter().map(|member| &member.cell).zip(credits)
    }
}
