//! The SDK's errors, classified.
//!
//! The SDK's own texts are left out, as message and as source: some print whole requests.

use evenkeel::{ErrorKind, ProviderError};
use genai::{Error, webc};

use crate::classify;

/// What went wrong.
pub(crate) fn of(error: &Error) -> ProviderError {
    if let Some((status, body)) = error.status().zip(refusal(error)) {
        let header = |name: &str| {
            let value = error.headers()?.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        return classify::failure(Some(status.as_u16()), body, header);
    }
    let (kind, what) = match error {
        Error::ChatResponse { body, .. } => {
            return classify::failure(None, &body.to_string(), |_| None);
        }
        Error::WebModelCall { webc_error, .. } | Error::WebAdapterCall { webc_error, .. } => {
            return without_status(webc_error);
        }
        // What refuses a stream is inside what breaks one off.
        Error::WebStream { error, .. } => match error.downcast_ref::<Error>() {
            Some(inner) => return of(inner),
            None => (ErrorKind::Interrupted, "the stream broke off"),
        },
        Error::RequiresApiKey { .. } | Error::NoAuthResolver { .. } | Error::NoAuthData { .. } => {
            (ErrorKind::Auth, "the SDK has no key for the model")
        }
        Error::NoChatResponse { .. }
        | Error::InvalidJsonResponseElement { .. }
        | Error::ChatResponseGeneration { .. }
        | Error::StreamParse { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_) => return malformed(),
        _ => (ErrorKind::Unsupported, "the SDK cannot make the request"),
    };
    ProviderError::new(kind, what)
}

/// The body of a refused request.
fn refusal(error: &Error) -> Option<&str> {
    match error {
        Error::HttpError { body, .. } => Some(body),
        Error::WebModelCall { webc_error, .. } | Error::WebAdapterCall { webc_error, .. } => {
            match webc_error {
                webc::Error::ResponseFailedStatus { body, .. } => Some(body),
                _ => None,
            }
        }
        _ => None,
    }
}

fn without_status(error: &webc::Error) -> ProviderError {
    match error {
        webc::Error::Reqwest(error) if error.is_timeout() => {
            ProviderError::new(ErrorKind::Timeout, "the server did not answer in time")
        }
        webc::Error::Reqwest(_) => {
            ProviderError::new(ErrorKind::Transport, "the connection failed")
        }
        _ => malformed(),
    }
}

pub(crate) fn malformed() -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the answer is not what the API promises")
}
