//! What all picks of a balancer share, and what one of them asks for.

use std::time::Duration;

use crate::balance::demand::{Demand, EndpointKey};
use crate::balance::listeners::Listeners;
use crate::balance::load::Typical;
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
    pub(crate) listeners: Listeners,
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

/// Nanoseconds since the epoch as averages count the time; wraps after 49 days.
pub(crate) const fn millis(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
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
    /// Whether an endpoint of the capabilities `able` can do what is needed.
    #[inline]
    pub(crate) const fn suits(&self, able: u8) -> bool {
        self.needs & !able == 0
    }

    /// Whether the endpoint suits and is wanted.
    #[inline]
    pub(crate) fn admits(&self, able: u8, key: EndpointKey) -> bool {
        self.suits(able) && !self.demand.exclude.contains(&key)
    }

    /// What the call is expected to use.
    pub(crate) fn spend(&self) -> Spend {
        self.demand.spend(self.chooser.typical.output_tokens())
    }
}
