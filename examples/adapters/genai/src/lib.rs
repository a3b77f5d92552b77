//! [`genai`] as a provider: some twenty vendors' own wires, behind one SDK.
//!
//! * **One attempt.** The SDK does not retry.
//! * **Failures keep their headers**, so `retry-after` is known. Their texts are left out where the SDK
//!   prints whole requests in them.
//! * **Tool calls come whole**, at the end of a stream: what the SDK's pieces of them mean differs from
//!   vendor to vendor. Until then they count as signs of life.
//! * **Cancellation.** Dropping a future or a stream closes the connection.

mod answer;
#[path = "../../classify.rs"]
mod classify;
mod failure;
mod request;
mod stream;

use std::sync::Arc;

use evenkeel::{
    CallContext, Capabilities, ChatRequest, ChatResponse, ChunkStream, ErrorKind, Provider,
    ProviderError, async_trait,
};
use futures::StreamExt as _;

use crate::stream::Decoder;

/// A client of the SDK as a provider. Which vendor serves a model is the client's business: by the
/// model's name, or as its resolvers say.
pub struct Genai {
    id: Arc<str>,
    client: genai::Client,
}

impl Genai {
    /// The provider `id`.
    pub fn new(id: impl Into<Arc<str>>, client: genai::Client) -> Self {
        Self { id: id.into(), client }
    }
}

fn model<'a>(request: &'a ChatRequest, cx: &'a CallContext) -> Result<&'a str, ProviderError> {
    let none = || ProviderError::new(ErrorKind::InvalidRequest, "no model is named");
    cx.model(request).ok_or_else(none)
}

#[async_trait]
impl Provider for Genai {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let options = request::options(request, cx)?;
        let asked = request::messages(request)?;
        let answer = self.client.exec_chat(model(request, cx)?, asked, Some(&options)).await;
        answer::whole(answer.map_err(|error| failure::of(&error))?)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let options = request::options(request, cx)?;
        let asked = request::messages(request)?;
        let answer = self.client.exec_chat_stream(model(request, cx)?, asked, Some(&options)).await;
        let mut events = answer.map_err(|error| failure::of(&error))?.stream;
        // The request is sent when the first event is asked for; a refusal is that event.
        match events.next().await {
            Some(Err(error)) => Err(failure::of(&error)),
            first => Ok(Decoder::new(events, first.and_then(Result::ok)).boxed()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }
}
