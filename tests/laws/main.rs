//! What the whole client promises, each promise a test with its name.
//!
//! All on paused time: a test that lets a minute pass takes no time.

mod cancellation;
mod deadlines;
mod doubles;
mod retries;
mod secrets;
mod streams;
mod weights;
