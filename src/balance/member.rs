//! An endpoint as a pick for a certain model.

use std::sync::Arc;
use std::time::Duration;

use crate::balance::calls::Running;
use crate::balance::cell::EndpointCell;
use crate::balance::chooser::Ask;
use crate::balance::lease::Lease;
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
    pub(crate) fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Lease> {
        if !ask.demand.admits(&self.cell) || (self.trial && !self.cell.trial().begin()) {
            return None;
        }
        let Some((running, spent)) = self.enter(ask) else {
            if self.trial {
                self.cell.trial().end();
            }
            return None;
        };
        Some(Lease::new(Arc::clone(self), running, spent, ask.at))
    }

    /// Takes a place and, where rates are limited, what the call is expected to use.
    #[inline]
    fn enter(&self, ask: &Ask<'_>) -> Option<(Running, Option<Spent>)> {
        let running = self.cell.calls.enter(self.concurrency, ask.at)?;
        let Some(mirror) = &self.mirror else { return Some((running, None)) };
        let spend = ask.demand.spend(ask.chooser.typical.output_tokens());
        match mirror.reserve(spend, ask.at) {
            Ok(spent) => Some((running, Some(spent))),
            Err(_) => {
                self.cell.calls.leave(running);
                None
            }
        }
    }

    /// Whether [`lease`](Self::lease) would succeed if nobody else came first.
    #[inline]
    pub(crate) fn is_open_to(&self, ask: &Ask<'_>) -> bool {
        ask.demand.admits(&self.cell)
            && !(self.trial && self.cell.trial().is_running())
            && self.concurrency.is_none_or(|limit| self.cell.calls.running() < limit)
            && (self.mirror.is_none() || matches!(self.room_in(ask), Ok(None)))
    }

    /// How long until its rates have room; `None` where they have. What else is in the way ends when
    /// a call does.
    pub(crate) fn room_in(&self, ask: &Ask<'_>) -> Result<Option<Duration>, Refused> {
        let Some(mirror) = &self.mirror else { return Ok(None) };
        let spend = ask.demand.spend(ask.chooser.typical.output_tokens());
        let wait = mirror.wait_for(spend, ask.at)?;
        Ok((!wait.is_zero()).then_some(wait))
    }
}
