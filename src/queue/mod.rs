//! Who goes next when calls have to wait.
//!
//! A [`RequestQueue`] stands in front of a [`Gate`], and knows nothing of what is behind it. A call
//! that finds nobody waiting asks the gate itself; otherwise it lines up. Whoever frees something
//! asks the gate for the waiter whose turn it is and hands over what it gives.
//!
//! **Order.** Classes first: interactive, normal, batch; a call that waits rises by one class with
//! every aging step. Within a class the tenant that was served the fewest tokens for its weight goes
//! next; within a tenant the earliest deadline. Lanes do not hold one another up.
//!
//! **Guarantees.** Two tenants that both have calls waiting are served alike, in tokens for their
//! weight, to within what one call and the running calls make up. Nobody gains by staying away.
//! Nobody waits past its deadline, nor lines up for a wait it has not the time for. No class starves.
//! Nothing idles while somebody waits who could use it. A call that starts after another lined up
//! does not overtake it. A dropped future leaves nothing behind.
//!
//! **Not guaranteed.** The expected wait is an estimate; before the first calls have passed there is
//! none. Fairness is in what was expected until a call settles.
//!
//! **Cost.** Without waiters: one atomic load, the gate, and two atomic additions. With waiters:
//! logarithmic in tenants and waiters, under one lock. No task, no polling: the first waiter of a
//! lane holds its timer, the second a backup.

mod adaptive;
mod builder;
mod by_number;
mod dispatch;
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
