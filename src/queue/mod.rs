//! Who goes next when calls have to wait.
//!
//! A [`RequestQueue`] stands in front of a [`Gate`], and knows nothing of what is behind it. A call
//! that finds nobody waiting asks the gate itself; otherwise it lines up. Whoever frees something
//! asks the gate for the waiter whose turn it is and hands over what it gives.
//!
//! **Order.** Calls that have passed before go first. Then classes: interactive, normal, batch; a
//! class counts as one higher with every aging step that its next call has waited. Within a class the
//! tenant that was served the fewest tokens for its weight goes next; within a tenant the earliest
//! deadline. Lanes do not hold one another up.
//!
//! **Guarantees.**
//! - Of two tenants that both have calls waiting in one class and lane, neither is ahead, in tokens for
//!   its weight, by more than twice what the largest call and the running calls make up. Staying away
//!   saves nothing up, and leaving for a moment makes nobody forget.
//! - Nobody waits past its deadline, nor for a gate that names a later instant.
//! - No class starves: the next call of each rises by one class with every step.
//! - Nothing is idle while somebody waits who is asked for and fits: the first sixteen tenants in
//!   order, until one has waited for so long that it may no longer be passed. For a third of a second
//!   after a gate was closed for a second or more, calls are let through in growing steps.
//! - A call that starts after another lined up does not overtake it.
//! - A dropped future leaves nothing behind; what it was granted goes to the next. What is granted and
//!   not claimed within a second goes to the next as well.
//! - A gate that panics does so at the call it was asked for.
//! - After a drain nobody waits any more.
//!
//! **Not guaranteed.** The expected wait is an estimate; before the first two seconds of waiting there
//! is none. Fairness is in what was expected until a call settles. Calls that pass without waiting are
//! not charged, for they keep nobody waiting when they pass; what they hold counts as running. Two
//! waiters that hold the timer and are both never polled stall what opens by itself, until anybody
//! comes, goes, or reaches its deadline. More than 4,096 tenants that have left are forgotten, those
//! that left first.
//!
//! **Cost.** Without waiters: one clock read, the gate, and four atomic steps; no lock, no allocation.
//! With waiters: logarithmic in tenants and waiters, under one lock; one allocation for a waiter and
//! those of ordered sets. Among ten thousand tenants a hand-over takes about twice as long as among
//! ten. It takes about six times as long as one of tokio's semaphore, which knows neither deadlines
//! nor tenants: `benches/ratios.rs` measures both. No task, no polling: one waiter holds the timer,
//! another a backup.

mod adaptive;
mod builder;
mod by_number;
mod dispatch;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;
mod drain;
mod fair;
mod gate;
mod inner;
mod lane;
mod line;
mod pace;
mod place;
mod refused;
mod request_queue;
mod room;
mod seats;
mod settings;
mod slot;
mod state;
mod tenants;
mod waiter;

pub use adaptive::AdaptivePolicy;
pub use builder::QueueBuilder;
pub use gate::{Gate, Passage};
pub use place::Place;
pub use refused::{Refused, Scope};
pub use request_queue::{QueueStats, RequestQueue};
pub use settings::QueueSettings;
pub use slot::Slot;
