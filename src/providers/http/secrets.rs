//! Keeping keys out of what is said.

use secrecy::{ExposeSecret as _, SecretString};

use crate::error::ProviderError;

const REDACTED: &str = "[redacted]";

/// The shortest text that is taken for a secret. Cutting shorter ones out of messages would only
/// garble them.
const SHORTEST: usize = 8;

/// What must never appear in an error.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(crate) fn add(&mut self, secret: SecretString) {
        if secret.expose_secret().len() >= SHORTEST {
            self.0.push(secret);
        }
    }

    /// `error` without any secret that the server quoted. What a server's JSON library made of the
    /// secret is out of reach; what it sent back verbatim is not.
    pub(crate) fn scrub(&self, error: ProviderError) -> ProviderError {
        let texts = [Some(error.message()), error.code(), error.request_id()];
        if !texts.into_iter().flatten().any(|text| self.is_in(text)) {
            return error;
        }
        let mut clean = ProviderError::new(error.kind(), self.without(error.message()));
        if let Some(status) = error.status() {
            clean = clean.with_status(status);
        }
        if let Some(code) = error.code() {
            clean = clean.with_code(self.without(code));
        }
        if let Some(after) = error.retry_after() {
            clean = clean.with_retry_after(after);
        }
        if let Some(limits) = error.rate_limits() {
            clean = clean.with_rate_limits(*limits);
        }
        if let Some(id) = error.request_id() {
            clean = clean.with_request_id(self.without(id));
        }
        clean
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| {
            let secret = secret.expose_secret();
            text.contains(secret) || cut_off(text, secret).is_some()
        })
    }

    fn without(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            let secret = secret.expose_secret();
            let text = text.replace(secret, REDACTED);
            match cut_off(&text, secret) {
                Some(start) => format!("{}{REDACTED}", &text[..start]),
                None => text,
            }
        })
    }
}

/// Where the beginning of `secret` starts that ends `text`: long messages and ids are cut, and the
/// cut may go through a secret.
fn cut_off(text: &str, secret: &str) -> Option<usize> {
    let text = text.strip_suffix("...").unwrap_or(text);
    (SHORTEST..secret.len())
        .rev()
        .filter_map(|length| secret.get(..length))
        .find(|beginning| text.ends_with(beginning))
        .map(|beginning| text.len() - beginning.len())
}

/// The number, never the text.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::time::Duration;

    const KEY: &str = "sk-test-0123456789abcdef";

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add(KEY.into());
        secrets
    }

    #[test]
    fn a_quoted_key_is_cut_out_and_the_rest_stays() {
        let error = ProviderError::new(ErrorKind::Auth, format!("bad key {KEY}, sorry"))
            .with_status(401)
            .with_code(KEY)
            .with_request_id(format!("req-{KEY}"))
            .with_retry_after(Duration::from_secs(3));
        let clean = secrets().scrub(error);
        assert_eq!(clean.message(), "bad key [redacted], sorry");
        assert_eq!(clean.code(), Some("[redacted]"));
        assert_eq!(clean.request_id(), Some("req-[redacted]"));
        assert_eq!((clean.kind(), clean.status()), (ErrorKind::Auth, Some(401)));
        assert_eq!(clean.retry_after(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_key_that_the_bound_cuts_through_goes_too() {
        for at in 2020..2060 {
            let error = ProviderError::new(ErrorKind::Auth, format!("{}{KEY} x", "-".repeat(at)));
            let clean = secrets().scrub(error);
            assert!(!clean.message().contains("sk-test-0"), "{at}: {}", clean.message());
        }
    }

    #[test]
    fn short_values_are_no_secrets() {
        let mut secrets = Secrets::default();
        secrets.add("key".into());
        let error = secrets.scrub(ProviderError::new(ErrorKind::Auth, "no key given"));
        assert_eq!(error.message(), "no key given");
        assert_eq!(format!("{secrets:?}"), "Secrets(0)");
    }
}
