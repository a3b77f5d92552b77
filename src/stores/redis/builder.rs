//! How the way to the servers is put together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo, RedisError};

use super::keys::Keys;
use super::link::{Link, Patience};
use super::shared::RedisShared;
use crate::error::BuildError;
use crate::stores::envelope::Sealer;

/// Shorter secrets can be guessed.
const SHORTEST_SECRET: usize = 16;

/// A prefix is repeated in every key.
const LONGEST_PREFIX: usize = 32;

/// Builds a [`RedisShared`].
#[must_use]
pub struct RedisSharedBuilder {
    url: String,
    answers_at: Option<String>,
    nodes: Option<Vec<String>>,
    secret: Vec<u8>,
    prefix: String,
    patience: Patience,
}

impl RedisSharedBuilder {
    pub(super) fn new(url: String) -> Self {
        let patience =
            Patience { connect: Duration::from_secs(1), response: Duration::from_millis(250) };
        let (answers_at, nodes, secret) = (None, None, Vec::new());
        Self { url, answers_at, nodes, secret, prefix: "ek".to_owned(), patience }
    }

    /// The secret that names are hashed and values are sealed with: at least 16 bytes, the same for all
    /// instances. With another one, everything on the server is as if it were not there. Required.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = secret.as_ref().to_vec();
        self
    }

    /// What every key begins with, for services that share a server; `ek`, unless set. Each byte is one
    /// in every key.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Keeps answers and facts on another server than quotas, one alone that may evict what it has no room
    /// for. Without, they have a connection of their own to the same server, so that no quota waits
    /// behind a long answer.
    pub fn answers_at(mut self, url: impl Into<String>) -> Self {
        self.answers_at = Some(url.into());
        self
    }

    /// The server is one of a cluster. `others` are more of its nodes, to find it by when the first is
    /// away; user and password are the same for all.
    pub fn cluster<U: Into<String>>(mut self, others: impl IntoIterator<Item = U>) -> Self {
        self.nodes = Some(others.into_iter().map(Into::into).collect());
        self
    }

    /// How long the driver waits for an answer; 250 ms, unless set. Those who ask have deadlines of
    /// their own: this one ends what nobody waits for any more.
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.patience.response = timeout;
        self
    }

    /// How long the driver waits for a connection; a second, unless set.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.patience.connect = timeout;
        self
    }

    /// The finished way. Connects to nothing yet.
    ///
    /// # Errors
    /// When a URL cannot be understood, the secret is too short, the prefix is empty, too long or holds
    /// more than letters, digits, `-`, `_`, `.` and `:`, or a timeout is zero.
    pub fn build(self) -> Result<RedisShared, BuildError> {
        self.check()?;
        let Self { url, nodes, secret, prefix, patience, answers_at } = &self;
        let here = || link("url", url, nodes.as_deref(), *patience);
        let quotas = here()?;
        let answers = match answers_at {
            None => here()?,
            Some(url) => link("answers_at", url, None, *patience)?,
        };
        let keys = Keys::new(prefix.clone(), Sealer::new(secret));
        Ok(RedisShared {
            keys: Arc::new(keys),
            quotas: Arc::new(quotas),
            answers: Arc::new(answers),
        })
    }

    fn check(&self) -> Result<(), BuildError> {
        let Self { secret, prefix, patience, .. } = self;
        if secret.len() < SHORTEST_SECRET {
            let reason = format!("must be at least {SHORTEST_SECRET} bytes");
            return Err(BuildError::new("secret", reason));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.chars().all(plain) {
            let reason = "must be 1 to 32 letters, digits, `-`, `_`, `.` or `:`";
            return Err(BuildError::new("prefix", reason));
        }
        let timeouts =
            [("response_timeout", patience.response), ("connect_timeout", patience.connect)];
        match timeouts.into_iter().find(|(_, timeout)| timeout.is_zero()) {
            Some((field, _)) => Err(BuildError::new(field, "must be above zero")),
            None => Ok(()),
        }
    }
}

/// The way to one server, or to the cluster it and `others` are of.
fn link(
    field: &'static str,
    url: &str,
    others: Option<&[String]>,
    patience: Patience,
) -> Result<Link, BuildError> {
    let first = server(field, url)?;
    let link = match others {
        None => Link::to_one(first, patience),
        Some(others) => {
            let others = others.iter().map(|url| server("cluster", url));
            let nodes = [Ok(first)].into_iter().chain(others).collect::<Result<_, _>>()?;
            Link::to_cluster(nodes, patience)
        }
    };
    link.map_err(|error| wrong(field, &error))
}

fn server(field: &'static str, url: &str) -> Result<ConnectionInfo, BuildError> {
    url.into_connection_info().map_err(|error| wrong(field, &error))
}

/// The driver's reason; its detail may quote the URL, so it is left out.
fn wrong(field: &'static str, error: &RedisError) -> BuildError {
    let text = error.to_string();
    let reason = text.split(" - ").next().unwrap_or_default();
    BuildError::new(field, reason.to_owned())
}

/// URLs may hold passwords, so none is shown.
impl fmt::Debug for RedisSharedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, answers_at, nodes, secret: _, prefix, patience } = self;
        f.debug_struct("RedisSharedBuilder")
            .field("answers_elsewhere", &answers_at.is_some())
            .field("cluster", &nodes.is_some())
            .field("prefix", prefix)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}
