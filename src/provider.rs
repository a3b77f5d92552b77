//! The trait that users implement for their own backends.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;

use crate::chunk::{Chunk, ChunkStream};
use crate::error::{ErrorKind, ProviderError};
use crate::request::{ChatRequest, Part};
use crate::response::ChatResponse;
use crate::time::Instant;

/// Knows how to talk to one backend.
///
/// Two methods are required. The others have defaults that are correct for a backend that answers
/// whole: [`stream`](Self::stream) then yields the answer at once.
///
/// * **One attempt.** A provider tries once and reports what it met; retries belong to the client.
///   Switch an SDK's own retries off, or the attempts multiply.
/// * **Cancellation.** Dropping a future or a stream must cancel the work upstream.
/// * **Classification.** The [`ErrorKind`] decides what happens next, so it should be right: a rate
///   limit is not an outage, and an outage is not the request's fault.
/// * **Panics** are caught; they fail the attempt, and nothing else.
///
/// ```
/// use evenkeel::{CallContext, ChatRequest, ChatResponse, Provider, ProviderError, async_trait};
///
/// struct Parrot;
///
/// #[async_trait]
/// impl Provider for Parrot {
///     fn id(&self) -> &str {
///         "parrot"
///     }
///
///     async fn complete(
///         &self,
///         request: &ChatRequest,
///         _cx: &CallContext,
///     ) -> Result<ChatResponse, ProviderError> {
///         let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
///         Ok(ChatResponse::text_only(said))
///     }
/// }
/// ```
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// A stable name; the endpoint's id where it is given no other. Used in labels and errors.
    fn id(&self) -> &str;

    /// Answers whole.
    ///
    /// # Errors
    /// Whatever the backend or the way to it did wrong, classified.
    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError>;

    /// Answers in pieces. The last chunk of a complete answer is [`Chunk::Done`]; a stream that ends
    /// without it was cut.
    ///
    /// # Errors
    /// What went wrong before the backend accepted the request. Later failures are items.
    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let response = self.complete(request, cx).await?;
        Ok(futures::stream::iter(Chunk::from_response(response).map(Ok)).boxed())
    }

    /// What the backend can do. Asked once, when the endpoint is built.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// How many input tokens the request has, if that is known without asking the backend.
    fn count_tokens(&self, _request: &ChatRequest) -> Option<u64> {
        None
    }

    /// Finds out cheaply whether the backend answers. Only called where probing is configured.
    ///
    /// # Errors
    /// When it does not answer.
    async fn probe(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}

/// Forwards every method, the defaulted ones too: a wrapper that forgets one changes its meaning.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn id(&self) -> &str {
        (**self).id()
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        (**self).complete(request, cx).await
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        (**self).stream(request, cx).await
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn count_tokens(&self, request: &ChatRequest) -> Option<u64> {
        (**self).count_tokens(request)
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        (**self).probe().await
    }
}

/// What a backend can do. A call that needs more never reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether [`Provider::stream`] yields content before the answer is whole. Decides whether a
    /// call has a TTFT.
    pub streaming: bool,
    /// Whether the model may be offered tools.
    pub tools: bool,
    /// Whether the conversation may contain images.
    pub images: bool,
    /// Whether the conversation may contain documents.
    pub files: bool,
    /// Whether the answer can be held to a JSON schema.
    pub structured_output: bool,
}

impl Default for Capabilities {
    /// A backend that answers whole and takes whatever it is given.
    fn default() -> Self {
        Self { streaming: false, tools: true, images: true, files: true, structured_output: true }
    }
}

impl Capabilities {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { streaming: true, tools: true, images: true, files: true, structured_output: true }
    }

    /// Text in, text out.
    #[must_use]
    pub const fn text_only() -> Self {
        Self {
            streaming: false,
            tools: false,
            images: false,
            files: false,
            structured_output: false,
        }
    }

    /// With or without streaming.
    #[must_use]
    pub const fn streaming(mut self, yes: bool) -> Self {
        self.streaming = yes;
        self
    }

    /// With or without tools.
    #[must_use]
    pub const fn tools(mut self, yes: bool) -> Self {
        self.tools = yes;
        self
    }

    /// With or without images.
    #[must_use]
    pub const fn images(mut self, yes: bool) -> Self {
        self.images = yes;
        self
    }

    /// With or without documents.
    #[must_use]
    pub const fn files(mut self, yes: bool) -> Self {
        self.files = yes;
        self
    }

    /// With or without structured output.
    #[must_use]
    pub const fn structured_output(mut self, yes: bool) -> Self {
        self.structured_output = yes;
        self
    }

    /// A bit for each thing but streaming, which nothing needs: one set covers another where it
    /// lacks none of its bits.
    pub(crate) const fn bits(&self) -> u8 {
        let Self { streaming: _, tools, images, files, structured_output } = *self;
        tools as u8 | (images as u8) << 1 | (files as u8) << 2 | (structured_output as u8) << 3
    }

    /// What `request` needs of a backend. Linear in the number of parts.
    #[must_use]
    pub fn needed_by(request: &ChatRequest) -> Self {
        let mut needs = Self::text_only();
        needs.tools = !request.tools.is_empty();
        needs.structured_output = request.response_format.is_some();
        for part in request.messages.iter().flat_map(|message| &message.content) {
            needs.note(part);
        }
        needs
    }

    fn note(&mut self, part: &Part) {
        match part {
            Part::Image { .. } => self.images = true,
            Part::File { .. } => self.files = true,
            Part::ToolCall(_) => self.tools = true,
            Part::ToolResult { content, .. } => {
                self.tools = true;
                content.iter().for_each(|part| self.note(part));
            }
            Part::Text { .. } | Part::Reasoning(_) | Part::Opaque { .. } => {}
        }
    }

    /// The first thing in `needs` that is missing here. Streaming is never needed: a whole answer
    /// can be replayed.
    #[must_use]
    pub const fn missing(&self, needs: &Self) -> Option<&'static str> {
        let Self { streaming: _, tools, images, files, structured_output } = *needs;
        if tools && !self.tools {
            Some("tools")
        } else if images && !self.images {
            Some("images")
        } else if files && !self.files {
            Some("files")
        } else if structured_output && !self.structured_output {
            Some("structured output")
        } else {
            None
        }
    }
}

/// What a provider is told of an attempt beyond the request itself.
#[derive(Clone)]
#[non_exhaustive]
pub struct CallContext {
    /// The model to ask for, in the backend's own words; `None` where neither the call nor the
    /// endpoint names one.
    pub model: Option<Arc<str>>,
    /// The call's number, as in the [events](crate::Event) that are told of it; 0 where nobody listens.
    pub call: u64,
    /// 1 for the first attempt of a call.
    pub attempt: u32,
    /// When the whole call must have ended. The client enforces it; a provider may pass it on.
    pub deadline: Instant,
    /// How long connecting may take. Only the provider can enforce it.
    pub connect_timeout: Duration,
    /// The same for every attempt of a call.
    pub idempotency_key: Option<Arc<str>>,
    /// Whether the wire's own JSON is wanted in [`ChatResponse::raw`].
    pub keep_raw: bool,
}

impl CallContext {
    /// The first attempt of a call that must have ended at `deadline`.
    #[must_use]
    pub const fn new(deadline: Instant) -> Self {
        Self {
            model: None,
            call: 0,
            attempt: 1,
            deadline,
            connect_timeout: Duration::from_secs(10),
            idempotency_key: None,
            keep_raw: false,
        }
    }

    /// With the model to ask for.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<Arc<str>>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The model to ask for: the endpoint's name for it, else the request's own.
    #[must_use]
    pub fn model<'a>(&'a self, request: &'a ChatRequest) -> Option<&'a str> {
        self.model.as_deref().or(request.model.as_deref())
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, call, attempt, deadline, connect_timeout, idempotency_key, keep_raw } =
            self;
        f.debug_struct("CallContext")
            .field("model", model)
            .field("call", call)
            .field("attempt", attempt)
            .field("deadline", deadline)
            .field("connect_timeout", connect_timeout)
            .field("idempotency_key", &idempotency_key.is_some())
            .field("keep_raw", keep_raw)
            .finish()
    }
}

/// A closure as a provider: what a test, an example or a wrapped SDK needs.
///
/// ```
/// use evenkeel::{ChatResponse, provider_fn};
///
/// let provider = provider_fn("constant", |_request, _cx| async {
///     Ok(ChatResponse::text_only("42"))
/// });
/// ```
pub fn provider_fn<F, Fut>(id: impl Into<Cow<'static, str>>, answer: F) -> FnProvider<F>
where
    F: Fn(ChatRequest, CallContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ChatResponse, ProviderError>> + Send + 'static,
{
    FnProvider { id: id.into(), answer }
}

/// A closure as a provider; see [`provider_fn`]. Each attempt clones the request for the closure.
pub struct FnProvider<F> {
    id: Cow<'static, str>,
    answer: F,
}

#[async_trait]
impl<F, Fut> Provider for FnProvider<F>
where
    F: Fn(ChatRequest, CallContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ChatResponse, ProviderError>> + Send + 'static,
{
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        (self.answer)(request.clone(), cx.clone()).await
    }
}

impl<F> fmt::Debug for FnProvider<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A caught panic as the failure of an attempt. The payload's text may quote anything, so only
/// [`ProviderError::message`] carries it.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> ProviderError {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ProviderError::new(ErrorKind::Panicked, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Message, Tool};

    #[test]
    fn a_request_needs_what_it_carries() {
        let plain = ChatRequest::new("m").user("q");
        assert_eq!(Capabilities::needed_by(&plain), Capabilities::text_only());

        let image = plain.clone().message(Message::user("see").part(Part::image_url("u")));
        let tools = plain.tool(Tool::new("t", serde_json::json!({})));
        assert_eq!(
            Capabilities::all().images(false).missing(&Capabilities::needed_by(&image)),
            Some("images")
        );
        assert_eq!(
            Capabilities::text_only().missing(&Capabilities::needed_by(&tools)),
            Some("tools")
        );
        assert_eq!(Capabilities::all().missing(&Capabilities::needed_by(&tools)), None);
    }

    #[test]
    fn where_no_bit_is_missing_nothing_is() {
        let every = (0..32u8).map(|bits| Capabilities {
            streaming: bits & 1 != 0,
            tools: bits & 2 != 0,
            images: bits & 4 != 0,
            files: bits & 8 != 0,
            structured_output: bits & 16 != 0,
        });
        for (has, needs) in every.clone().flat_map(|has| every.clone().map(move |it| (has, it))) {
            let covered = needs.bits() & !has.bits() == 0;
            assert_eq!(covered, has.missing(&needs).is_none(), "{has:?} {needs:?}");
        }
    }

    #[tokio::test]
    async fn the_default_stream_replays_the_whole_answer() {
        let provider = provider_fn("p", |_, _| async { Ok(ChatResponse::text_only("hi")) });
        let cx = CallContext::new(crate::time::now());
        let chunks: Vec<_> =
            provider.stream(&"q".into(), &cx).await.unwrap().map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().filter_map(Chunk::as_text).collect::<String>(), "hi");
        assert!(chunks.last().is_some_and(Chunk::is_done));
    }
}
