//! What quotas promise, each promise a test with its name.
//!
//! Instants are passed in or paused: no test waits for anything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod absurd;
mod accounts;
mod changes;
mod eviction;
mod faulty;
mod fleet;
mod levels;
mod model;
mod shared;
#[cfg(feature = "test-util")]
mod stores;
mod support;
mod waiting;
mod windows;
