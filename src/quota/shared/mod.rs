//! Limits that several instances share, in a store.

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
