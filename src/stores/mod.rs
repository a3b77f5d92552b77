//! Engines that instances share: Redis for quotas, answers and facts, in clusters too; PostgreSQL for
//! the answers to similar questions.
//!
//! An adapter here implements the stores' traits, [`QuotaStore`](crate::quota::store::QuotaStore) and
//! its likes, for an engine that services already run. No type of a driver is in a signature. What
//! reaches an engine is hashed with a secret of the application's, so that nobody reads from it whose
//! limits these are, and sealed with it where it comes back.

#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;
mod envelope;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
