//! What a call costs more through a gateway, and through evenkeel in process.
//!
//! Everything calls one server on loopback that always answers the same. A gateway's cost is the CPU
//! time of its processes; the cost in process is what a call through the client takes more than the
//! same call by the bare HTTP client. `run.sh` beside this crate starts the servers.

pub mod alloc;
pub mod candidate;
pub mod clock;
pub mod figures;
pub mod http;
pub mod in_process;
pub mod load;
pub mod question;
