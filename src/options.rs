//! How a call is to be treated: who pays, how urgent it is, how long it may take.
//!
//! Options are local policy and never cross a wire; the [`ChatRequest`] is what is sent.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::request::ChatRequest;
use crate::time::{Instant, after};

/// Who pays: the unit of quotas, of fairness in the queue, and of cache isolation.
///
/// `Debug` does not print the name; `Display` does, for errors that must name the tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The tenant named `id`.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TenantId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for TenantId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.as_str().into()
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantId(..)")
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How urgent a call is. A higher class goes first where calls have to wait.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Priority {
    /// Nobody is waiting for the answer.
    Batch,
    /// The default.
    #[default]
    Normal,
    /// A person is waiting for the answer.
    Interactive,
}

impl Priority {
    /// `"batch"`, `"normal"` or `"interactive"`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Normal => "normal",
            Self::Interactive => "interactive",
        }
    }
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deadline {
    /// At an instant.
    At(Instant),
    /// So long after the call was made.
    In(Duration),
}

impl Deadline {
    /// The instant, for a call made at `start`.
    #[must_use]
    pub fn resolve(self, start: Instant) -> Instant {
        match self {
            Self::At(at) => at,
            Self::In(duration) => after(start, duration),
        }
    }
}

/// What each stage of a call may take. The call's deadline bounds them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Timeouts {
    /// To a connection with the backend, TLS included. Handed to the provider through
    /// [`CallContext`](crate::CallContext), since only it sees the connection. Default 10 s.
    #[serde(with = "crate::duration")]
    pub connect: Duration,
    /// From the start of an attempt to its first content. Applies where the provider streams.
    /// Default 60 s.
    #[serde(with = "crate::duration")]
    pub first_content: Duration,
    /// Between two chunks. Default 60 s.
    #[serde(with = "crate::duration")]
    pub idle: Duration,
    /// The whole call, when it names no deadline. Default 10 minutes.
    #[serde(with = "crate::duration")]
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_content: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the time to a connection.
    #[must_use]
    pub const fn connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// With the time to the first content of an attempt.
    #[must_use]
    pub const fn first_content(mut self, limit: Duration) -> Self {
        self.first_content = limit;
        self
    }

    /// With the time between two chunks.
    #[must_use]
    pub const fn idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// With the time of a whole call that names no deadline.
    #[must_use]
    pub const fn total(mut self, limit: Duration) -> Self {
        self.total = limit;
        self
    }
}

/// What a call may take from a cache and leave there. A call can only tighten what the cache
/// allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheControl {
    /// What the cache's configuration says.
    #[default]
    Default,
    /// Neither read nor written.
    Bypass,
    /// Not read; the answer replaces what is stored.
    Refresh,
    /// Read, never written.
    ReadOnly,
    /// Identical requests only, no similar ones.
    ExactOnly,
    /// Similar requests only from this cosine similarity on, in `(0, 1]`.
    MinSimilarity(f32),
}

/// How an answer from the cache is streamed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HitPace {
    /// All at once.
    #[default]
    AtOnce,
    /// Its text in small pieces: the first at once, the others over the time that the answer took to
    /// arrive when it was fetched, but never longer than the call has. At once where that time is not
    /// known.
    AsFetched,
}

/// How one call is to be treated. Every field has a default; see the setters of [`Call`].
/// `Debug` shows which are set, not what callers' keys and labels say.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CallOptions {
    /// Who pays; `None` is the anonymous tenant.
    pub tenant: Option<TenantId>,
    /// How urgent the call is.
    pub priority: Priority,
    /// When it must have ended; `None` means [`Timeouts::total`].
    pub deadline: Option<Deadline>,
    /// What each stage may take; `None` means the client's.
    pub timeouts: Option<Timeouts>,
    /// What it may take from the cache.
    pub cache: CacheControl,
    /// How an answer from the cache is streamed; `None` means as the client does.
    pub hit_pace: Option<HitPace>,
    /// Keys of the caller's own that limits were configured for, as name and value: such as
    /// `("project", "billing")`.
    pub quota_keys: Vec<(Arc<str>, Arc<str>)>,
    /// Calls of one session prefer one endpoint, whose prompt cache is then warm.
    pub session: Option<Arc<str>>,
    /// Repeated to the backend with every attempt, where its wire knows such a key.
    pub idempotency_key: Option<Arc<str>>,
    /// The most attempts with each model; `None` means the client's.
    pub max_attempts: Option<u32>,
    /// Whether a second attempt may be started beside a slow one. `None` and `Some(true)` mean what
    /// the client's policy says, `Some(false)` never.
    pub hedge: Option<bool>,
    /// Whether the wire's own JSON is kept in [`ChatResponse::raw`](crate::ChatResponse::raw).
    /// The response is then fetched whole, so it has no TTFT.
    pub keep_raw: bool,
    /// Labels of the caller's own, for invalidation and observers.
    pub tags: BTreeSet<Arc<str>>,
}

impl CallOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant,
            priority,
            deadline,
            timeouts,
            cache,
            hit_pace,
            quota_keys,
            session,
            idempotency_key,
            max_attempts,
            hedge,
            keep_raw,
            tags,
        } = self;
        f.debug_struct("CallOptions")
            .field("tenant", tenant)
            .field("priority", priority)
            .field("deadline", deadline)
            .field("timeouts", timeouts)
            .field("cache", cache)
            .field("hit_pace", hit_pace)
            .field("quota_keys", &quota_keys.len())
            .field("session", &session.is_some())
            .field("idempotency_key", &idempotency_key.is_some())
            .field("max_attempts", max_attempts)
            .field("hedge", hedge)
            .field("keep_raw", keep_raw)
            .field("tags", &tags.len())
            .finish()
    }
}

/// One call: what is asked, and how the call is to be treated.
///
/// Anything that is a question converts into it, so that the plain case stays plain:
///
/// ```
/// use std::time::Duration;
/// use evenkeel::{Call, ChatRequest, Priority};
///
/// let plain: Call = "What is Rust ownership?".into();
/// let careful = ChatRequest::new("gpt-x")
///     .user("What is Rust ownership?")
///     .tenant("acme")
///     .priority(Priority::Interactive)
///     .deadline_in(Duration::from_secs(20));
/// assert_eq!(plain.request.messages, careful.request.messages);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// What is asked. Shared, so that attempts never copy a conversation.
    pub request: Arc<ChatRequest>,
    /// How the call is to be treated.
    pub options: CallOptions,
}

impl Call {
    /// `request`, with default options.
    pub fn new(request: impl Into<Arc<ChatRequest>>) -> Self {
        Self { request: request.into(), options: CallOptions::default() }
    }

    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets who pays.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<TenantId>) -> Self {
        self.options.tenant = Some(tenant.into());
        self
    }

    /// Sets how urgent the call is.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// Sets the instant at which the call must have ended.
    #[must_use]
    pub fn deadline(mut self, at: Instant) -> Self {
        self.options.deadline = Some(Deadline::At(at));
        self
    }

    /// Sets how long after it is made the call must have ended.
    #[must_use]
    pub fn deadline_in(mut self, duration: Duration) -> Self {
        self.options.deadline = Some(Deadline::In(duration));
        self
    }

    /// Sets what each stage may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.options.timeouts = Some(timeouts);
        self
    }

    /// Sets what the call may take from the cache.
    #[must_use]
    pub fn cache(mut self, control: CacheControl) -> Self {
        self.options.cache = control;
        self
    }

    /// Sets how an answer from the cache is streamed.
    #[must_use]
    pub fn hit_pace(mut self, pace: HitPace) -> Self {
        self.options.hit_pace = Some(pace);
        self
    }

    /// Counts the call against the limits of `value` as well, where the limiter has limits for keys
    /// of that name.
    #[must_use]
    pub fn quota_key(mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.options.quota_keys.push((name.into(), value.into()));
        self
    }

    /// Sets the session whose calls prefer one endpoint.
    #[must_use]
    pub fn session(mut self, key: impl Into<Arc<str>>) -> Self {
        self.options.session = Some(key.into());
        self
    }

    /// Sets the key that every attempt repeats to the backend.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Sets the most attempts with each model.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options.max_attempts = Some(attempts);
        self
    }

    /// Sets whether a second attempt may be started beside a slow one, where the client does that.
    #[must_use]
    pub fn hedge(mut self, allowed: bool) -> Self {
        self.options.hedge = Some(allowed);
        self
    }

    /// Keeps the wire's own JSON with the response.
    #[must_use]
    pub fn keep_raw(mut self) -> Self {
        self.options.keep_raw = true;
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.options.tags.insert(tag.into());
        self
    }
}

/// The options most calls set, straight from the request.
impl ChatRequest {
    /// This request as a call that `tenant` pays for.
    pub fn tenant(self, tenant: impl Into<TenantId>) -> Call {
        Call::new(self).tenant(tenant)
    }

    /// This request as a call of the given urgency.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Call {
        Call::new(self).priority(priority)
    }

    /// This request as a call that must have ended so long after it is made.
    #[must_use]
    pub fn deadline_in(self, duration: Duration) -> Call {
        Call::new(self).deadline_in(duration)
    }

    /// This request as a call of a session.
    pub fn session(self, key: impl Into<Arc<str>>) -> Call {
        Call::new(self).session(key)
    }

    /// This request as a call with `options`.
    #[must_use]
    pub fn options(self, options: CallOptions) -> Call {
        Call::new(self).options(options)
    }
}

impl From<ChatRequest> for Call {
    fn from(request: ChatRequest) -> Self {
        Self::new(request)
    }
}

impl From<Arc<ChatRequest>> for Call {
    fn from(request: Arc<ChatRequest>) -> Self {
        Self::new(request)
    }
}

impl From<&str> for Call {
    fn from(text: &str) -> Self {
        Self::new(ChatRequest::from(text))
    }
}

impl From<String> for Call {
    fn from(text: String) -> Self {
        Self::new(ChatRequest::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    #[test]
    fn a_tenant_is_not_in_debug() {
        let call = Call::from("q").tenant("secret-tenant");
        assert!(!format!("{call:?}").contains("secret-tenant"));
        assert_eq!(TenantId::from("acme").to_string(), "acme");
    }

    #[test]
    fn timeouts_are_configured_as_people_write_them() {
        let text = r#"{"connect":"250ms","first_content":"1m30s","idle":"45s","total":"1h"}"#;
        let expected = Timeouts::new()
            .connect(Duration::from_millis(250))
            .first_content(Duration::from_secs(90))
            .idle(Duration::from_secs(45))
            .total(Duration::from_secs(3_600));
        assert_eq!(serde_json::from_str::<Timeouts>(text).unwrap(), expected);
        assert_eq!(serde_json::to_string(&expected).unwrap(), text);
    }

    #[test]
    fn a_misspelt_timeout_is_refused() {
        assert!(serde_json::from_str::<Timeouts>(r#"{"totel":"1h"}"#).is_err());
        assert_eq!(serde_json::from_str::<Timeouts>("{}").unwrap(), Timeouts::default());
    }

    #[test]
    fn a_relative_deadline_counts_from_the_call() {
        let start = now();
        assert_eq!(
            Deadline::In(Duration::from_secs(1)).resolve(start),
            start + Duration::from_secs(1)
        );
        assert!(Deadline::In(Duration::MAX).resolve(start) > start);
    }
}
