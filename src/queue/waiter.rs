//! One waiter, as its queue and its future share it.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::task::AtomicWaker;

use crate::queue::gate::{Gate, Passage};
use crate::queue::refused::Refused;
use crate::sync::Mutex;
use crate::time::Instant;

/// A waiter whatever its gate.
pub(crate) trait Offer: Send + Sync {
    /// Asks the gate for it. What is granted stays with the waiter.
    fn offer(&self, now: Instant) -> Offered;
    /// Tells it that it will not be let through.
    fn refuse(&self, why: Refused<Infallible>);
    /// Takes back what was granted and not claimed.
    fn take_back(&self) -> Option<Box<dyn Send>>;
    /// Wakes its task.
    fn wake(&self);
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    Granted,
    /// It will never pass, and has been told so.
    Never,
    NotBefore(Option<Instant>),
}

/// One waiter.
pub(crate) struct Waiter<G: Gate> {
    gate: Arc<G>,
    inside: Mutex<Inside<G>>,
    waker: AtomicWaker,
}

struct Inside<G: Gate> {
    demand: G::Demand,
    decision: Option<Decision<G>>,
}

/// What became of a waiter.
pub(crate) enum Decision<G: Gate> {
    Pass(G::Pass),
    Refused(Refused<G::Never>),
    /// The gate panicked when it was asked: that is for the call it was asked for, and not for
    /// whoever happened to free something.
    Panicked(Box<dyn Any + Send>),
}

impl<G: Gate> Waiter<G> {
    pub(crate) fn new(gate: Arc<G>, demand: G::Demand) -> Self {
        let inside = Inside { demand, decision: None };
        Self { gate, inside: Mutex::new(inside), waker: AtomicWaker::new() }
    }

    /// What was decided, if it was.
    pub(crate) fn decision(&self) -> Option<Decision<G>> {
        self.inside.lock().decision.take()
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

impl<G: Gate> Offer for Waiter<G> {
    fn offer(&self, now: Instant) -> Offered {
        let mut inside = self.inside.lock();
        let asked = catch_unwind(AssertUnwindSafe(|| self.gate.try_pass(&inside.demand, now)));
        let (decision, offered) = match asked {
            Ok(Passage::Pass(pass)) => (Decision::Pass(pass), Offered::Granted),
            Ok(Passage::NotBefore(at)) => return Offered::NotBefore(at),
            Ok(Passage::Never(never)) => (Decision::Refused(Refused::Never(never)), Offered::Never),
            Err(panic) => (Decision::Panicked(panic), Offered::Never),
        };
        inside.decision = Some(decision);
        offered
    }

    fn refuse(&self, why: Refused<Infallible>) {
        self.inside.lock().decision = Some(Decision::Refused(why.into_any()));
    }

    fn take_back(&self) -> Option<Box<dyn Send>> {
        let mut inside = self.inside.lock();
        match inside.decision.take() {
            Some(Decision::Pass(pass)) => Some(Box::new(pass)),
            other => {
                inside.decision = other;
                None
            }
        }
    }

    fn wake(&self) {
        self.waker.wake();
    }
}
