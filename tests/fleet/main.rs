//! Four processes on one Redis: what instances promise together holds while they, and Redis, are killed.
//!
//! The processes are this very test binary, started again with one test and an environment that says
//! what to do. Each writes down what it is let do as it happens, so that nothing is lost with it, and
//! the laws are checked offline, on the records of all of them. `FLEET_SECONDS` sets how long the
//! calls go on: 10 unless set, for each of the two ways of asking.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is a test that fails")]

mod calls;
mod flight;
mod process;
mod records;
#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../stores_redis/server.rs"]
mod server;
mod windows;

/// One fleet at a time: a store that is not answered within its deadline is one that failed.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a process does that was started as an instance. Without the environment of one, nothing.
#[test]
fn an_instance() {
    match process::part() {
        Some(part) if part.role == calls::ROLE => calls::run(&part),
        Some(part) if part.role == flight::ROLE => flight::run(&part),
        Some(part) => panic!("there is no part {:?}", part.role),
        None => {}
    }
}
