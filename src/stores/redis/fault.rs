//! The driver's errors as the crate's.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::remote::StoreError;

/// What went wrong, in words that come from no key and no value: a server's own text may quote both.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Connection(String),
    #[error("{what} ({code})")]
    Server { what: &'static str, code: String },
    #[error("{0}")]
    Driver(String),
}

/// `error` of an operation that the driver waited `patience` for.
pub(super) fn store_error(error: &RedisError, patience: Duration) -> StoreError {
    if error.is_timeout() {
        return StoreError::Late(patience);
    }
    match error.kind() {
        ErrorKind::Io => StoreError::Unreachable(Fault::Connection(error.to_string()).into()),
        ErrorKind::ClusterConnectionNotFound => unreachable_node(error),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreError::Garbled(driver(error)),
        ErrorKind::Server(kind) if is_away(kind) => {
            StoreError::Unreachable(server(error, "the server is not ready"))
        }
        ErrorKind::Server(_) | ErrorKind::Extension => {
            StoreError::Refused(server(error, "the server answered with an error"))
        }
        _ => StoreError::Refused(driver(error)),
    }
}

fn unreachable_node(error: &RedisError) -> StoreError {
    StoreError::Unreachable(driver(error))
}

/// Whether the server will do it later, or another one will.
const fn is_away(kind: ServerErrorKind) -> bool {
    use ServerErrorKind as Kind;
    matches!(
        kind,
        Kind::BusyLoading
            | Kind::ClusterDown
            | Kind::MasterDown
            | Kind::TryAgain
            | Kind::Moved
            | Kind::Ask
    )
}

fn server(error: &RedisError, what: &'static str) -> Box<dyn std::error::Error + Send + Sync> {
    Fault::Server { what, code: error.code().unwrap_or("ERR").to_owned() }.into()
}

fn driver(error: &RedisError) -> Box<dyn std::error::Error + Send + Sync> {
    Fault::Driver(error.category().to_owned()).into()
}
