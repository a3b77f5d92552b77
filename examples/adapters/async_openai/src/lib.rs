//! [`async_openai`] as a provider.
//!
//! For services that have configured that SDK already: its configuration (keys, Azure, proxies) stays,
//! and what it lacks comes from `evenkeel`. Where there is no such configuration, `evenkeel`'s own
//! `OpenAi` does more: bounds on what a server may send, rate limits read from good answers.
//!
//! * **One attempt.** The SDK retries up to three times by itself. Its service is replaced by one that
//!   sends once.
//! * **Failures keep their headers.** The SDK's own errors have lost them by the time they are seen, and
//!   `retry-after` is what a rate limit has to say; so the service makes the error.
//! * **A cut stream is no answer.** The SDK ends its stream in the same way whether `[DONE]` came or the
//!   connection broke. Complete is what named its finish reason.
//! * **Cancellation.** The SDK reads a stream in a task of its own, which ends once the stream is
//!   dropped.

mod answer;
#[path = "../../classify.rs"]
mod classify;
mod failure;
mod once;
mod request;
mod stream;

use std::sync::Arc;

use async_openai::Client;
use async_openai::config::Config;
use evenkeel::{
    CallContext, Capabilities, ChatRequest, ChatResponse, ChunkStream, Provider, ProviderError,
    async_trait,
};
use futures::StreamExt as _;
use serde_json::Value;

use crate::once::Once;
use crate::stream::Decoder;

/// The SDK's chat completions as a provider.
pub struct AsyncOpenAi<C: Config> {
    id: Arc<str>,
    client: Client<C>,
}

impl<C: Config> AsyncOpenAi<C> {
    /// The provider `id`, with the SDK's configuration. `http` makes its connections.
    pub fn new(id: impl Into<Arc<str>>, config: C, http: reqwest::Client) -> Self {
        let client = Client::build(http.clone(), config).with_http_service(Once::new(http));
        Self { id: id.into(), client }
    }
}

#[async_trait]
impl<C: Config + 'static> Provider for AsyncOpenAi<C> {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let body = request::body(request, cx, false)?;
        let answer = self.client.chat().create_byot::<_, Value>(body).await;
        answer::whole(answer.map_err(failure::of)?, cx.keep_raw)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let body = request::body(request, cx, true)?;
        let events = self.client.chat().create_stream_byot::<_, Value>(body).await;
        Ok(Decoder::new(events.map_err(failure::of)?).boxed())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }
}
