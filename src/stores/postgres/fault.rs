//! The driver's errors as the crate's.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::remote::StoreError;

/// Why the server did not do what it was asked, in words that come from no row. May be told to many.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{words}")]
pub(super) struct Fault {
    kind: Kind,
    words: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unreachable,
    Late(Duration),
    Refused,
    Garbled,
}

impl Fault {
    pub(super) fn unreachable(words: &str) -> Self {
        Self::new(Kind::Unreachable, words)
    }

    pub(super) fn refused(words: &str) -> Self {
        Self::new(Kind::Refused, words)
    }

    fn new(kind: Kind, words: &str) -> Self {
        Self { kind, words: words.into() }
    }

    /// What `error` means for a statement that had so long.
    pub(super) fn of(error: &Error, patience: Duration) -> Self {
        match error.as_db_error() {
            Some(error) if *error.code() == SqlState::QUERY_CANCELED => {
                Self::new(Kind::Late(patience), "the server cancelled the statement")
            }
            Some(error) => Self::new(kind(error.code()), &words(error)),
            None => Self::of_the_way(error),
        }
    }

    /// Something the driver found without the server's saying so.
    fn of_the_way(error: &Error) -> Self {
        let broken = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        if let Some(broken) = broken {
            return Self::unreachable(&format!("{error}: {}", broken.kind()));
        }
        let kind = if error.is_closed() { Kind::Unreachable } else { Kind::Garbled };
        Self::new(kind, &error.to_string())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Unreachable => Self::Unreachable(fault.into()),
            Kind::Late(patience) => Self::Late(patience),
            Kind::Refused => Self::Refused(fault.into()),
            Kind::Garbled => Self::Garbled(fault.into()),
        }
    }
}

/// Whether the server is away or says no.
fn kind(code: &SqlState) -> Kind {
    let away = matches!(class(code), "08" | "53" | "57" | "58");
    if away { Kind::Unreachable } else { Kind::Refused }
}

/// The server's own words where they can only be about names of databases, users and tables: what it
/// says of data may quote it.
fn words(error: &DbError) -> String {
    let code = error.code().code();
    match class(error.code()) {
        "28" | "3D" | "42" | "53" | "57" => format!("{} ({code})", error.message()),
        _ => format!("the server answered with an error ({code})"),
    }
}

fn class(code: &SqlState) -> &str {
    code.code().get(..2).unwrap_or_default()
}
