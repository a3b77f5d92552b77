//! The SDK's errors, classified.

use async_openai::error::OpenAIError;
use evenkeel::{ErrorKind, ProviderError};

/// What went wrong. The SDK's words are left out: they quote whole bodies.
pub(crate) fn of(error: OpenAIError) -> ProviderError {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<ProviderError>() {
            Ok(own) => *own,
            Err(_) => ProviderError::new(ErrorKind::Transport, "the SDK's service failed"),
        },
        OpenAIError::Reqwest(error) if error.is_timeout() => {
            ProviderError::new(ErrorKind::Timeout, "the server did not answer in time")
        }
        OpenAIError::Reqwest(_) => {
            ProviderError::new(ErrorKind::Transport, "the connection failed")
        }
        OpenAIError::JSONDeserialize(..) => malformed(),
        OpenAIError::StreamError(_) => {
            ProviderError::new(ErrorKind::Interrupted, "the stream broke off")
        }
        OpenAIError::InvalidArgument(_) => {
            ProviderError::new(ErrorKind::InvalidRequest, "the SDK refused the request")
        }
        _ => ProviderError::new(ErrorKind::Server, "the SDK failed"),
    }
}

pub(crate) fn malformed() -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the answer is not what the API promises")
}
