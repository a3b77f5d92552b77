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
//! **Guarantees.** In any window no more than burst plus refill is used, beyond what running calls
//! use above their reservation, which is nothing with [`Estimate::Max`] and honest bounds. A refusal
//! says exactly when the call fits. "Never" is not "not yet". A refund gives back only what time has
//! not given back already. Forgetting an idle tenant cannot be noticed.
//!
//! **Not guaranteed.** A refused call's passing charge may refuse another one for an instant. Limits
//! are this process's own.
//!
//! **Cost.** A reservation is one map look-up a level and one compare-and-swap a limit; no lock is
//! held, and for a known tenant nothing is allocated. A tenant with two limits takes about 140 bytes.

mod amounts;
mod budget;
mod builder;
mod denied;
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
pub mod store;
mod succession;
mod turnstile;

pub use amounts::Amounts;
pub use budget::{Budget, Period};
pub use builder::QuotaBuilder;
pub use denied::{Denied, Level, Reason};
pub use estimate::Estimate;
pub use limiter::{QuotaLimiter, TenantHandle, TenantUsage, Whose};
pub use limits::{Dimension, Limit, Limits, OnLimit};
pub use reservation::Reservation;
