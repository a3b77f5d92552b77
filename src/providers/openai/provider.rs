//! The provider.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::chunk::ChunkStream;
use crate::error::{BuildError, ProviderError};
use crate::provider::{CallContext, Capabilities, Provider};
use crate::providers::http::transport::Transport;
use crate::providers::openai::builder::OpenAiBuilder;
use crate::providers::openai::decode;
use crate::providers::openai::embeddings::OpenAiEmbedder;
use crate::providers::openai::encode::{self, Dialect};
use crate::providers::openai::stream::Decoder;
use crate::request::ChatRequest;
use crate::response::ChatResponse;

const CHAT: &str = "chat/completions";

/// A server that speaks OpenAI's chat completions.
///
/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct OpenAi {
    id: Arc<str>,
    transport: Arc<Transport>,
    dialect: Arc<Dialect>,
    capabilities: Capabilities,
}

impl OpenAi {
    /// OpenAI itself, with `key`.
    ///
    /// # Errors
    /// When the key is empty or cannot be a header.
    pub fn new(key: impl Into<String>) -> Result<Self, BuildError> {
        Self::builder().api_key(key).build()
    }

    /// As the environment says: `OPENAI_API_KEY`, and where they are set `OPENAI_BASE_URL` and
    /// `OPENAI_MODEL`.
    ///
    /// # Errors
    /// When the key is not set, or what is set cannot be used.
    pub fn from_env() -> Result<Self, BuildError> {
        OpenAiBuilder::from_lookup(|name| std::env::var(name).ok())?.build()
    }

    /// Another server that speaks the same wire. `base_url` is what stands before
    /// `/chat/completions`. For a server without keys use [`builder`](Self::builder).
    ///
    /// # Errors
    /// When the base URL or the key cannot be used.
    pub fn compatible(
        id: impl Into<String>,
        base_url: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<Self, BuildError> {
        Self::builder().id(id).base_url(base_url).api_key(key).build()
    }

    /// A deployment on Azure. `endpoint` is such as `https://NAME.openai.azure.com`.
    ///
    /// # Errors
    /// When one of the texts cannot be used.
    pub fn azure(
        endpoint: impl AsRef<str>,
        deployment: impl AsRef<str>,
        api_version: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<Self, BuildError> {
        OpenAiBuilder::azure(
            endpoint.as_ref(),
            deployment.as_ref(),
            api_version.into(),
            key.into(),
        )?
        .build()
    }

    /// Everything that can be set.
    pub fn builder() -> OpenAiBuilder {
        OpenAiBuilder::default()
    }

    pub(super) fn from_parts(
        id: String,
        transport: Transport,
        dialect: Dialect,
        capabilities: Capabilities,
    ) -> Self {
        let (transport, dialect) = (Arc::new(transport), Arc::new(dialect));
        Self { id: id.into(), transport, dialect, capabilities }
    }

    /// An embedder that uses this server, its key and its connections.
    #[must_use]
    pub fn embedder(&self, model: impl Into<String>) -> OpenAiEmbedder {
        OpenAiEmbedder::new(&self.id, Arc::clone(&self.transport), model.into())
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let body = encode::chat(request, cx, &self.dialect, false)?;
        let decode = |body: &[u8]| decode::chat(body, cx.keep_raw);
        let (mut response, meta) = self.transport.whole(CHAT, body, cx.into(), decode).await?;
        meta.note_in(&mut response);
        Ok(response)
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let body = encode::chat(request, cx, &self.dialect, true)?;
        self.transport.stream(CHAT, body, cx.into(), Decoder::default()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Asks for the list of models, which costs nothing. A server that has no such list counts as
    /// alive.
    async fn probe(&self) -> Result<(), ProviderError> {
        self.transport.probe("models").await
    }
}

/// Without the key and the headers.
impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi")
            .field("id", &self.id)
            .field("base_url", &self.transport.base())
            .field("dialect", &self.dialect)
            .field("capabilities", &self.capabilities)
            .finish()
    }
}
