//! Single flight: identical calls that run at the same time share one upstream call.
//!
//! Whoever [joins](Flights::join) first under a key leads. It prepares the call (its own quota, its
//! own waits) and [launches](Leader::launch) the upstream work, which from then on belongs to the
//! flight. Everybody who joins meanwhile follows: it receives every item from the first one on, in
//! order, and then lives along.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use evenkeel::cache::flight::{Boarded, FlightBounds, Flights, Joined};
//! use evenkeel::time::{after, now};
//! use evenkeel::{Chunk, FinishReason};
//! use futures::StreamExt as _;
//! use futures::stream::{self, BoxStream};
//!
//! let flights: Flights<u128, Arc<Chunk>> = Flights::new(FlightBounds::default());
//! let deadline = after(now(), Duration::from_secs(30));
//!
//! let Joined::Lead(leader) = flights.join(7, deadline) else { unreachable!("nobody was there") };
//! let Joined::Follow(follower) = flights.join(7, deadline) else { unreachable!("one leads") };
//!
//! let chunks = [Chunk::text(0, "Bonjour"), Chunk::done(FinishReason::Stop)];
//! let upstream = stream::iter(chunks).map(|chunk| Ok(Arc::new(chunk))).boxed();
//! let leading = leader.launch(upstream);
//!
//! let Boarded::Ride(following) = follower.await else { unreachable!("the leader launched") };
//! assert_eq!(following.count().await, 2);
//! assert_eq!(leading.count().await, 2);
//! assert!(flights.is_empty());
//! # });
//! ```
//!
//! **No task.** The work runs while any participant is polled; whoever finds it ready polls it. Its
//! waker is the flight's own, so it does not matter who polled last: when the work wakes, the flight
//! wakes two of those who wait, and one of them goes on where the work stands. Two, so that a
//! participant which is alive and not polled holds nobody up on its own.
//!
//! **Leaving.** A participant may be dropped at any point and disturbs nobody; when the last one
//! leaves, the work is dropped before its `drop` returns. A leader that leaves without launching
//! hands its role to a follower.
//!
//! **Deadlines.** Nobody's deadline ends the work. Each participant leaves at its own, and the work
//! ends with the last; what the work decides by a deadline (whether to try again, how long to line
//! up), it decides by the latest that any participant brought, which its [`Horizon`] tells. To start
//! anew for a follower, when the leader's time is up, would pay twice for what is nearly there.
//!
//! **Failures.** The work's failure is everybody's, and its error is cloned to each: unless it is
//! the [leader's own](Failure::Own) and nothing was received yet; then a follower leads anew.
//!
//! **Memory.** The whole answer is kept for those who come late, up to a
//! [bound](FlightBounds::bytes). Beyond it the flight takes no more followers: the next call with
//! the key starts a flight of its own. Those on board go on, with the newest part of the answer kept
//! for them; whoever is further behind than the whole bound ends with [`FlightError::Lagged`].
//! Nobody slows anybody down.
//!
//! **Cost.** An item costs its receivers one short lock each, and whoever fetched it one wake-up for
//! each participant that waits. Nothing else grows with the participants.

mod bounds;
mod failure;
mod fleet;
mod flights;
mod follower;
mod horizon;
mod leader;
mod log;
mod participant;
mod piece;
mod seat;
mod shared;
mod state;
mod waiters;

#[cfg(all(test, not(evenkeel_loom)))]
mod laws;
#[cfg(all(test, evenkeel_loom))]
mod models;
#[cfg(all(test, not(evenkeel_loom)))]
mod schedules;
#[cfg(test)]
mod script;

pub use bounds::FlightBounds;
pub use failure::{Failure, FlightError};
pub use flights::{Flights, Joined};
pub use follower::{Boarded, Follower};
pub use horizon::Horizon;
pub use leader::{Leader, Upstream};
pub use participant::Participant;
pub use piece::{Key, Piece};
