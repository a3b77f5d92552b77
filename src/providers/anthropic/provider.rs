//! The provider.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::builder::AnthropicBuilder;
use super::decode;
use super::encode::{self, Settings};
use super::stream::Decoder;
use crate::chunk::ChunkStream;
use crate::error::{BuildError, ErrorKind, ProviderError};
use crate::provider::{CallContext, Capabilities, Provider};
use crate::providers::http::transport::Transport;
use crate::request::ChatRequest;
use crate::response::ChatResponse;

const MESSAGES: &str = "v1/messages";
const MODELS: &str = "v1/models";

/// A server that speaks the messages API.
///
/// One attempt per call, nothing in the background: dropping a future or a stream closes its
/// connection, which ends the generation. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Anthropic {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) id: String,
    pub(super) transport: Transport,
    pub(super) model: Option<String>,
    pub(super) max_tokens: u64,
    pub(super) cache_system: bool,
    pub(super) capabilities: Capabilities,
}

impl Anthropic {
    /// Anthropic's own API with `api_key`.
    ///
    /// # Errors
    /// When the key fits no header.
    pub fn new(api_key: impl Into<String>) -> Result<Self, BuildError> {
        Self::builder().api_key(api_key).build()
    }

    /// What the environment says: `ANTHROPIC_API_KEY`, and if present `ANTHROPIC_BASE_URL` and
    /// `ANTHROPIC_MODEL`, the model for requests that name none.
    ///
    /// # Errors
    /// When there is no key, or a value is no key or no URL; the error names the field.
    pub fn from_env() -> Result<Self, BuildError> {
        AnthropicBuilder::from_lookup(|name| std::env::var(name).ok())?.build()
    }

    /// Everything that can be set.
    pub fn builder() -> AnthropicBuilder {
        AnthropicBuilder::default()
    }

    pub(super) fn from_parts(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    fn body(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
        stream: bool,
    ) -> Result<Vec<u8>, ProviderError> {
        let model = cx.model(request).or(self.inner.model.as_deref()).ok_or_else(|| {
            let message = "neither the request nor the provider names a model";
            ProviderError::new(ErrorKind::InvalidRequest, message)
        })?;
        let Inner { max_tokens, cache_system, .. } = *self.inner;
        encode::body(request, &Settings { model, max_tokens, cache_system, stream })
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn id(&self) -> &str {
        &self.inner.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let body = self.body(request, cx, false)?;
        let decode = |body: &[u8]| decode::response(body, cx.keep_raw);
        let transport = &self.inner.transport;
        let (mut response, meta) = transport.whole(MESSAGES, body, cx.into(), decode).await?;
        meta.note_in(&mut response);
        Ok(response)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let body = self.body(request, cx, true)?;
        self.inner.transport.stream(MESSAGES, body, cx.into(), Decoder::default()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Asks for the list of models, which costs nothing.
    async fn probe(&self) -> Result<(), ProviderError> {
        self.inner.transport.probe(MODELS).await
    }
}

/// Without the key and the headers.
impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { id, transport, model, max_tokens, cache_system, capabilities } = &*self.inner;
        f.debug_struct("Anthropic")
            .field("id", id)
            .field("base_url", &transport.base())
            .field("model", model)
            .field("max_tokens", max_tokens)
            .field("cache_system", cache_system)
            .field("capabilities", capabilities)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[tokio::test]
    async fn a_request_without_any_model_is_refused_unsent() {
        // Nobody listens there: sending would be a transport failure.
        let provider = Anthropic::builder().base_url("http://127.0.0.1:9").build().unwrap();
        let cx = CallContext::new(time::now());
        let error = provider.complete(&"hi".into(), &cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
}
