//! Which endpoint the next attempt goes to.
//!
//! A [`Balancer`] owns endpoints and gives out [`Lease`]s. It is a pure core (endpoint states that
//! take `now` and return decisions) behind a lock, with an immutable snapshot in front: picks read
//! the snapshot, and only an outcome that changes something takes the lock.
//!
//! **Guarantees.** Traffic follows the weights exactly: any run of picks as long as the sum of the
//! weights, divided by their greatest common divisor, gives every endpoint exactly its weight, and
//! replacing the snapshot puts nobody more than two picks ahead or behind. An endpoint that asked
//! to be left alone is not picked before its time. Health never takes the last endpoint out.
//!
//! **Not guaranteed.** Under concurrency, picks that race with a change of the snapshot may use the
//! old one.
//!
//! **Cost.** A pick is two atomic loads, a model look-up that is logarithmic in the number of
//! models, one atomic increment and a table read; no lock, no allocation.

mod balancer;
mod cell;
mod demand;
mod endpoint;
mod health;
mod lease;
mod registry;
mod schedule;
mod snapshot;
mod state;
mod status;

pub use balancer::{Balancer, BalancerBuilder};
pub use demand::{Demand, EndpointKey, NoLease};
pub use endpoint::Endpoint;
pub use health::HealthPolicy;
pub use lease::Lease;
pub use state::Condition;
pub use status::EndpointStatus;
