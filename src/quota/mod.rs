//! How much each tenant may use.
//!
//! A [`QuotaLimiter`] takes what a call is expected to use before it is made (*reserve*), counts what
//! goes beyond while it runs (*extend*), and corrects the account when it ends (*settle*). A
//! [`Reservation`] is a guard: dropped, it settles itself.
//!
//! Levels are the whole service, each tenant, each tenant on each model, and keys of your own; a
//! call takes from all that apply or from none. Dimensions are requests, input, output and total
//! tokens, money, and calls at once.
//!
//! **Guarantees.**
//! * In any window no more than burst plus refill is used, beyond what running calls use above their
//!   reservation: nothing with [`Estimate::Max`] and honest bounds. With [`Limit::strict`] burst and
//!   refill of a window are the amount.
//! * A budget is the sum of what was used, whatever the order in which calls end. A limit by rate is
//!   charged that much or more: a refund gives back only what time has not given back already, and of
//!   calls that end out of order some of it is kept (with a random order, a call in twelve waits longer).
//! * A refusal says exactly when the call fits, to the nanosecond, and "never" is not "not yet".
//! * A call takes from all levels that apply or from none, the narrowest first, so that a tenant that
//!   is refused by its own limits never stands in the way of others.
//! * Each reservation settles once, however it ends. It outlives a change of its limits: what it used
//!   is charged to the new ones, and what it did not use goes back.
//! * Calls that wait for a limit ([`OnLimit::Wait`]) pass in the order they came, per tenant, and miss
//!   nothing that is given back.
//! * Forgetting an idle tenant cannot be noticed. What is kept is bounded by
//!   [`most_scopes`](QuotaBuilder::most_scopes).
//!
//! **Not guaranteed.**
//! * The passing charge of a call that another level refuses may refuse a third one for an instant.
//! * Tenants that wait for a limit they share are served in no order: a queue is for that.
//! * What streams beyond its reservation and is counted lower at the end goes back only as far as the
//!   reservation's own part has not drained.
//! * Debts stop growing at ten thousand bursts or more; a call that lies cannot lock a tenant out for
//!   longer than these take to drain.
//! * Limits are this process's own, unless it is given a [`SharedQuota`]: that says what is promised
//!   of limits that several instances share.
//!
//! **Cost.** For each level: a look-up in a sharded map, whose lock is held for that look, a counter,
//! and a compare-and-swap a limit; budgets by calendar take a short lock. No lock is held across a
//! call. Nothing is allocated for a known tenant with up to four limits in all and one budget. A tenant
//! with up to two limits takes 132 bytes (a million of them). On one core of an EPYC, `now` passed in,
//! reserve and settle of two limits take about 100 ns for one tenant, 80 through a [`TenantHandle`], 180
//! among ten thousand and 1.3 us among a million, where every tenant is a cache miss. A pair of keyed
//! checks of the `governor` crate, which can neither settle nor refund,
//! takes half of that for one tenant and as much among a million: `cargo bench --bench ratios`, rows
//! `quota_*`.

mod amounts;
mod budget;
mod builder;
mod denied;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;
mod estimate;
mod held;
mod key;
mod limiter;
mod limits;
#[cfg(all(test, evenkeel_loom))]
mod models;
mod plan;
mod reservation;
mod scope;
mod scopes;
mod shared;
pub mod store;
mod succession;
mod turnstile;

pub use amounts::Amounts;
pub use budget::{Budget, Period};
pub use builder::QuotaBuilder;
pub use denied::{Denied, Level, Reason};
pub use estimate::Estimate;
pub use limiter::{QuotaLimiter, TenantHandle, TenantUsage, Whose};
pub use limits::{Dimension, Limit, Limits, OnLimit, Refill};
pub use reservation::Reservation;
pub use shared::{SharedQuota, SharedState};
