//! What a queue stands in front of.

use crate::time::Instant;

/// Lets calls pass, or says when it will.
///
/// The queue knows nothing of what is behind it. It asks for the waiter whose turn it is, from
/// whichever thread frees something, under its lock: the answer has to be quick, and must not call
/// back into the queue.
pub trait Gate: Send + Sync + 'static {
    /// What a waiter asks for.
    type Demand: Send + 'static;
    /// What lets a call pass; dropping it gives it back.
    type Pass: Send + 'static;
    /// Why a demand can never be met.
    type Never: Send + 'static;

    /// Tries to let `demand` pass at `now`.
    fn try_pass(&self, demand: &Self::Demand, now: Instant) -> Passage<Self::Pass, Self::Never>;
}

/// What a gate answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passage<P, E> {
    /// It may pass.
    Pass(P),
    /// Not before an instant; `None` where only [`reopen`](super::RequestQueue::reopen) will tell.
    NotBefore(Option<Instant>),
    /// Never.
    Never(E),
}
