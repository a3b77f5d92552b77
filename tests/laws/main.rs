//! What the whole client promises, each promise a test with its name.
//!
//! All on paused time: a test that lets a minute pass takes no time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod caching;
mod cancellation;
mod changes;
mod contention;
mod deadlines;
mod doubles;
mod draining;
mod estimates;
mod fallbacks;
mod flights;
mod health;
mod hedging;
mod leases;
mod limits;
mod listeners;
mod observing;
mod outcomes;
mod panics;
mod queueing;
mod quotas;
mod retries;
mod secrets;
mod shared_quotas;
mod shared_stores;
mod sharing;
#[path = "../cache/stores.rs"]
mod stores;
mod strategies;
mod streams;
mod weights;
