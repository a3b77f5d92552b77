//! Reading bodies within bounds, and what it means when they break.

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

use crate::error::{ErrorKind, ProviderError};
use crate::time::{self, Instant};

/// What a response says its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Events,
    Json,
    Other,
}

impl Body {
    /// Servers that say nothing, or call their events plain text, are believed to stream.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Events };
        let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
        match value.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" | "text/plain" => Self::Events,
            "application/json" | "text/json" => Self::Json,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

/// The whole body. The bound counts what comes out of decompression, as it comes out.
pub(crate) async fn read(mut response: Response, bound: usize) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(transport_error)? {
        if body.len() + piece.len() > bound {
            let message = format!("the body has more than {bound} bytes");
            return Err(ProviderError::new(ErrorKind::Malformed, message));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What comes of the body until `wait`, up to `bound`. Never fails: half an error page is better
/// than none.
pub(crate) async fn read_some(mut response: Response, bound: usize, wait: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < bound {
        let Some(Ok(Some(piece))) = time::until(wait, response.chunk()).await else { break };
        body.extend_from_slice(&piece[..piece.len().min(bound - body.len())]);
    }
    body
}

/// A failure of the way to the server and back.
pub(crate) fn transport_error(error: reqwest::Error) -> ProviderError {
    // The URL's query may hold what should not be shown.
    let error = error.without_url();
    let (kind, message) = if error.is_connect() {
        (ErrorKind::Transport, "could not connect")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "timed out")
    } else if is_corrupt(&error) {
        (ErrorKind::Malformed, "the body is not encoded as its headers say")
    } else {
        (ErrorKind::Transport, "the connection broke")
    };
    ProviderError::new(kind, message).with_source(error)
}

fn is_corrupt(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput};
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_how_a_body_is_read() {
        let of =
            |value: &str| Body::of(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        assert_eq!(of("text/event-stream; charset=utf-8"), Body::Events);
        assert_eq!(of("Text/Event-Stream"), Body::Events);
        assert_eq!(of("application/json"), Body::Json);
        assert_eq!(of("application/problem+json"), Body::Json);
        assert_eq!(of("text/html"), Body::Other);
        assert_eq!(Body::of(&HeaderMap::new()), Body::Events);
    }
}
