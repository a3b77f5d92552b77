//! Failures as servers give them.

use crate::error::{ErrorKind, ProviderError};

/// A failure of `kind`, with the HTTP status a server usually gives it.
pub(super) fn of_kind(kind: ErrorKind) -> ProviderError {
    let error = ProviderError::new(kind, format!("scripted failure: {kind}"));
    match usual_status(kind) {
        Some(status) => error.with_status(status),
        None => error,
    }
}

/// `None` for what happens without a response, or after a 200.
fn usual_status(kind: ErrorKind) -> Option<u16> {
    match kind {
        ErrorKind::RateLimited | ErrorKind::QuotaExhausted => Some(429),
        ErrorKind::Auth => Some(401),
        ErrorKind::Overloaded => Some(503),
        ErrorKind::Server => Some(500),
        ErrorKind::ModelNotFound => Some(404),
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::ContentFilter => {
            Some(400)
        }
        ErrorKind::Transport
        | ErrorKind::Timeout
        | ErrorKind::Interrupted
        | ErrorKind::Malformed
        | ErrorKind::Panicked
        | ErrorKind::Unsupported => None,
    }
}
