//! Scale an LLM-powered service from one instance to high availability, in process.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod chunk;
pub mod embed;
pub mod error;
pub mod event;
pub mod options;
pub mod outcome;
pub mod provider;
#[cfg(feature = "__http")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "openai", feature = "anthropic"))))]
pub mod providers;
pub mod rate_limits;
pub mod report;
pub mod request;
pub mod response;
pub mod rng;
mod sync;
pub mod time;
pub mod usage;

pub use async_trait::async_trait;

pub use chunk::{Chunk, ChunkStream};
pub use embed::{Embedder, Embedding};
pub use error::{BuildError, Error, ErrorKind, ProviderError};
pub use event::{Event, Observer};
pub use options::{CacheControl, Call, CallOptions, Priority, TenantId, Timeouts};
pub use provider::{CallContext, Capabilities, Provider, provider_fn};
pub use report::{CallReport, EndpointId, ServedBy};
pub use request::{ChatRequest, Message, Part, ResponseFormat, Role, Tool, ToolCall, ToolChoice};
pub use response::{ChatResponse, Completion, FinishReason};
pub use usage::{Cost, Usage};
