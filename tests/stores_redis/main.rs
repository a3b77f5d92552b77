//! What instances share on Redis, against real servers that each test starts for itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod cancellation;
mod clients;
mod faults;
mod laws;
mod proxy;
mod quotas;
mod secrets;
mod server;
mod support;
mod tampering;
