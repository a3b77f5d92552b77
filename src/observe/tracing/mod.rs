//! Spans: one for each call, and one for each of its attempts.
//!
//! ```
//! use evenkeel::observe::tracing::Spans;
//! use evenkeel::{ChatResponse, Endpoint, LlmClient, provider_fn};
//!
//! let client = LlmClient::builder()
//!     .endpoint(Endpoint::new(provider_fn("eu", |_, _| async {
//!         Ok(ChatResponse::text_only("Bonjour"))
//!     })))
//!     .observer(Spans::new())
//!     .build()?;
//! # Ok::<(), evenkeel::BuildError>(())
//! ```
//!
//! A call's span lasts from the call to its end, retries and streaming included, and is a child of
//! the span the application is in when it makes the call. Attempts are its children. Retries,
//! fallbacks, what quotas, queue and cache decide are events in it; what happens to endpoints and
//! stores are events of their own. Attributes are those of OpenTelemetry for generative AI, see
//! [`names`](crate::observe::names).
//!
//! Spans are not entered: the crate does its work wherever it is polled. A provider that wants its own
//! spans below an attempt's, or to hand a trace on to its backend, asks [`Spans::attempt`] with the
//! numbers in its [`CallContext`](crate::CallContext).
//!
//! A span ends when what it is of ends: also when the call's future or stream is dropped.

mod fields;
mod spans;

pub use spans::Spans;
