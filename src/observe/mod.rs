//! Adapters that show what the crate does: spans and metrics.
//!
//! Both are [observers](crate::Observer), and nothing else: they see what any observer sees. Neither
//! brings an exporter; they speak through the `tracing` and `metrics` facades, and the application
//! chooses who listens. Prompts and answers are in neither, nor are keys; tenants only where they are
//! asked for.
//!
//! Names follow the OpenTelemetry conventions for generative AI where these have one. The conventions
//! are still in development, so names may change in a minor release; all of them are in [`names`].

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
pub mod names;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod tracing;
