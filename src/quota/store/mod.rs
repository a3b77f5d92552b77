//! Quotas that several instances share.
//!
//! A [`QuotaStore`] keeps scopes where every instance reaches them, and answers with its own clock.
//! [`MemoryQuotaStore`] is the reference: what it does is what the words mean, and the suite
//! `testing::conformance::quota` (feature `test-util`) holds any other store to it.
//!
//! A [`QuotaLimiter`](crate::quota::QuotaLimiter) keeps its limits in this process, synchronously, and
//! no call waits for a future that a store would need. Given a
//! [`SharedQuota`](crate::quota::SharedQuota) it keeps them in its store instead.
//!
//! **Exactness.** A reservation takes from every scope of its demand or from none, and no order of
//! reservations and settlements of all instances together lets through more than a limiter of one
//! process would. A refund gives back at most what has not drained. Retry times are exact by the
//! store's clock. Asking twice with one id is asking once: an answer that was lost may be asked for
//! again, and a settlement that may have arrived may be sent again.
//!
//! **Failure.** A store that cannot be reached refuses nothing by itself: what happens then is each
//! limit's choice, see [`OnStoreFailure`].

mod contract;
mod memory;

pub use contract::{Demand, Grant, OnStoreFailure, QuotaStore, StoredScope, Verdict};
pub use memory::MemoryQuotaStore;
