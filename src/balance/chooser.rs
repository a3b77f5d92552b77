//! What all picks of a balancer share, and what one of them asks for.

use std::time::Duration;

use crate::balance::demand::Demand;
use crate::balance::load::Typical;
use crate::balance::member::Member;
use crate::balance::mirror::Spend;
use crate::balance::strategy::StrategyKind;
use crate::rng::Rng;
use crate::time::{Instant, after};

/// What picks and leases share beyond the snapshot.
#[derive(Debug)]
pub(crate) struct Chooser {
    pub(crate) strategy: StrategyKind,
    pub(crate) typical: Typical,
    pub(crate) rng: Rng,
    /// What running calls and limits count time from.
    pub(crate) epoch: Instant,
}

impl Chooser {
    /// Nanoseconds since the epoch.
    #[inline]
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// The instant so many nanoseconds after the epoch.
    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        after(self.epoch, Duration::from_nanos(nanos))
    }
}

/// One pick: what for, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) demand: &'a Demand<'a>,
    pub(crate) chooser: &'a Chooser,
    pub(crate) now: Instant,
    /// `now` in nanoseconds since the epoch.
    pub(crate) at: u64,
    /// What the endpoint must be able to do, as the bits of its capabilities.
    needs: u8,
}

impl<'a> Ask<'a> {
    #[inline]
    pub(crate) fn new(demand: &'a Demand<'a>, chooser: &'a Chooser, now: Instant) -> Self {
        Self { demand, chooser, now, at: chooser.nanos(now), needs: demand.needs.bits() }
    }
    /// Whether the endpoint can do what is needed.
    #[inline]
    pub(crate) const fn suits(&self, member: &Member) -> bool {
        self.needs & !member.able == 0
    }

    /// Whether the endpoint suits and is wanted.
    #[inline]
    pub(crate) fn admits(&self, member: &Member) -> bool {
        self.suits(member) && !self.demand.exclude.contains(&member.key)
    }

    /// What the call is expected to use.
    pub(crate) fn spend(&self) -> Spend {
        self.demand.spend(self.chooser.typical.output_tokens())
    }
}
