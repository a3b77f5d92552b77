//! Providers for the two wires that carry most traffic, and an embedder that needs no wire.
//!
//! * `openai`: chat completions and embeddings, for OpenAI and every compatible server.
//! * `anthropic`: the messages API.
//! * `model2vec`: embeddings in process, from a static model in a local directory.
//!
//! The first two share one transport and keep the same promises:
//!
//! * **One attempt.** Nothing is retried here; a connection is reused, a request is not.
//! * **Nothing runs in the background.** A response is read when its future or stream is polled, and
//!   dropping that closes the connection, which cancels the generation upstream.
//! * **Everything a server sends is bounded and untrusted**: bodies, lines, events, error pages. What
//!   breaks a bound is [`ErrorKind::Malformed`](crate::ErrorKind::Malformed); headers without end are
//!   no HTTP and so [`ErrorKind::Transport`](crate::ErrorKind::Transport).
//! * **Memory follows what was received**, decompressed and within its bound: a call holds at most four
//!   times as much and 256 KiB. Content blocks of kinds that this crate has no word for are kept as
//!   trees of JSON, for which there are three mebibytes more, and so is
//!   [`ChatResponse::raw`](crate::ChatResponse::raw), which takes up to 85 times its text. The buffers
//!   of TLS come on top, some 50 KiB a connection.
//! * **Keys stay with their host.** They are never printed, never follow a redirect to another
//!   origin, never cross a network in the clear unless that is allowed, and are cut out of whatever a
//!   server says before it becomes an error.

#[cfg(feature = "__http")]
pub(crate) mod http;

#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;

#[cfg(feature = "anthropic")]
#[cfg_attr(docsrs, doc(cfg(feature = "anthropic")))]
pub mod anthropic;
#[cfg(feature = "model2vec")]
#[cfg_attr(docsrs, doc(cfg(feature = "model2vec")))]
pub mod model2vec;
#[cfg(feature = "openai")]
#[cfg_attr(docsrs, doc(cfg(feature = "openai")))]
pub mod openai;

#[cfg(feature = "anthropic")]
pub use anthropic::Anthropic;
#[cfg(feature = "__http")]
pub use http::bounds::HttpBounds;
#[cfg(feature = "model2vec")]
pub use model2vec::Model2Vec;
#[cfg(feature = "openai")]
pub use openai::OpenAi;
