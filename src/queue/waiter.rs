//! One waiter, as its queue and its future share it.

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
    fn refuse(&self, why: Refused<std::convert::Infallible>);
    /// Takes back what was granted and not claimed.
    fn take_back(&self) -> Option<Box<dyn Send>>;
    /// Wakes its task.
    fn wake(&self);
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    Granted,
    NotBefore(Option<Instant>),
    Never,
}

/// One waiter.
pub(crate) struct Waiter<G: Gate> {
    gate: Arc<G>,
    inside: Mutex<Inside<G>>,
    waker: AtomicWaker,
}

struct Inside<G: Gate> {
    demand: G::Demand,
    outcome: Option<Result<G::Pass, Refused<G::Never>>>,
}

impl<G: Gate> Waiter<G> {
    pub(crate) fn new(gate: Arc<G>, demand: G::Demand) -> Self {
        let inside = Inside { demand, outcome: None };
        Self { gate, inside: Mutex::new(inside), waker: AtomicWaker::new() }
    }

    /// What the queue has decided, if it has.
    pub(crate) fn claim(&self) -> Option<Result<G::Pass, Refused<G::Never>>> {
        self.inside.lock().outcome.take()
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}

impl<G: Gate> Offer for Waiter<G> {
    fn offer(&self, now: Instant) -> Offered {
        let mut inside = self.inside.lock();
        match self.gate.try_pass(&inside.demand, now) {
            Passage::Pass(pass) => {
                inside.outcome = Some(Ok(pass));
                Offered::Granted
            }
            Passage::NotBefore(at) => Offered::NotBefore(at),
            Passage::Never(never) => {
                inside.outcome = Some(Err(Refused::Never(never)));
                Offered::Never
            }
        }
    }

    fn refuse(&self, why: Refused<std::convert::Infallible>) {
        self.inside.lock().outcome = Some(Err(match why {
            Refused::Full { scope, depth } => Refused::Full { scope, depth },
            Refused::WouldMissDeadline { eta } => Refused::WouldMissDeadline { eta },
            Refused::TimedOut { waited } => Refused::TimedOut { waited },
            Refused::Closed => Refused::Closed,
            Refused::Never(never) => match never {},
        }));
    }

    fn take_back(&self) -> Option<Box<dyn Send>> {
        let outcome = self.inside.lock().outcome.take();
        match outcome {
            Some(Ok(pass)) => Some(Box::new(pass)),
            other => {
                self.inside.lock().outcome = other;
                None
            }
        }
    }

    fn wake(&self) {
        self.waker.wake();
    }
}
