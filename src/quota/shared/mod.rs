//! Limits that several instances share, in a store.
//!
//! A limiter without one has none of this. With one, a call is a [`Ticket`]: what it took from leases,
//! from the store, or from this instance's share while the store is away. What it used is left in an
//! outbox; the work beside the calls tells the store, and does everything else that no caller should
//! wait for. What is promised is said where it is configured: [`SharedQuota`].

mod asking;
mod config;
mod debts;
mod lease;
mod line;
mod link;
mod names;
mod outbox;
mod share;
mod ticket;
mod work;

pub use config::SharedQuota;
pub(crate) use line::reserve;
pub(crate) use link::Link;
pub use link::SharedState;
pub(crate) use ticket::Ticket;
