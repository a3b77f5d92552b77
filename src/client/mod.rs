//! The client: one call's way through everything else.
//!
//! [`LlmClient`] is the only place that knows more than one mechanism. A call is a straight line:
//! take a place, lease an endpoint, attempt, retry where the outcome table allows it, settle. What
//! is acquired on the way is owned by guards: each attempt by one of its own, the call by one that
//! outlives them. They move into the returned stream, so that dropping the future or the stream at
//! any point is a complete cancellation.
//!
//! Two things lead off the line, both only where they are configured. A [`HedgePolicy`] starts a
//! second attempt beside one that is slow to show content; a [`Fallback`] goes on with another model
//! where a call cannot be served with its own.
//!
//! **Guarantees.** A call ends exactly once and by its deadline, which bounds retries, hedges and
//! fallbacks together. It is committed to an endpoint and a model at the first content, not before:
//! until then a failure may be retried elsewhere, from then on it may not. A response without its
//! terminal event is an error, never a success. Retries and hedges draw on one budget; falling back
//! does not, but every retry with the fallback model does.
//!
//! **Cancellation.** Every future and stream of this module may be dropped at any time.

mod acquire;
mod active;
mod attempt;
mod bill;
mod books;
mod builder;
mod caching;
mod caller;
mod contained;
mod fallback;
mod gate;
mod health;
mod hedge;
mod llm_client;
mod opening;
mod pace;
mod pipeline;
mod race;
mod recent_ttfts;
mod reserve;
mod retry;
mod settlement;
mod shared;
mod sharing;
mod stats;
mod stop;
mod stream;
mod tally;
mod terms;
mod until;
mod upstream;
mod visit;
mod watchdog;

pub use active::Drained;
pub use builder::LlmClientBuilder;
pub use fallback::{Fallback, FallbackOn};
pub use health::{Health, ModelHealth, OutOfService, StoreHealth};
pub use hedge::{HedgeDelay, HedgePolicy};
pub use llm_client::LlmClient;
pub use retry::RetryPolicy;
pub use shared::Shared;
pub use stats::{
    CallTotals, ClientStats, EndpointState, EndpointStats, ModelState, QueueTotals, QuotaTotals,
};
pub use stream::CompletionStream;
