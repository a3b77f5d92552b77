//! A client as a service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use tower_service::Service;

use crate::client::{CompletionStream, LlmClient};
use crate::error::Error;
use crate::options::Call;
use crate::response::Completion;

/// A call on its way, started by a service. Dropping it cancels the call.
///
/// # Panics
/// As [`LlmClient::complete`].
#[must_use = "a call is made while it is polled"]
pub struct CallFuture<T>(BoxFuture<'static, Result<T, Error>>);

impl<T> Future for CallFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx)
    }
}

impl<T> fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture(..)")
    }
}

/// [Answers whole](LlmClient::complete). Ready until the client is closed; from then on
/// [`poll_ready`](Service::poll_ready) gives [`Error::Closed`], and the service stays so.
impl Service<Call> for LlmClient {
    type Response = Completion;
    type Error = Error;
    type Future = CallFuture<Completion>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        readiness(self)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let client = self.clone();
        CallFuture(async move { client.complete(call).await }.boxed())
    }
}

/// A client as a service that [answers in pieces](LlmClient::stream).
///
/// The response is the stream: a time-out layer bounds the time to the first content, not the whole
/// answer, and a limit on concurrency counts a call until then. For the whole answer there are
/// [`Timeouts`](crate::Timeouts) and the call's own deadline.
///
/// ```
/// use evenkeel::interop::tower::StreamingService;
/// use evenkeel::{Call, ChatResponse, Endpoint, LlmClient, provider_fn};
/// use tower::ServiceExt;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # let eu = provider_fn("eu", |_, _| async { Ok(ChatResponse::text_only("Bonjour")) });
/// let client = LlmClient::builder().endpoint(Endpoint::new(eu)).build()?;
/// let stream = StreamingService::new(client).oneshot(Call::from("Greet me")).await?;
/// assert_eq!(stream.into_completion().await?.text(), "Bonjour");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct StreamingService {
    client: LlmClient,
}

impl StreamingService {
    /// `client`, streaming.
    #[must_use]
    pub const fn new(client: LlmClient) -> Self {
        Self { client }
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &LlmClient {
        &self.client
    }
}

/// Ready until the client is closed, as [`LlmClient`] itself.
impl Service<Call> for StreamingService {
    type Response = CompletionStream;
    type Error = Error;
    type Future = CallFuture<CompletionStream>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        readiness(&self.client)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let client = self.client.clone();
        CallFuture(async move { client.stream(call).await }.boxed())
    }
}

fn readiness(client: &LlmClient) -> Poll<Result<(), Error>> {
    Poll::Ready(if client.is_closed() {
        Err(Error::Closed { trail: Box::default() })
    } else {
        Ok(())
    })
}
