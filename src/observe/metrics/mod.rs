//! Counters, gauges and histograms, through the `metrics` facade.
//!
//! ```
//! use evenkeel::observe::metrics::Metrics;
//! use evenkeel::{ChatResponse, Endpoint, LlmClient, provider_fn};
//!
//! // The application installs a recorder first, such as an exporter for Prometheus.
//! let metrics = Metrics::new();
//! let client = LlmClient::builder()
//!     .endpoint(Endpoint::new(provider_fn("eu", |_, _| async {
//!         Ok(ChatResponse::text_only("Bonjour"))
//!     })))
//!     .observer(metrics.clone())
//!     .build()?;
//!
//! // Whenever the metrics are scraped: what no event tells, such as the depth of the queue.
//! metrics.sample(&client.stats());
//! # Ok::<(), evenkeel::BuildError>(())
//! ```
//!
//! **Two views.** The `gen_ai.client.inference.*` instruments have one record an attempt, as if the
//! provider's own SDK were instrumented. The `llm_*` ones tell what the crate adds: calls as their
//! callers see them, with waiting and retries; and its decisions.
//!
//! **Exporters.** Histograms need the boundaries of [`buckets`]: most exporters know none of their
//! own. With `metrics-exporter-prometheus`, set them, and switch its recommended naming on, which adds
//! the suffixes `_seconds` and `_total` where the conventions' names lack them.
//!
//! **Cardinality.** A label has at most [`MOST_VALUES`] values; what has no room is `_other`, and
//! counted. Labels multiply, so a metric has at most [`MOST_SERIES`] series as well; in what would be
//! more, endpoint, provider, model, level and tenant are `_other`. Models are those that endpoints are configured with, and those that
//! [`Metrics::allow_model`] names: a name that callers make up is `_other`. There is no label for
//! tenants, unless [`Metrics::with_tenants`] asks for one.
//!
//! **Cost.** Each record looks its series up in the recorder. A call with one attempt makes about
//! twenty, and each chunk of content one more.

mod attempts;
pub mod buckets;
mod calls;
mod endpoints;
mod instruments;
mod labels;
mod observer;
mod records;
mod sample;
mod series;
mod tenants;

pub use labels::MOST_VALUES;
pub use observer::Metrics;
pub use series::MOST_SERIES;
