//! Both ways between this crate and [`tower_service::Service`].
//!
//! * [`LlmClient`](crate::LlmClient) is a `Service<Call, Response = Completion>`, so that any layer
//!   stands around it, and [`StreamingService`] is the same for streams.
//! * [`ServiceProvider`] makes a [`Provider`](crate::Provider) of any
//!   `Service<ChatRequest, Response = ChatResponse>` that can be cloned: a stack of layers around an
//!   SDK becomes an endpoint.
//!
//! **Readiness.** A client is ready until it is closed. Whether a call would have to wait depends on
//! its model, tenant and priority, which a service is not told before the call: so the client's own
//! queue and quotas act inside the future, and readiness promises no more than that calls are taken.
//! A layer that counts or sheds calls, such as a limit on concurrency, belongs around the client only
//! where every call is alike.
//!
//! **Cancellation.** Dropping a future or a stream cancels the call, as everywhere in this crate;
//! a time-out layer needs nothing else.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel::{Call, ChatResponse, Endpoint, LlmClient, provider_fn};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let client = LlmClient::builder()
//!     .endpoint(Endpoint::new(provider_fn("eu", |_, _| async {
//!         Ok(ChatResponse::text_only("Bonjour"))
//!     })))
//!     .build()?;
//!
//! let mut service = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(20))
//!     .concurrency_limit(64)
//!     .service(client);
//! let done = service.ready().await?.call(Call::from("Greet me")).await?;
//! assert_eq!(done.text(), "Bonjour");
//! # Ok::<(), tower::BoxError>(())
//! # }).unwrap();
//! ```

mod client;
mod provider;

pub use client::{CallFuture, StreamingService};
pub use provider::ServiceProvider;
