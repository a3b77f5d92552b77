//! How flights end without an answer.

/// Why the upstream work failed, as the work says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<E> {
    /// For everybody who shares the flight.
    Shared(E),
    /// For whoever launched it alone: its own deadline, its own quota. One of the others leads anew
    /// and launches work of its own. Once an item was received there is nothing to start anew, and
    /// it counts as shared.
    Own(E),
}

/// How a flight ended for a participant that did not receive the whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlightError<E> {
    /// The upstream work failed.
    #[error("{0}")]
    Upstream(E),
    /// The upstream work panicked.
    #[error("the shared call panicked")]
    Panicked,
    /// The upstream work ended without the last item of its answer.
    #[error("the shared call ended without its terminal event")]
    Unfinished,
    /// The participant fell further behind than the flight keeps items for. What it received before
    /// is whole; the others go on.
    #[error("fell too far behind the shared call")]
    Lagged,
}
