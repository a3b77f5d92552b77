//! Everything that can be polled, dropped after every number of polls: afterwards nothing is held,
//! nobody is worked for, and what was used is charged.
//!
//! The table says which test drops what, and a search of the source sees to it that none is missing.
//! Rows that need a server of their own are with its other tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod balancer;
mod cache;
mod client;
mod flight;
mod found;
mod house;
mod provider;
mod queue;
mod quota;
mod remote;
#[path = "../source/mod.rs"]
mod source;
mod table;

#[cfg(feature = "anthropic")]
mod anthropic;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "tower")]
mod tower;
#[cfg(any(feature = "anthropic", feature = "openai"))]
mod wire;

#[allow(dead_code, reason = "written for the laws, of which this uses a part")]
#[path = "../laws_quota/faulty.rs"]
mod faulty;
#[allow(dead_code, reason = "written for the laws, of which this uses a part")]
#[path = "../cache/stores.rs"]
mod stores;

use std::time::Duration;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass.
pub(crate) async fn pass(time: Duration) {
    evenkeel::time::sleep_until(evenkeel::time::now() + time).await;
}
