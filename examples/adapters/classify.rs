//! What a refused request is, for SDKs that give the status, the headers and the body of a failure.
//! Part of both adapters.

use std::time::Duration;

use evenkeel::{ErrorKind, ProviderError, time};
use serde_json::Value;

/// A failure with this status and this body. Streams report errors without a status.
pub(crate) fn failure(
    status: Option<u16>,
    body: &str,
    header: impl Fn(&str) -> Option<String>,
) -> ProviderError {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let said = if json["error"].is_null() { &json } else { &json["error"] };
    // Some servers put the status into the code.
    let number = said["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let named = ["code", "type", "status"].map(|field| said[field].as_str().unwrap_or_default());
    let kind = kind(status.or(number), &named);
    let mut error = ProviderError::new(kind, message(said, body));
    if let Some(status) = status {
        error = error.with_status(status);
    }
    if let Some(name) = named.into_iter().find(|name| is_code(name)) {
        error = error.with_code(name.to_owned());
    }
    if let Some(after) = retry_after(&header) {
        error = error.with_retry_after(after);
    }
    match header("x-request-id") {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

fn message(said: &Value, body: &str) -> String {
    let message = said["message"].as_str().or_else(|| said.as_str());
    message.map_or_else(|| body.trim().to_owned(), str::to_owned)
}

/// A code is shown in errors, and a sentence may quote the request.
fn is_code(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Money before speed, and speed before load: each of them is a 429 on some server.
fn kind(status: Option<u16>, named: &[&str]) -> ErrorKind {
    let names = |words: &[&str]| {
        let named = named.iter().map(|name| name.to_ascii_lowercase());
        named.into_iter().any(|name| words.iter().any(|word| name.contains(word)))
    };
    match status {
        Some(402) => ErrorKind::QuotaExhausted,
        _ if names(&["insufficient_quota", "billing"]) => ErrorKind::QuotaExhausted,
        Some(429) => ErrorKind::RateLimited,
        _ if names(&["rate_limit", "resource_exhausted"]) => ErrorKind::RateLimited,
        Some(503 | 529) => ErrorKind::Overloaded,
        _ if names(&["overloaded", "unavailable"]) => ErrorKind::Overloaded,
        _ if names(&["context_length"]) => ErrorKind::ContextLength,
        _ if names(&["content_filter", "content_policy"]) => ErrorKind::ContentFilter,
        Some(404) => ErrorKind::ModelNotFound,
        _ if names(&["model_not_found"]) => ErrorKind::ModelNotFound,
        Some(401 | 403) => ErrorKind::Auth,
        _ if names(&["authentication", "permission", "invalid_api_key"]) => ErrorKind::Auth,
        Some(408) => ErrorKind::Timeout,
        Some(400..500) => ErrorKind::InvalidRequest,
        None if names(&["invalid_request"]) => ErrorKind::InvalidRequest,
        _ => ErrorKind::Server,
    }
}

/// In milliseconds, in seconds, or as a date. What is none of these says nothing.
fn retry_after(header: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name, unit| {
        let value: f64 = header(name)?.trim().parse().ok()?;
        Duration::try_from_secs_f64(value * unit).ok()
    };
    let date = || {
        let at = httpdate::parse_http_date(header("retry-after")?.trim()).ok()?;
        Some(at.duration_since(time::wall_clock()).unwrap_or_default())
    };
    number("retry-after-ms", 1e-3).or_else(|| number("retry-after", 1.0)).or_else(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_comes_before_speed_and_speed_before_load() {
        let kind = |status, code: &str| {
            failure(Some(status), &format!(r#"{{"error":{{"code":"{code}"}}}}"#), |_| None).kind()
        };
        assert_eq!(kind(429, "insufficient_quota"), ErrorKind::QuotaExhausted);
        assert_eq!(kind(429, "engine_overloaded"), ErrorKind::RateLimited);
        assert_eq!(kind(500, "overloaded_error"), ErrorKind::Overloaded);
        assert_eq!(kind(400, "context_length_exceeded"), ErrorKind::ContextLength);
        assert_eq!(kind(400, ""), ErrorKind::InvalidRequest);
        assert_eq!(kind(502, ""), ErrorKind::Server);
    }

    #[test]
    fn the_time_to_come_back_is_read_in_every_form_and_never_trusted() {
        let after = |name: &'static str, value: &'static str| {
            retry_after(|asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(after("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(after("retry-after", "1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(after("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for nonsense in ["-1", "NaN", "inf", "1e300", "soon", ""] {
            assert_eq!(after("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
