//! The endpoints a strategy chooses from, and what it can see of them.

use std::fmt;
use std::time::Duration;

use crate::balance::chooser::{Ask, millis};
use crate::balance::demand::Demand;
use crate::balance::load::Typical;
use crate::balance::member::Member;
use crate::balance::snapshot::Tier;
use crate::report::EndpointId;
use crate::rng::Rng;
use crate::time::Instant;
use crate::usage::Cost;

/// The endpoints of one tier that are in service.
///
/// Some of them may not be [open](Candidate::is_open) to this call: tried already, full, or lacking
/// what it needs.
pub struct Candidates<'a> {
    tier: &'a Tier,
    ask: &'a Ask<'a>,
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("count", &self.len()).finish_non_exhaustive()
    }
}

impl<'a> Candidates<'a> {
    pub(crate) const fn new(tier: &'a Tier, ask: &'a Ask<'a>) -> Self {
        Self { tier, ask }
    }

    /// How many there are. Never zero.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tier.members().len()
    }

    /// Whether there are none, which never happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tier.members().is_empty()
    }

    /// The one at `position`.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Candidate<'_>> {
        let member = self.tier.members().get(position)?;
        Some(Candidate { member, all: self })
    }

    /// All of them, in the order of configuration.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.tier.members().iter().map(|member| Candidate { member, all: self })
    }

    /// What the call asks for.
    #[must_use]
    pub const fn demand(&self) -> &Demand<'_> {
        self.ask.demand
    }

    /// For choices among equals.
    #[must_use]
    pub const fn rng(&self) -> &Rng {
        &self.ask.chooser.rng
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.ask.now
    }

    /// The position whose turn it is by weight. Takes the turn.
    #[must_use]
    pub fn draw(&self) -> usize {
        self.tier.draw()
    }

    /// The positions of two turns in a row. Takes both.
    pub(crate) fn draw_two(&self) -> [usize; 2] {
        self.tier.draw_two()
    }

    /// The present as averages count the time.
    pub(crate) const fn millis(&self) -> u32 {
        millis(self.ask.at)
    }

    /// What answers of this balancer are like, for endpoints that have not answered yet.
    pub(crate) const fn typical(&self) -> &Typical {
        &self.ask.chooser.typical
    }
}

/// One endpoint as a strategy sees it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    member: &'a Member,
    all: &'a Candidates<'a>,
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("id", self.id()).finish_non_exhaustive()
    }
}

impl Candidate<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.member.cell.id
    }

    /// Its weight; less than configured while it returns from being unhealthy. Never zero.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.member.weight as f64
    }

    /// Whether this call may go to it now: it can do what the call needs, was not tried by it, and
    /// has room within its declared limits.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.member.is_open_to(self.all.ask)
    }

    /// Calls that are running on it.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.member.cell.calls.running()
    }

    /// Its expected time to the first content, as of now: without new answers it gives way to what is
    /// typical of the balancer. `None` before its first answer.
    #[must_use]
    pub fn ttft(&self) -> Option<Duration> {
        self.member.cell.load.ttft_at(self.all.typical(), self.all.millis())
    }

    /// How long a call has been waiting for its first content, the one that waits longest.
    #[must_use]
    pub fn oldest_wait(&self) -> Option<Duration> {
        let start = self.member.cell.calls.oldest_start()?;
        Some(Duration::from_nanos(self.all.ask.at.saturating_sub(start)))
    }

    /// The same in seconds, zero where none waits.
    #[inline]
    pub(crate) fn oldest_wait_secs(&self) -> f32 {
        let start = self.member.cell.calls.oldest_start();
        start.map_or(0.0, |start| self.all.ask.at.saturating_sub(start) as i64 as f32 * 1e-9)
    }

    /// What this call is expected to cost on it; `None` where it has no price.
    #[must_use]
    pub fn expected_cost(&self) -> Option<Cost> {
        let demand = self.all.ask.demand;
        let output =
            demand.output_tokens.unwrap_or_else(|| self.all.ask.chooser.typical.output_tokens());
        self.member.price.map(|price| price.of_tokens(demand.input_tokens, output))
    }

    pub(crate) const fn member(&self) -> &Member {
        self.member
    }
}
