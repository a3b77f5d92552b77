//! Pages that explain one subject each, from end to end.

#[doc = include_str!("guide/getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("guide/migration.md")]
pub mod migration {}

#[doc = include_str!("guide/providers.md")]
pub mod providers {}

#[doc = include_str!("guide/configuration.md")]
pub mod configuration {}

#[doc = include_str!("guide/balancing.md")]
pub mod balancing {}

#[doc = include_str!("guide/quotas_and_queueing.md")]
pub mod quotas_and_queueing {}

#[doc = include_str!("guide/caching.md")]
pub mod caching {}

#[doc = include_str!("guide/observability.md")]
pub mod observability {}

#[cfg(feature = "test-util")]
#[doc = include_str!("guide/streaming.md")]
pub mod streaming {}

#[cfg(feature = "test-util")]
#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("guide/limits_and_non_goals.md")]
pub mod limits_and_non_goals {}

#[doc = include_str!("guide/performance.md")]
#[doc = include_str!("guide/path.svg")]
pub mod performance {}

#[doc = include_str!("guide/many_instances.md")]
pub mod many_instances {}
