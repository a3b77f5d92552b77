//! Chat completions and embeddings, for OpenAI and every compatible server.
//!
//! ```no_run
//! use evenkeel::providers::OpenAi;
//!
//! # fn main() -> Result<(), evenkeel::BuildError> {
//! // OPENAI_API_KEY, and OPENAI_BASE_URL and OPENAI_MODEL where they are set.
//! let openai = OpenAi::from_env()?;
//! // Any server that speaks the same wire.
//! let other = OpenAi::compatible("groq", "https://api.groq.com/openai/v1", "key")?;
//! // One without keys, on this machine.
//! let local = OpenAi::builder().id("local").base_url("http://127.0.0.1:8080/v1").build()?;
//! # Ok(())
//! # }
//! ```
//!
//! What the wire cannot carry is an [`Unsupported`](crate::ErrorKind::Unsupported) error before
//! anything is sent: images by id, documents by address, and anything but text in a tool's result.
//! Whether a tool failed has no place on this wire; say it in the result's text. Parts marked
//! [`Opaque`](crate::Part::Opaque) for `"openai"` are sent as content parts as they stand.
//!
//! A model that refuses in the wire's own `refusal` field answers with that text and the finish
//! reason `Other("refusal")`, so that no cache takes it for an answer.

mod builder;
pub(super) mod decode;
mod embeddings;
pub(super) mod encode;
mod provider;
pub(super) mod stream;
mod wire;

pub use builder::OpenAiBuilder;
pub use embeddings::OpenAiEmbedder;
pub use encode::{MaxTokensField, ReasoningField};
pub use provider::OpenAi;
