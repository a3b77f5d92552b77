//! What a server's error means, decided once and for every wire.
//!
//! The order is the point: out of money comes before too fast, and too fast before overloaded,
//! because servers use the same status for all three and the remedies differ. The same reading
//! serves error responses and errors inside a response that began with 200.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use crate::error::{ErrorKind, ProviderError};
use crate::providers::http::lenient::{Fields as _, Lenient, fields, lenient};

/// The error that the body of a failed response describes, JSON or not.
pub(crate) fn error_response(status: u16, body: &[u8]) -> ProviderError {
    let error = match serde_json::from_slice::<Told>(body) {
        Ok(told) => told.innermost().error(Some(status)),
        // Not JSON: a proxy's page or plain text.
        Err(_) => described(Some(status), "", "", String::from_utf8_lossy(body).trim().to_owned()),
    };
    error.with_status(status)
}

/// What a server tells of an error: an object, a sentence, or a list with one of them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    message: Option<String>,
    code: Code,
    kind: Option<String>,
    /// The error inside, where this is what it is wrapped in.
    error: Option<Box<Self>>,
}

#[derive(Debug, Default)]
struct Fields {
    message: Option<String>,
    detail: Option<String>,
    code: Code,
    kind: Option<String>,
    error: Option<Told>,
}

fields!(Fields: message, detail, code, kind = "type", error);

/// A name, or a status.
#[derive(Debug, Default)]
struct Code {
    name: Option<String>,
    status: Option<u16>,
}

impl Told {
    /// The error in the place of an answer.
    pub(crate) fn in_answer(self) -> ProviderError {
        self.error(None)
    }

    /// Whatever `sentence` describes.
    #[cfg(feature = "openai")]
    pub(crate) fn sentence(sentence: String) -> Self {
        Self { message: Some(sentence), ..Self::default() }
    }

    fn innermost(self) -> Self {
        match self.error {
            Some(error) => *error,
            None => self,
        }
    }

    /// `status` is that of the response, where it says something.
    fn error(self, status: Option<u16>) -> ProviderError {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let inner = self.error.and_then(|error| error.message);
        let message = said(self.message).or(inner).unwrap_or_default();
        let name = self.code.name.unwrap_or_default();
        let status = status.or(self.code.status).or_else(|| name.parse().ok());
        described(status, &name, self.kind.as_deref().unwrap_or_default(), message)
    }
}

impl<'de> Lenient<'de> for Told {
    fn of_text(text: &str) -> Self {
        Self { message: Some(text.to_owned()), ..Self::default() }
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let first = list.next_element::<Self>()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.unwrap_or_default())
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        let Fields { message, detail, code, kind, error } = Fields::read(object)?;
        let message = message.filter(|text| !text.is_empty()).or(detail);
        Ok(Self { message, code, kind, error: error.map(Box::new) })
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer)
    }
}

/// Null is no error; anything else is one.
impl<'de> Lenient<'de> for Option<Told> {
    fn of_text(text: &str) -> Self {
        Some(Told::of_text(text))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Told::of_list(list).map(Some)
    }

    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Told::of_object(object).map(Some)
    }

    fn of_other() -> Self {
        Some(Told::default())
    }
}

impl Lenient<'_> for Code {
    fn of_text(text: &str) -> Self {
        Self { name: Some(text.to_owned()), status: None }
    }

    fn of_count(count: u64) -> Self {
        Self { name: None, status: count.try_into().ok() }
    }
}

fn described(status: Option<u16>, code: &str, kind: &str, message: String) -> ProviderError {
    let error = ProviderError::new(classify(status, code, kind, &message), message);
    match [code, kind].into_iter().find(|name| is_identifier(name)) {
        Some(name) => error.with_code(name.to_owned()),
        None => error,
    }
}

/// Codes are shown in logs; a sentence in their place may quote the request.
fn is_identifier(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// What kind of failure a server describes by its status, code, type and message. An empty text and
/// a missing status say nothing.
pub(crate) fn classify(status: Option<u16>, code: &str, kind: &str, message: &str) -> ErrorKind {
    let said = Said {
        status,
        names: format!("{code} {kind}").to_ascii_lowercase(),
        message: message.to_ascii_lowercase(),
    };
    said.account()
        .or_else(|| said.load())
        .or_else(|| said.content())
        .or_else(|| said.model())
        .or_else(|| said.credentials())
        .unwrap_or_else(|| said.remainder())
}

struct Said {
    status: Option<u16>,
    names: String,
    message: String,
}

impl Said {
    fn is(&self, statuses: &[u16]) -> bool {
        self.status.is_some_and(|status| statuses.contains(&status))
    }

    /// Whether the request, rather than the server, can be at fault.
    fn may_be_request(&self) -> bool {
        self.status.is_none_or(|status| (400..500).contains(&status))
    }

    fn named(&self, any: &[&str]) -> bool {
        any.iter().any(|name| self.names.contains(name))
    }

    fn says(&self, any: &[&str]) -> bool {
        any.iter().any(|words| self.message.contains(words))
    }

    /// For what disables an endpoint a sentence must be the server's own: further on it may quote
    /// the request.
    fn begins_with(&self, sentence: &str) -> bool {
        self.message.trim_start().starts_with(sentence)
    }

    fn account(&self) -> Option<ErrorKind> {
        // "You exceeded your current quota" is not among the words: one large server says it of
        // limits per minute.
        let broke = self.is(&[402])
            || self.named(&["insufficient_quota", "insufficient_user_quota", "billing"])
            || self.named(&["insufficient_balance", "insufficient_funds", "credits_exhausted"])
            || (self.may_be_request() && self.begins_with("your credit balance is too low"));
        broke.then_some(ErrorKind::QuotaExhausted)
    }

    fn load(&self) -> Option<ErrorKind> {
        if self.is(&[429]) || self.named(&["rate_limit", "too_many_requests", "throttl"]) {
            return Some(ErrorKind::RateLimited);
        }
        let server_side = self.status.is_none_or(|status| status >= 500);
        let overloaded = self.is(&[503, 529])
            || self.named(&["overloaded", "unavailable"])
            || (server_side && self.says(&["overloaded", "at capacity"]));
        overloaded.then_some(ErrorKind::Overloaded)
    }

    fn content(&self) -> Option<ErrorKind> {
        if !self.may_be_request() {
            return None;
        }
        const TOO_LONG: [&str; 6] = [
            "maximum context length",
            "prompt is too long",
            "context window",
            "context length",
            "context size",
            "input is too long",
        ];
        const FILTERED: [&str; 4] =
            ["content_filter", "content_policy", "responsibleai", "content_moderation"];
        if self.named(&["context_length", "context_size"]) || self.says(&TOO_LONG) {
            return Some(ErrorKind::ContextLength);
        }
        let moderated = self.is(&[403]) && self.says(&["moderation"]);
        (self.named(&FILTERED) || moderated).then_some(ErrorKind::ContentFilter)
    }

    fn model(&self) -> Option<ErrorKind> {
        let named = self.named(&["model_not_found", "invalid_model", "deploymentnotfound"]);
        // A path that does not exist is not a model that does not exist.
        let missing =
            self.is(&[404]) && self.says(&["model", "deployment"]) && !self.says(&["invalid url"]);
        (named || missing).then_some(ErrorKind::ModelNotFound)
    }

    fn credentials(&self) -> Option<ErrorKind> {
        let refused = self.is(&[401, 403])
            || self.named(&["invalid_api_key", "authentication", "permission"]);
        refused.then_some(ErrorKind::Auth)
    }

    fn remainder(&self) -> ErrorKind {
        match self.status {
            Some(408) => ErrorKind::Timeout,
            Some(300..400) => ErrorKind::Malformed,
            Some(400..500) => ErrorKind::InvalidRequest,
            Some(500..) => ErrorKind::Server,
            _ if self.named(&["timeout"]) => ErrorKind::Timeout,
            _ if self.named(&["invalid_request", "badrequest", "request_too_large"]) => {
                ErrorKind::InvalidRequest
            }
            _ => ErrorKind::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn told(error: &Value) -> Told {
        serde_json::from_str(&error.to_string()).unwrap()
    }

    fn kind(status: u16, body: Value) -> ErrorKind {
        error_response(status, body.to_string().as_bytes()).kind()
    }

    #[test]
    fn money_comes_before_speed_and_speed_before_load() {
        use ErrorKind::{Overloaded, QuotaExhausted, RateLimited};
        let code = |code: &str| json!({"error": {"message": "m", "type": "x", "code": code}});
        let typed = |kind: &str| json!({"type": "error", "error": {"message": "m", "type": kind}});
        assert_eq!(kind(429, code("insufficient_quota")), QuotaExhausted);
        assert_eq!(kind(429, code("billing_hard_limit_reached")), QuotaExhausted);
        assert_eq!(kind(402, json!({})), QuotaExhausted);
        let low = json!({"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}});
        assert_eq!(kind(400, low), QuotaExhausted);
        assert_eq!(kind(429, code("rate_limit_exceeded")), RateLimited);
        assert_eq!(kind(429, code("engine_overloaded")), RateLimited);
        assert_eq!(kind(429, json!("slow down")), RateLimited);
        assert_eq!(kind(529, typed("overloaded_error")), Overloaded);
        assert_eq!(kind(500, typed("overloaded_error")), Overloaded);
        assert_eq!(kind(503, json!({"detail": "no"})), Overloaded);
    }

    #[test]
    fn statuses_have_their_kinds() {
        use ErrorKind::{Auth, InvalidRequest, Malformed, Server, Timeout};
        for (status, expected) in [
            (401, Auth),
            (403, Auth),
            (400, InvalidRequest),
            (413, InvalidRequest),
            (422, InvalidRequest),
            (404, InvalidRequest),
            (408, Timeout),
            (500, Server),
            (502, Server),
            (504, Server),
            (302, Malformed),
        ] {
            assert_eq!(kind(status, json!({"error": {"message": "m"}})), expected, "{status}");
        }
    }

    #[test]
    fn a_missing_model_is_told_from_a_missing_path() {
        let openai = json!({"error": {"message": "The model `x` does not exist", "code": "model_not_found"}});
        let anthropic = json!({"error": {"type": "not_found_error", "message": "model: x"}});
        let path = json!({"error": {"message": "Invalid URL (POST /v1/models)", "type": "invalid_request_error"}});
        assert_eq!(kind(404, openai.clone()), ErrorKind::ModelNotFound);
        assert_eq!(kind(403, openai), ErrorKind::ModelNotFound);
        assert_eq!(kind(404, anthropic), ErrorKind::ModelNotFound);
        assert_eq!(kind(404, path), ErrorKind::InvalidRequest);
    }

    #[test]
    fn what_only_another_model_could_take_is_told_apart() {
        use ErrorKind::{ContentFilter, ContextLength};
        let says =
            |message: &str| json!({"error": {"message": message, "type": "invalid_request_error"}});
        let code = |code: &str| json!({"error": {"message": "m", "code": code}});
        assert_eq!(
            kind(400, says("This model's maximum context length is 8 tokens")),
            ContextLength
        );
        assert_eq!(kind(400, says("prompt is too long: 9 tokens > 8 maximum")), ContextLength);
        assert_eq!(kind(413, code("context_length_exceeded")), ContextLength);
        assert_eq!(kind(400, code("content_filter")), ContentFilter);
        assert_eq!(kind(400, code("content_policy_violation")), ContentFilter);
    }

    #[test]
    fn errors_inside_a_good_response_are_read_the_same_way() {
        let kind = |error: Value| told(&error).in_answer().kind();
        assert_eq!(
            kind(json!({"type": "overloaded_error", "message": "m"})),
            ErrorKind::Overloaded
        );
        assert_eq!(kind(json!({"code": 429, "message": "m"})), ErrorKind::RateLimited);
        assert_eq!(kind(json!({"code": "502", "message": "m"})), ErrorKind::Server);
        assert_eq!(kind(json!({"type": "invalid_request_error"})), ErrorKind::InvalidRequest);
        assert_eq!(kind(json!("it broke")), ErrorKind::Server);
        assert_eq!(kind(json!(7)), ErrorKind::Server);
    }

    #[test]
    fn every_shape_of_error_body_gives_its_message() {
        let message = |body: &str| error_response(500, body.as_bytes()).message().to_owned();
        assert_eq!(message(r#"{"error":{"message":"a"}}"#), "a");
        assert_eq!(message(r#"{"error":"b"}"#), "b");
        assert_eq!(message(r#"[{"error":{"message":"c"}}]"#), "c");
        assert_eq!(message(r#"{"detail":"d"}"#), "d");
        assert_eq!(message(r#"{"object":"error","message":"e"}"#), "e");
        assert_eq!(message("  <html>f</html> "), "<html>f</html>");
        assert_eq!(message(""), "");
    }

    #[test]
    fn the_last_field_of_a_name_stands() {
        let twice = br#"{"error":{"code":"insufficient_quota","message":"a","message":"b"}}"#;
        let error = error_response(429, twice);
        assert_eq!((error.kind(), error.message()), (ErrorKind::QuotaExhausted, "b"));
        let wrapped = br#"{"error":null,"error":{"type":"x","type":"billing_error"}}"#;
        assert_eq!(error_response(429, wrapped).kind(), ErrorKind::QuotaExhausted);
    }

    #[test]
    fn a_sentence_is_no_code() {
        let error = told(&json!({"code": "you said: secret", "type": "bad_thing"})).in_answer();
        assert_eq!(error.code(), Some("bad_thing"));
    }

    proptest! {
        #[test]
        fn no_body_panics(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(error_response(status, &body).status(), Some(status));
        }
    }
}
