//! The crate beside what other libraries call a request and an answer.
//!
//! * `tower`: a client as a [`tower_service::Service`], and a service as a provider.

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
