//! An endpoint as a pick for a certain model.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::calls::Running;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::Ask;
use crate::balance::demand::EndpointKey;
use crate::balance::mirror::{Mirror, Spent};
use crate::rate::Refused;
use crate::usage::Price;

/// One endpoint of a tier.
///
/// Leases hold it, which writes the count in front of it with every lease; it keeps that off the
/// cache lines that picks read.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Member {
    pub(crate) cell: Arc<EndpointCell>,
    /// The cell's, here because it is asked of every endpoint that a pick looks at.
    pub(crate) key: EndpointKey,
    /// The bits of the endpoint's capabilities.
    pub(crate) able: u8,
    /// The model's place among those the endpoint names.
    pub(crate) slot: Option<usize>,
    /// The backend's name for the model, where the endpoint has one.
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) price: Option<Price>,
    /// What it gets of the traffic right now. Above zero.
    pub(crate) weight: u64,
    /// One over the weight: comparisons by load multiply instead of dividing.
    pub(crate) per_weight: f32,
    /// Whether one attempt at a time finds out if it works again.
    pub(crate) trial: bool,
    pub(crate) concurrency: Option<u32>,
    pub(crate) mirror: Option<Arc<Mirror>>,
}

impl Member {
    /// Lets an attempt in, if it may come and there is room, and puts down in `spent` what it is
    /// expected to use where rates are limited. That is a hundred bytes: handed up as a value
    /// through every caller, it would cost more than the rest.
    #[inline]
    pub(crate) fn enter(&self, ask: &Ask<'_>, spent: &mut Option<Spent>) -> Option<Running> {
        if !ask.admits(self.able, self.key) || self.is_taken() {
            return None;
        }
        // In this order: nobody is told when a refused attempt gives back what it had taken. Who
        // finds the rate used up by it comes back by the clock; the place and the trial are only
        // ever found taken by an attempt whose end is told.
        if let Some(mirror) = &self.mirror {
            *spent = Some(mirror.reserve(ask.want(), ask.at).ok()?);
        }
        let running = self.take_place(ask);
        if running.is_none()
            && let (Some(mirror), Some(spent)) = (&self.mirror, spent)
        {
            mirror.give_back(spent, ask.at);
        }
        running
    }

    #[inline]
    fn take_place(&self, ask: &Ask<'_>) -> Option<Running> {
        if self.trial && !self.cell.trial().begin() {
            return None;
        }
        let running = self.cell.calls.enter(self.concurrency, ask.at);
        if running.is_none() && self.trial {
            self.cell.trial().end();
        }
        running
    }

    /// Whether running calls are in the way.
    fn is_taken(&self) -> bool {
        (self.trial && self.cell.trial().is_running())
            || self.concurrency.is_some_and(|limit| self.cell.calls.running() >= limit)
    }

    /// Whether the end of a running call may let this one in.
    pub(crate) fn is_busy_for(&self, ask: &Ask<'_>) -> bool {
        ask.admits(self.able, self.key) && self.is_taken() && self.room_in(ask).is_ok()
    }

    /// Whether [`enter`](Self::enter) would succeed if nobody else came first.
    #[inline]
    pub(crate) fn is_open_to(&self, ask: &Ask<'_>) -> bool {
        ask.admits(self.able, self.key)
            && !self.is_taken()
            && (self.mirror.is_none() || matches!(self.room_in(ask), Ok(None)))
    }

    /// How long until its rates have room; `None` where they have. What else is in the way ends when
    /// a call does.
    pub(crate) fn room_in(&self, ask: &Ask<'_>) -> Result<Option<Duration>, Refused> {
        let Some(mirror) = &self.mirror else { return Ok(None) };
        let wait = mirror.wait_for(ask.want(), ask.at)?;
        Ok((!wait.is_zero()).then_some(wait))
    }
}
