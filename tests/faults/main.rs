//! The two wires over real sockets that misbehave.
//!
//! A proxy of our own stands between the client and a plain server; it delays, cuts, resets, stalls,
//! garbles and floods. Whatever it does, a call ends by its deadline, is a success only when the
//! terminal event came in full, holds no more memory than promised, leaves nothing open, and the
//! next call works.
//!
//! Time is real here: the paused clock moves on while the kernel still carries bytes, so a timeout
//! would fire before an answer that is on its way. The limits are tens of milliseconds where one is
//! meant to pass, and far away where none is; nothing waits only for time to go by.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has to stop")]

mod allocator;
mod caller;
mod cuts;
mod floods;
mod nonsense;
mod outgoing;
mod proxy;
mod redirects;
mod rig;
mod silence;
mod upstream;
mod wire;
#[path = "../wire/server.rs"]
mod wire_server;
