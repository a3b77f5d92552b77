//! Which endpoint the next attempt goes to.
//!
//! A [`Balancer`] owns endpoints and gives out [`Lease`]s. It is a pure core (endpoint states that
//! take `now` and return decisions) behind a lock, with an immutable snapshot in front: picks read
//! the snapshot, and only an outcome that changes something takes the lock.
//!
//! **States.** Unhealthy (faults), cooling (rate limits), disabled (money, credentials) and draining
//! (an operator's wish) are four different things with four different ends, and
//! [`status`](Balancer::status) tells them apart, with why and until when.
//!
//! **Guarantees.** Traffic by weight is exact: any run of picks as long as the sum of the weights,
//! divided by their greatest common divisor, gives every endpoint exactly its weight, and replacing
//! the snapshot puts nobody more than two picks ahead or behind. An endpoint that asked to be left
//! alone is not picked before its time. Health never takes the last endpoint out, nor more than its
//! share of them. An endpoint that returns is tried by one attempt at a time, as long as others take
//! the rest. Rate limits and faulty requests never count against health.
//!
//! **Several instances** can tell one another what providers say of the accounts they share: see
//! [`facts`]. Only this takes a task, one a balancer, and no pick waits for it.
//!
//! **Not guaranteed.** Under concurrency, picks that race with a change of the snapshot may use the
//! old one.
//!
//! **Cost.** A pick by weight is two atomic loads, a model look-up that is logarithmic in the number
//! of models, one atomic increment and a table read; no lock, no allocation. A change of state costs
//! time linear in endpoints times models, once.

mod averages;
mod balancer;
mod block;
mod breaker;
mod builder;
mod calls;
mod cell;
mod chooser;
mod config;
mod demand;
mod endpoint;
pub mod facts;
mod health;
mod lease;
mod limits;
mod listeners;
mod load;
mod member;
mod mirror;
mod model_names;
mod probe;
mod quote;
mod registry;
mod snapshot;
mod state;
mod status;
mod strategy;

pub use balancer::Balancer;
pub use breaker::BreakerPolicy;
pub use builder::BalancerBuilder;
pub use config::{BalancerConfig, EndpointConfig, StrategyName};
pub use demand::{Demand, EndpointKey, NoLease};
pub use endpoint::Endpoint;
pub use health::HealthPolicy;
pub(crate) use lease::Headers;
pub use lease::Lease;
pub use limits::EndpointLimits;
pub use listeners::Subscription;
pub use quote::Quote;
pub use state::Condition;
pub use status::EndpointStatus;
pub use strategy::{Candidate, Candidates, Strategy, StrategyKind};
