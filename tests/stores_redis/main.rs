//! What instances share on Redis, against real servers that each test starts for itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod laws;
mod server;
mod support;
