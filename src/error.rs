//! Failures: what a backend said, and what the client decided.
//!
//! [`ProviderError`] is one attempt's failure, classified once into an [`ErrorKind`]; what each
//! kind leads to stands in [`outcome`](crate::outcome). [`Error`] is how a call ended. It tells
//! "never" from "not yet", and for "not yet" it says [when](Error::retry_after).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::{NotQueued, OverQuota};
use crate::rate_limits::RateLimits;
use crate::report::{EndpointId, Phase, Trail};
use crate::response::ChatResponse;

/// The longest server message kept in an error, in bytes.
const MAX_MESSAGE_BYTES: usize = 2048;

/// What kind of failure an attempt met. Decided once, where the failure is first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// 429: too fast for the account's limits; the same request will pass later.
    RateLimited,
    /// The account is out of money or quota; waiting does not help.
    QuotaExhausted,
    /// 401 or 403: the credentials were refused.
    Auth,
    /// 503 or 529, or an in-band "overloaded": the backend sheds load.
    Overloaded,
    /// 500, 502, 504 and other server-side failures.
    Server,
    /// Connecting, TLS, name resolution, or a connection that broke before content.
    Transport,
    /// The backend did not answer, or stopped answering, in the time it was given.
    Timeout,
    /// A response that ended without its terminal event.
    Interrupted,
    /// A body that is not what the wire promises, or larger than its bound.
    Malformed,
    /// The provider's own code panicked.
    Panicked,
    /// The endpoint does not serve the model.
    ModelNotFound,
    /// 400, 413 or 422: the request itself is at fault.
    InvalidRequest,
    /// The request does not fit the model's context window.
    ContextLength,
    /// The backend's content filter refused the request.
    ContentFilter,
    /// The provider cannot do what the request asks for.
    Unsupported,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Auth,
        Self::Overloaded,
        Self::Server,
        Self::Transport,
        Self::Timeout,
        Self::Interrupted,
        Self::Malformed,
        Self::Panicked,
        Self::ModelNotFound,
        Self::InvalidRequest,
        Self::ContextLength,
        Self::ContentFilter,
        Self::Unsupported,
    ];

    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Auth => "auth",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Transport => "transport",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Malformed => "malformed",
            Self::Panicked => "panicked",
            Self::ModelNotFound => "model_not_found",
            Self::InvalidRequest => "invalid_request",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::Unsupported => "unsupported",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::RateLimited => "rate limited",
            Self::QuotaExhausted => "out of quota or money",
            Self::Auth => "credentials refused",
            Self::Overloaded => "overloaded",
            Self::Server => "server error",
            Self::Transport => "transport failure",
            Self::Timeout => "timed out",
            Self::Interrupted => "response ended without its terminal event",
            Self::Malformed => "malformed or oversized response",
            Self::Panicked => "the provider panicked",
            Self::ModelNotFound => "model not served here",
            Self::InvalidRequest => "request refused as invalid",
            Self::ContextLength => "request exceeds the context window",
            Self::ContentFilter => "refused by the content filter",
            Self::Unsupported => "not supported by the provider",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// One attempt's failure, as the provider saw it.
///
/// `Display` and `Debug` give the kind, status, code, request id and retry hint. A message is shown
/// where it is a literal of the program; one that was put together at run time may be a server's,
/// and servers quote requests, so [`message`](Self::message) alone gives it.
///
/// Code and request id are a server's too: `Display` escapes them, so that they forge no line of a log.
///
/// Cheap to clone: everything behind one pointer.
#[derive(Clone)]
pub struct ProviderError {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    status: Option<u16>,
    code: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    rate_limits: Option<RateLimits>,
    request_id: Option<String>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    /// A failure of the given kind. `message` is for people; it is cut at 2 KiB.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let inner = Inner {
            kind,
            status: None,
            code: None,
            retry_after: None,
            rate_limits: None,
            request_id: None,
            message: bounded(message.into()),
            source: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// With the HTTP status of the response.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.edit().status = Some(status);
        self
    }

    /// With the server's machine-readable code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.edit().code = Some(bounded(code.into()));
        self
    }

    /// With the time after which the server wants to be asked again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.edit().retry_after = Some(after);
        self
    }

    /// With the rate limits the failed response carried.
    #[must_use]
    pub fn with_rate_limits(mut self, limits: RateLimits) -> Self {
        self.edit().rate_limits = Some(limits);
        self
    }

    /// With the server's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.edit().request_id = Some(id.into());
        self
    }

    /// With the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.edit().source = Some(Arc::new(source));
        self
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }

    /// What kind of failure it is; decides everything that follows.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The HTTP status, when there was a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.inner.status
    }

    /// The server's machine-readable code, such as `insufficient_quota`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.inner.code.as_deref()
    }

    /// The server's `retry-after`, untrusted and unclamped.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// The rate limits the failed response carried.
    #[must_use]
    pub fn rate_limits(&self) -> Option<&RateLimits> {
        self.inner.rate_limits.as_ref()
    }

    /// The server's id of the request, to quote in a support ticket.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref()
    }

    /// The server's own words, at most 2 KiB. Untrusted, and it may quote the request.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The message, where it is a literal and so cannot quote anything.
    fn literal(&self) -> Option<&'static str> {
        match self.inner.message {
            Cow::Borrowed(message) if !message.is_empty() => Some(message),
            _ => None,
        }
    }

    /// When the server lets the next request through, as far as it said: `retry-after`, else the
    /// reset of the window that is exhausted.
    #[must_use]
    pub fn retry_hint(&self) -> Option<Duration> {
        self.inner
            .retry_after
            .or_else(|| self.inner.rate_limits.as_ref().and_then(RateLimits::exhausted_reset))
    }
}

fn bounded(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= MAX_MESSAGE_BYTES {
        return text;
    }
    // `str::floor_char_boundary` is younger than the declared minimum Rust version.
    let end = (0..=MAX_MESSAGE_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    Cow::Owned(format!("{}...", &text[..end]))
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, status, code, retry_after, request_id, .. } = &*self.inner;
        write!(f, "{kind}")?;
        if let Some(message) = self.literal() {
            write!(f, ", {message}")?;
        }
        if let Some(status) = status {
            write!(f, ", HTTP {status}")?;
        }
        if let Some(code) = code {
            write!(f, ", code {}", code.escape_debug())?;
        }
        if let Some(id) = request_id {
            write!(f, ", request {}", id.escape_debug())?;
        }
        if let Some(after) = retry_after {
            write!(f, ", retry after {after:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, status, code, retry_after, rate_limits, request_id, message, source } =
            &*self.inner;
        f.debug_struct("ProviderError")
            .field("kind", kind)
            .field("status", status)
            .field("code", code)
            .field("retry_after", retry_after)
            .field("rate_limits", rate_limits)
            .field("request_id", request_id)
            .field("message", &self.literal().ok_or_else(|| message.len()))
            .field("source", &source.is_some())
            .finish()
    }
}

impl std::error::Error for ProviderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// How a call ended when it did not end with an answer. Every variant carries the trail of what
/// was tried.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Never: no endpoint can serve this call, whatever its state.
    #[error("no endpoint serves this call: {0}")]
    NoEndpoint(NoEndpoint),

    /// Not yet: every endpoint that could serve the call is out of service for now.
    #[error("no endpoint is available{}{}", for_model(.0.model.as_deref()), retry_in(.0.retry_after))]
    Unavailable(Box<Unavailable>),

    /// Not yet: a quota has no room for the call now.
    #[error("{0}")]
    Quota(Box<OverQuota>),

    /// Never: the call is larger than a quota allows at once.
    #[error("{0}")]
    LargerThanQuota(Box<OverQuota>),

    /// Not yet: the queue did not let the call wait, or no longer.
    #[error("{0}")]
    Queue(Box<NotQueued>),

    /// The backend refused the call in a way no other endpoint would change.
    #[error("endpoint {endpoint} refused the call: {error}")]
    Refused {
        /// The endpoint that answered.
        endpoint: EndpointId,
        /// What it said.
        error: ProviderError,
        /// What was tried.
        trail: Box<Trail>,
    },

    /// Every attempt the call was allowed failed.
    #[error("{} attempt(s) failed, the last on {endpoint}: {error}", .trail.len())]
    Exhausted {
        /// The endpoint of the last attempt.
        endpoint: EndpointId,
        /// The last attempt's failure.
        error: ProviderError,
        /// What was tried.
        trail: Box<Trail>,
    },

    /// The response broke off after content had been received.
    #[error("the response of endpoint {} broke off: {}", .0.endpoint, .0.error)]
    Interrupted(Box<Interrupted>),

    /// The call's deadline passed.
    #[error("deadline passed while {phase}, after {elapsed:?}")]
    Deadline {
        /// What the call was doing.
        phase: Phase,
        /// From the application's call to the deadline.
        elapsed: Duration,
        /// What had been received by then, when anything had.
        partial: Option<Box<ChatResponse>>,
        /// What was tried.
        trail: Box<Trail>,
    },

    /// The client is draining or drained and takes no new calls; or the drain's deadline passed
    /// while this call was running.
    #[error("the client is closed")]
    Closed {
        /// What was tried.
        trail: Box<Trail>,
    },

    /// The call shared the answer of another one, which broke off for a reason that is not a
    /// provider's.
    #[error("the shared call {why}")]
    SharedCall {
        /// What became of it.
        why: &'static str,
    },

    /// The call itself is not well formed.
    #[error("invalid call: {0}")]
    InvalidCall(InvalidField),
}

/// Why no endpoint can serve a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEndpoint {
    /// No endpoint serves the model.
    #[error("model {model:?} is served by none")]
    UnknownModel {
        /// The model that was asked for.
        model: String,
    },
    /// Endpoints serve the model, but none can do what the request needs.
    #[error("none{} supports {capability}", for_model(.model.as_deref()))]
    MissingCapability {
        /// The model that was asked for.
        model: Option<String>,
        /// What is missing: `"tools"`, `"images"`, `"files"` or `"structured output"`.
        capability: &'static str,
    },
    /// The call is larger than the declared limits of every endpoint allow in a whole minute.
    #[error("the call needs more than the {most} a minute that the largest limit allows")]
    TooLarge {
        /// The most that any endpoint allows.
        most: u64,
    },
}

/// Nothing can serve the call right now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unavailable {
    /// The model that was asked for.
    pub model: Option<String>,
    /// How long until the first endpoint may be available again, when that is known.
    pub retry_after: Option<Duration>,
    /// The last attempt's failure, when one was made.
    pub last: Option<ProviderError>,
    /// What was tried.
    pub trail: Trail,
}

impl Unavailable {
    /// Nothing was tried yet and nothing is known of the time.
    #[must_use]
    pub fn new(model: Option<String>, retry_after: Option<Duration>) -> Self {
        Self { model, retry_after, last: None, trail: Trail::default() }
    }

    /// With what was tried before nothing was left.
    #[must_use]
    pub fn after(mut self, trail: Trail, last: Option<ProviderError>) -> Self {
        self.trail = trail;
        self.last = last;
        self
    }
}

/// A response that broke off.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Interrupted {
    /// The endpoint whose response it was.
    pub endpoint: EndpointId,
    /// What broke it.
    pub error: ProviderError,
    /// What had been received.
    pub partial: ChatResponse,
    /// What was tried.
    pub trail: Trail,
}

impl Interrupted {
    /// The response of `endpoint` broke off with `partial` received.
    #[must_use]
    pub fn new(
        endpoint: EndpointId,
        error: ProviderError,
        partial: ChatResponse,
        trail: Trail,
    ) -> Self {
        Self { endpoint, error, partial, trail }
    }
}

/// A field that does not hold what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
#[non_exhaustive]
pub struct InvalidField {
    /// The field's path, such as `endpoints[2].weight`.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

impl InvalidField {
    /// `field` is wrong because of `reason`.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// A configuration that cannot be built, with the path of the field at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot build: {0}")]
pub struct BuildError(InvalidField);

impl BuildError {
    /// `field` is wrong because of `reason`.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(InvalidField::new(field, reason))
    }

    /// The path of the field at fault, such as `endpoints[2].weight`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl Error {
    /// When the call may succeed if it is made again: `Some` for "not yet", `None` for "never" and
    /// for "nobody knows".
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(unavailable) => unavailable.retry_after,
            Self::Quota(over) => over.retry_after,
            Self::Queue(refused) => refused.why.retry_after(),
            Self::Exhausted { error, .. } => error.retry_hint(),
            _ => None,
        }
    }

    /// What was tried before the call ended this way.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        match self {
            Self::Unavailable(unavailable) => &unavailable.trail,
            Self::Interrupted(interrupted) => &interrupted.trail,
            Self::Queue(refused) => &refused.trail,
            Self::Refused { trail, .. }
            | Self::Exhausted { trail, .. }
            | Self::Deadline { trail, .. }
            | Self::Closed { trail } => trail,
            Self::NoEndpoint(_)
            | Self::Quota(_)
            | Self::LargerThanQuota(_)
            | Self::SharedCall { .. }
            | Self::InvalidCall(_) => Trail::EMPTY,
        }
    }

    /// The backend's failure behind this error, when there was one.
    #[must_use]
    pub fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Refused { error, .. } | Self::Exhausted { error, .. } => Some(error),
            Self::Interrupted(interrupted) => Some(&interrupted.error),
            Self::Unavailable(unavailable) => unavailable.last.as_ref(),
            Self::NoEndpoint(_)
            | Self::Quota(_)
            | Self::LargerThanQuota(_)
            | Self::Queue(_)
            | Self::SharedCall { .. }
            | Self::Deadline { .. }
            | Self::Closed { .. }
            | Self::InvalidCall(_) => None,
        }
    }

    /// What had been received before the call broke off.
    #[must_use]
    pub fn partial(&self) -> Option<&ChatResponse> {
        match self {
            Self::Interrupted(interrupted) => Some(&interrupted.partial),
            Self::Deadline { partial, .. } => partial.as_deref(),
            _ => None,
        }
    }

    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoEndpoint(_) => "no_endpoint",
            Self::Unavailable(_) => "unavailable",
            Self::Quota(_) => "quota",
            Self::LargerThanQuota(_) => "larger_than_quota",
            Self::Queue(refused) => refused.why.label(),
            Self::SharedCall { .. } => "shared_call",
            Self::Refused { .. } => "refused",
            Self::Exhausted { .. } => "exhausted",
            Self::Interrupted(_) => "interrupted",
            Self::Deadline { .. } => "deadline",
            Self::Closed { .. } => "closed",
            Self::InvalidCall(_) => "invalid_call",
        }
    }
}

fn for_model(model: Option<&str>) -> String {
    model.map_or_else(String::new, |model| format!(" for model {model:?}"))
}

fn retry_in(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(", retry after {after:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_stay_out_of_display_and_debug() {
        let quoted = String::from("you said: my secret prompt");
        let error = ProviderError::new(ErrorKind::InvalidRequest, quoted)
            .with_status(400)
            .with_code("invalid_value");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret prompt"), "{shown}");
        assert!(shown.contains("HTTP 400") && shown.contains("invalid_value"), "{shown}");
        assert_eq!(error.message(), "you said: my secret prompt");
    }

    #[test]
    fn a_literal_message_is_shown() {
        let error = ProviderError::new(ErrorKind::InvalidRequest, "no model is named");
        assert!(error.to_string().contains("no model is named"));
        assert!(format!("{error:?}").contains("no model is named"));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = ProviderError::new(ErrorKind::Server, "\u{e9}".repeat(5_000));
        assert!(error.message().len() <= MAX_MESSAGE_BYTES + 3);
    }

    #[test]
    fn every_kind_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn an_error_fits_a_result() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }
}
