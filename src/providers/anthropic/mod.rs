//! The messages API of Anthropic, and of the servers that speak it.
//!
//! ```no_run
//! use evenkeel::providers::Anthropic;
//!
//! # fn main() -> Result<(), evenkeel::BuildError> {
//! let plain = Anthropic::from_env()?;
//! let tuned = Anthropic::builder()
//!     .api_key("the key")
//!     .model("claude-sonnet-4-5")
//!     .max_tokens(16_000)
//!     .cache_system(true)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What the wire makes of a request
//!
//! * **System prompts** leave the conversation, wherever they stand in it, and become its `system`
//!   field, one block each and in order. Other content than text is refused there.
//! * **Turns** alternate between user and assistant: messages of one side in a row become one turn,
//!   tool results count as the user's and come first in theirs.
//! * **Reasoning** goes back with its signature, or encrypted as it came. Reasoning with neither is
//!   another wire's and is left out, like the opaque parts of other wires and empty texts, which
//!   the server refuses.
//! * **Tool arguments** must be a JSON object; none at all counts as an empty one. Their text is not
//!   rewritten.
//! * **Answers in JSON** need a schema. It is always strict here; its name is not sent. A request
//!   for just any JSON object is [`Unsupported`](crate::ErrorKind::Unsupported).
//! * **`max_tokens`** must be sent: where a request has no bound, the
//!   [provider's](AnthropicBuilder::max_tokens) is.
//! * **Not sent**, for there is no such field: `seed`, both penalties, an image's `detail`.
//! * **Base64 documents** must be PDFs. Documents by id may need the files
//!   [beta](AnthropicBuilder::beta).
//! * Everything else the API has (thinking budgets, service tiers, the server's own tools) goes
//!   through [`ChatRequest::extra`](crate::ChatRequest::extra).
//!
//! # What it makes of an answer
//!
//! * The wire counts cache reads and writes apart from the input; [`Usage`](crate::Usage) contains
//!   them in it.
//! * Blocks this crate has no word for (the server's own tools and their results, for instance)
//!   become [`Part::Opaque`](crate::request::Part::Opaque) and go back untouched in the next turn.
//!   Citations inside a text are dropped.

mod builder;
pub(super) mod decode;
pub(super) mod encode;
#[cfg(test)]
mod laws;
mod provider;
pub(super) mod stream;

pub use builder::AnthropicBuilder;
pub use provider::Anthropic;
