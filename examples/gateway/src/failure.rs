//! Failures in the words of the API: a status, a body that says why, and when to come back.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evenkeel::error::NoEndpoint;
use evenkeel::{Error, ErrorKind, ProviderError};
use serde_json::{Value, json};

/// What the caller is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
    /// The field of the request at fault.
    param: Option<String>,
    /// When the same call may succeed.
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Self { status, kind, code, message: message.into(), param: None, retry_after: None }
    }

    /// 401.
    pub fn unauthorized(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// 400, with the field at fault.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let failure = Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        Self { param: Some(param.into()).filter(|param| !param.is_empty()), ..failure }
    }

    /// 413.
    pub fn too_large(bytes: usize) -> Self {
        let message = format!("the body has more than {bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// 408.
    pub fn slow_body() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// 404, 405: a path or a method that is not served.
    pub fn not_served(status: StatusCode) -> Self {
        Self::new(status, "not_found", "there is no such resource")
    }

    /// The body, which is also what an event stream says when it breaks off.
    pub fn body(&self) -> Value {
        let Self { kind, code, message, param, .. } = self;
        json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (status, code) = classify(error);
        let failure = Self::new(status, code, message(error));
        let retry_after = match error {
            // Another instance may take it at once.
            Error::Closed { .. } => Some(Duration::ZERO),
            error => error.retry_after(),
        };
        Self { retry_after, ..failure }
    }
}

fn classify(error: &Error) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match error {
        Error::Quota(_) => (S::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        Error::LargerThanQuota(_) => (S::PAYLOAD_TOO_LARGE, "larger_than_quota"),
        Error::Queue(_) => (S::SERVICE_UNAVAILABLE, error.label()),
        Error::Closed { .. } => (S::SERVICE_UNAVAILABLE, "shutting_down"),
        Error::Deadline { .. } => (S::GATEWAY_TIMEOUT, "deadline"),
        Error::InvalidCall(_) => (S::BAD_REQUEST, "invalid_value"),
        Error::NoEndpoint(never) => match never {
            NoEndpoint::UnknownModel { .. } => (S::NOT_FOUND, "model_not_found"),
            NoEndpoint::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "request_too_large"),
            _ => (S::BAD_REQUEST, "unsupported"),
        },
        Error::Unavailable(_) | Error::Exhausted { .. } | Error::Refused { .. } => {
            let unknown = (S::SERVICE_UNAVAILABLE, "unavailable");
            error.provider_error().map_or(unknown, |error| upstream(error.kind()))
        }
        _ => (S::BAD_GATEWAY, error.label()),
    }
}

/// What an upstream's failure is to the caller. Our credentials and our bill are not the caller's.
fn upstream(kind: ErrorKind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        ErrorKind::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        ErrorKind::InvalidRequest => (S::BAD_REQUEST, "invalid_value"),
        ErrorKind::Unsupported => (S::BAD_REQUEST, "unsupported"),
        ErrorKind::ContextLength => (S::BAD_REQUEST, "context_length_exceeded"),
        ErrorKind::ContentFilter => (S::BAD_REQUEST, "content_filter"),
        ErrorKind::ModelNotFound => (S::NOT_FOUND, "model_not_found"),
        ErrorKind::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded"),
        ErrorKind::Timeout => (S::GATEWAY_TIMEOUT, "timeout"),
        _ => (S::BAD_GATEWAY, kind.label()),
    }
}

/// What is wrong with the caller's own request, in the upstream's words; else the client's, which
/// quote nobody.
fn message(error: &Error) -> String {
    let own = |error: &&ProviderError| {
        let faulty =
            [ErrorKind::InvalidRequest, ErrorKind::ContextLength, ErrorKind::ContentFilter];
        faulty.contains(&error.kind()) && !error.message().is_empty()
    };
    let quoted = error.provider_error().filter(own).map(|error| error.message().to_owned());
    quoted.unwrap_or_else(|| error.to_string())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/json")], self.body().to_string())
                .into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: whoever comes back early is refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            // OpenAI's clients read the finer one first.
            let millis = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert("retry-after-ms", HeaderValue::from(millis));
        }
        response
    }
}
