//! What a service is tested with: providers that do as they are told, and the laws of a provider.
//!
//! | to test | take |
//! |---|---|
//! | what your code does with an answer, an error, a cut or a silence | [`ScriptedProvider`] |
//! | how it holds up under load, limits and faults | [`SimulatedProvider`] |
//! | that it leaks nothing when its caller leaves | [`drop_at_every_poll`] |
//! | a provider you wrote | [`conformance::provider`] |
//!
//! Everything waits on [`crate::time`], so a test that pauses tokio's clock waits for nothing, and
//! everything random has a seed. No double opens a connection. The feature is `test-util`; it belongs
//! in `[dev-dependencies]`.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel::testing::{Answer, ScriptedProvider};
//! use evenkeel::{CallContext, ErrorKind, Provider, ProviderError};
//!
//! // The code under test: asks again when it was told to come back later.
//! async fn patient(backend: &dyn Provider, question: &str) -> Result<String, ProviderError> {
//!     let cx = CallContext::new(evenkeel::time::now() + Duration::from_secs(60));
//!     loop {
//!         match backend.complete(&question.into(), &cx).await {
//!             Ok(answer) => return Ok(answer.text()),
//!             Err(error) => match error.retry_after() {
//!                 Some(wait) => tokio::time::sleep(wait).await,
//!                 None => return Err(error),
//!             },
//!         }
//!     }
//! }
//!
//! // In a test of your own: #[tokio::test(start_paused = true)]
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! let backend = ScriptedProvider::new("main")
//!     .then(Answer::rate_limited(Duration::from_secs(20)))
//!     .then(Answer::text("yes").delay(Duration::from_millis(800)))
//!     .then(Answer::error(ErrorKind::Auth));
//! let start = evenkeel::time::now();
//!
//! assert_eq!(patient(&backend, "Is it?").await?, "yes");
//! assert!(evenkeel::time::now() - start >= Duration::from_millis(20_800));
//!
//! assert_eq!(patient(&backend, "Is it?").await.unwrap_err().kind(), ErrorKind::Auth);
//! assert_eq!(backend.recorded()[2].request.messages[0].text(), "Is it?");
//! assert_eq!(backend.counts().open, 0);
//! # Ok::<_, ProviderError>(()) }).unwrap();
//! ```

mod answer;
mod cancel;
pub mod conformance;
mod distribution;
mod failure;
mod faults;
mod generation;
mod limits;
mod meter;
mod scripted;
mod server;
mod settings;
mod simulated;

pub use answer::Answer;
pub use cancel::{drop_after_polls, drop_at_every_poll};
pub use distribution::Distribution;
pub use faults::Fault;
pub use limits::ServerLimits;
pub use meter::CallCounts;
pub use scripted::{RecordedAttempt, ScriptedProvider};
pub use server::SimulatedStats;
pub use simulated::{SimulatedBuilder, SimulatedProvider};
