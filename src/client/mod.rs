//! The client: one call's way through everything else.
//!
//! [`LlmClient`] is the only place that knows more than one mechanism. A call is a straight line:
//! take a place, lease an endpoint, attempt, retry where the outcome table allows it, settle. What
//! is acquired on the way is owned by one settlement, which moves into the returned stream, so that
//! dropping the future or the stream at any point is a complete cancellation.
//!
//! **Guarantees.** A call ends exactly once and by its deadline. It is committed to an endpoint at
//! the first content, not before: until then a failure may be retried elsewhere, from then on it may
//! not. A response without its terminal event is an error, never a success.
//!
//! **Cancellation.** Every future and stream of this module may be dropped at any time.

mod active;
mod attempt;
mod builder;
mod llm_client;
mod pipeline;
mod retry;
mod settlement;
mod stream;
mod upstream;
mod watchdog;

pub use active::Drained;
pub use builder::LlmClientBuilder;
pub use llm_client::LlmClient;
pub use retry::RetryPolicy;
pub use stream::CompletionStream;
