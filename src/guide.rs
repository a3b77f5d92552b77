//! Pages that explain one subject each, from end to end.

#[doc = include_str!("guide/balancing.md")]
pub mod balancing {}

#[doc = include_str!("guide/quotas_and_queueing.md")]
pub mod quotas_and_queueing {}

#[doc = include_str!("guide/caching.md")]
pub mod caching {}

#[doc = include_str!("guide/observability.md")]
pub mod observability {}

#[doc = include_str!("guide/many_instances.md")]
pub mod many_instances {}
