//! Scale an LLM-powered service from one instance to high availability, in process.
//!
//! One [`LlmClient`] stands in front of any number of LLM providers. A call is
//!
//! ```text
//! complete(request) -> response        stream(request) -> chunks
//! ```
//!
//! and on its way it leases an endpoint by weight, is retried elsewhere where that is right, ends by
//! its deadline, and settles exactly what it took. No proxy and no global state; nor a background
//! task, unless instances [share](client::LlmClientBuilder::shared) what they know.
//!
//! # Getting started
//!
//! ```
//! use evenkeel::{ChatRequest, ChatResponse, Endpoint, LlmClient, provider_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let eu = provider_fn("eu", |_, _| async { Ok(ChatResponse::text_only("Bonjour")) });
//! let us = provider_fn("us", |_, _| async { Ok(ChatResponse::text_only("Hello")) });
//!
//! let client = LlmClient::builder()
//!     .endpoint(Endpoint::new(eu).weight(3))
//!     .endpoint(Endpoint::new(us))
//!     .build()?;
//!
//! let done = client.complete(ChatRequest::new("any").user("Greet me")).await?;
//! assert_eq!(done.text(), "Bonjour");
//! assert_eq!(done.report.attempts.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Where things are
//!
//! * [`client`]: the client, its builder, the stream it returns, the retry policy.
//! * [`balance`]: which endpoint an attempt goes to; usable without a client.
//! * [`cache`]: answers that are used again, for identical and for equivalent questions; usable without
//!   a client.
//! * [`vector`]: vectors compared, and an exact index of those most similar to another.
//! * [`provider`]: the [`Provider`] trait for your own backends, and closures as providers.
//! * [`request`], [`response`], [`chunk`], [`usage`], [`options`]: the vocabulary.
//! * [`quota`], [`queue`]: what each tenant may use, and who goes first when calls have to wait.
//! * [`error`], [`admission`]: how calls and attempts fail; [`outcome`]: the one table of what a failure leads to.
//! * [`report`]: who served a call, what was tried, and how long each part took.
//! * [`remote`]: the deadline and the breaker in front of every store that instances share.
//! * [`event`]: every decision, for an observer of yours.
//! * [`config`]: a whole client as a configuration file describes it.
//! * [`histogram`]: how durations are distributed, as the client's statistics tell.
//! * [`duration`]: durations as configuration files spell them, for your own files too.
//! * [`time`] and [`rng`]: the only doors to the clock and to randomness, so that tests replay.
//! * [`guide`]: one page for each subject, from end to end.
//!
//! # Features
//!
//! All off by default; each only adds modules.
//!
//! * `openai`: `providers::OpenAi` and `providers::OpenAiEmbedder`, also for compatible servers.
//! * `anthropic`: `providers::Anthropic`.
//! * `redis`: `stores::redis`, what instances share on Redis or Valkey.
//! * `postgres`: `stores::postgres`, the semantic index that instances share on PostgreSQL with pgvector.
//! * `tower`: `interop::tower`, a client as a service and a service as a provider.
//! * `tracing`: `observe::tracing`, a span for each call and each attempt.
//! * `metrics`: `observe::metrics`, through the `metrics` facade.
//! * `test-util`: `testing`, doubles and a conformance suite for your own tests.
#![cfg_attr(docsrs, feature(doc_cfg))]

// L0: nouns that import nothing of the crate.
mod address;
pub mod duration;
pub mod histogram;
pub mod rng;
mod sync;
pub mod time;

// L1: the vocabulary.
pub mod admission;
pub mod chunk;
mod document;
pub mod error;
pub mod event;
pub mod options;
pub mod outcome;
pub mod rate;
pub mod rate_limits;
pub mod remote;
pub mod report;
pub mod request;
pub mod response;
pub mod usage;

// L2: the traits users implement.
pub mod embed;
pub mod provider;

// L3: mechanisms that do not know one another.
pub mod balance;
pub mod cache;
pub mod queue;
pub mod quota;
pub mod vector;

// L4: the composition.
pub mod client;

// L5: adapters, over what anybody could use.
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod interop;
#[cfg(any(feature = "tracing", feature = "metrics"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "tracing", feature = "metrics"))))]
pub mod observe;
#[cfg(any(feature = "__http", feature = "model2vec"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "openai", feature = "anthropic", feature = "model2vec"))))]
pub mod providers;
#[cfg(feature = "__stores")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "redis", feature = "postgres"))))]
pub mod stores;

// What an application writes in a file: the only module that names both the client and the wires.
pub mod config;

// L6: what services are tested with.
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod testing;

// Pages, no code.
pub mod guide;

pub use async_trait::async_trait;

pub use balance::{Balancer, Endpoint};
pub use cache::SemanticCache;
pub use chunk::{Chunk, ChunkStream};
pub use client::{CompletionStream, LlmClient};
pub use embed::{Embedder, Embedding};
pub use error::{BuildError, Error, ErrorKind, ProviderError};
pub use event::{Event, Observer};
pub use options::{CacheControl, Call, CallOptions, HitPace, Priority, TenantId, Timeouts};
pub use provider::{CallContext, Capabilities, Provider, provider_fn};
pub use queue::RequestQueue;
pub use quota::{Limits, QuotaLimiter};
pub use report::{CallReport, EndpointId, ServedBy};
pub use request::{ChatRequest, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
pub use response::{ChatResponse, Completion, FinishReason};
pub use usage::{Cost, Price, Usage};

#[cfg(all(doctest, feature = "openai", feature = "anthropic"))]
#[doc = include_str!("../README.md")]
struct Readme;
