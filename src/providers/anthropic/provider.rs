//! The provider.

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

/// Talks to the messages API.
///
/// One attempt per call, nothing in the background: dropping a future or a stream closes its
/// connection, which ends the generation. `Debug` shows no key.
#[derive(Debug)]
pub struct Anthropic {
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
    #[must_use]
    pub fn builder() -> AnthropicBuilder {
        AnthropicBuilder::default()
    }

    fn body(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
        stream: bool,
    ) -> Result<Vec<u8>, ProviderError> {
        let model = cx.model(request).or(self.model.as_deref()).ok_or_else(|| {
            let message = "neither the request nor the provider names a model";
            ProviderError::new(ErrorKind::InvalidRequest, message)
        })?;
        let Self { max_tokens, cache_system, .. } = *self;
        encode::body(request, &Settings { model, max_tokens, cache_system, stream })
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let body = self.body(request, cx, false)?;
        let answer = self.transport.whole(MESSAGES, body, cx.into()).await?;
        let decoded = decode::response(&answer.body, cx.keep_raw);
        let mut response =
            decoded.map_err(|error| self.transport.scrub(answer.meta.note_in_error(error)))?;
        answer.meta.note_in(&mut response);
        Ok(response)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let body = self.body(request, cx, true)?;
        self.transport.stream(MESSAGES, body, cx.into(), Decoder::default()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Asks for the list of models, which costs nothing.
    async fn probe(&self) -> Result<(), ProviderError> {
        self.transport.probe(MODELS).await
    }
}
