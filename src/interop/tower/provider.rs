//! A service as a provider.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tower_service::Service;

use crate::error::{ErrorKind, ProviderError};
use crate::provider::{CallContext, Capabilities, Provider};
use crate::request::ChatRequest;
use crate::response::ChatResponse;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Classifier =
    Arc<dyn Fn(&(dyn std::error::Error + 'static)) -> Option<ErrorKind> + Send + Sync>;

/// A service as a [`Provider`].
///
/// Each attempt clones the service, waits until the clone is ready and calls it; its readiness is
/// therefore part of the attempt and of its time. A service that retries must stop doing so, or the
/// attempts multiply. The request's model is the backend's own name for it.
///
/// The answer comes whole, so that calls have no TTFT.
///
/// # Errors
/// A [`ProviderError`] that the service returns, bare or as the source of a layer's error, stands as
/// it is. What else a layer returns is [classified](Self::classify) by you; what you do not know
/// counts as [`ErrorKind::Server`].
///
/// ```
/// use std::time::Duration;
/// use evenkeel::interop::tower::ServiceProvider;
/// use evenkeel::{ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, ProviderError};
/// use tower::{ServiceBuilder, service_fn, timeout::error::Elapsed};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let sdk = service_fn(|request: ChatRequest| async move {
///     Ok::<_, ProviderError>(ChatResponse::text_only(request.messages[0].text().to_uppercase()))
/// });
/// let stack = ServiceBuilder::new().timeout(Duration::from_secs(20)).service(sdk);
/// let provider = ServiceProvider::new("in-house", stack)
///     .classify(|error| error.is::<Elapsed>().then_some(ErrorKind::Timeout));
///
/// let client = LlmClient::builder().endpoint(Endpoint::new(provider)).build()?;
/// assert_eq!(client.complete("hi").await?.text(), "HI");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct ServiceProvider<S> {
    id: Arc<str>,
    /// Locked only to be cloned: services are seldom `Sync`.
    service: Mutex<S>,
    capabilities: Capabilities,
    classifier: Option<Classifier>,
}

impl<S> ServiceProvider<S> {
    /// `service` as the provider `id`.
    pub fn new(id: impl Into<Arc<str>>, service: S) -> Self {
        Self {
            id: id.into(),
            service: Mutex::new(service),
            capabilities: Capabilities::default(),
            classifier: None,
        }
    }

    /// Sets what the backend can do. Default everything but streaming.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities.streaming(false);
        self
    }

    /// Sets what kind of failure the errors of layers are. It is asked about an error and then about
    /// each of its sources, until it knows one.
    #[must_use]
    pub fn classify(
        mut self,
        kind: impl Fn(&(dyn std::error::Error + 'static)) -> Option<ErrorKind> + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Some(Arc::new(kind));
        self
    }

    fn provider_error(&self, error: BoxError) -> ProviderError {
        let causes = || {
            std::iter::successors(Some(&*error as &(dyn std::error::Error + 'static)), |error| {
                error.source()
            })
        };
        if let Some(own) = causes().find_map(|error| error.downcast_ref::<ProviderError>()) {
            return own.clone();
        }
        let known =
            self.classifier.as_ref().and_then(|kind| causes().find_map(|error| kind(error)));
        let kind = known.unwrap_or(ErrorKind::Server);
        ProviderError::new(kind, "a layer of the service failed").with_source(Opaque(error))
    }
}

#[async_trait]
impl<S> Provider for ServiceProvider<S>
where
    S: Service<ChatRequest, Response = ChatResponse> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn id(&self) -> &str {
        &self.id
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let mut request = request.clone();
        request.model = cx.model(&request).map(str::to_owned);
        let mut service = self.service.lock().clone();
        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
        ready.map_err(|error| self.provider_error(error.into()))?;
        service.call(request).await.map_err(|error| self.provider_error(error.into()))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl<S> fmt::Debug for ServiceProvider<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceProvider")
            .field("id", &self.id)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// A boxed error is no error itself, so that it cannot be the source of one.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Opaque(BoxError);
