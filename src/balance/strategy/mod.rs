//! How one of the eligible endpoints is chosen.
//!
//! | strategy | chooses | cost of a pick over N endpoints |
//! |---|---|---|
//! | [`Weighted`](StrategyKind::Weighted) | by weight, exactly | flat |
//! | [`Adaptive`](StrategyKind::Adaptive) | the lowest expected time to a useful answer | flat: all up to 16, two draws above |
//! | [`LeastBusy`](StrategyKind::LeastBusy) | the fewest running calls for its weight | linear |
//! | [`Affinity`](StrategyKind::Affinity) | the same one for the same key | linear |
//! | [`Cheapest`](StrategyKind::Cheapest) | the lowest expected cost | linear |
//! | [`Custom`](StrategyKind::Custom) | as you say | yours |
//!
//! All of them see only endpoints that are in service, serve the model, can do what the call needs
//! and have room, tier by tier.

mod adaptive;
mod affinity;
mod candidate;
mod cheapest;
mod custom;
mod kind;
mod least_busy;
mod schedule;

pub use candidate::{Candidate, Candidates};
pub use custom::Strategy;
pub use kind::StrategyKind;

pub(crate) use kind::choose;
pub(crate) use schedule::Schedule;
