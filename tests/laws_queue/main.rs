//! What the queue promises, each promise a test with its name.
//!
//! Through the public interface and on paused time, over a gate of so many places or one that opens
//! when the test says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
#![expect(clippy::disallowed_methods, reason = "the tests are the callers, and those have tasks")]

mod bounds;
mod cancellation;
mod closing;
mod fairness;
mod gates;
mod hand_over;
mod limits;
mod model;
mod order;
mod returning;
mod windows;
