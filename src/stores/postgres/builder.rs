//! How the index is put together.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;

use super::dial::Dialer;
use super::entry::Entries;
use super::index::PostgresIndex;
use super::lines::Lines;
use super::sql::Shape;
use crate::error::BuildError;
use crate::stores::envelope::Sealer;

/// Shorter secrets can be guessed.
const SHORTEST_SECRET: usize = 16;

/// With what is appended for indexes, names stay below PostgreSQL's 63 bytes.
const LONGEST_TABLE: usize = 40;

/// More dimensions pgvector does not keep.
const MOST_DIMENSIONS: usize = 16_000;

const MOST_CONNECTIONS: usize = 64;

/// After how long a peer that acknowledges nothing is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// Builds a [`PostgresIndex`].
#[must_use]
pub struct PostgresIndexBuilder {
    server: String,
    secret: Vec<u8>,
    shape: Shape,
    connections: usize,
    connect_timeout: Duration,
}

impl PostgresIndexBuilder {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            secret: Vec::new(),
            shape: Shape::default(),
            connections: 4,
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// The secret that what is stored is encrypted and sealed with: at least 16 bytes, the same for all
    /// instances. What was stored with another one is garbled. Required.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = secret.as_ref().to_vec();
        self
    }

    /// The table; `evenkeel_answers`, unless set. Lower-case letters, digits and `_`. It is looked for
    /// along the search path of the connection, as every name is.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.shape.table = name.into();
        self
    }

    /// How many dimensions the embedder's vectors have: those get an HNSW index when the table is next
    /// [migrated](PostgresIndex::migrate). Without, none is made, and of a large partition only the
    /// rows that expire last are looked through.
    pub const fn dimensions(mut self, dimensions: usize) -> Self {
        self.shape.dimensions = Some(dimensions);
        self
    }

    /// Up to how many rows a partition is read from end to end; 2,000, unless set. A row takes a few
    /// microseconds of the server's time. Where there is no HNSW index, no more rows than this are read.
    pub const fn exact_up_to(mut self, rows: usize) -> Self {
        self.shape.exact_up_to = rows;
        self
    }

    /// The most rows of a partition: an insertion deletes those beyond it that expire first. Several at
    /// once may exceed it for a moment. Unbounded, unless set; each insertion then reads over the rows
    /// of its partition in the B-tree.
    pub const fn most_per_partition(mut self, rows: usize) -> Self {
        self.shape.most_per_partition = Some(rows);
        self
    }

    /// How many connections; four, unless set.
    pub const fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long the server works on a statement; 100 ms, unless set. Those who ask have deadlines of
    /// their own: this one ends what nobody waits for any more. Deleting many rows may take ten times
    /// as long.
    pub const fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.shape.statement_timeout = timeout;
        self
    }

    /// How long an attempt to connect may take; 5 seconds, unless set.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The finished index. Connects to nothing yet.
    ///
    /// # Errors
    /// When the connection string cannot be understood or demands TLS, the secret is too short, the
    /// table's name holds other letters or is too long, or a number or time is zero or too large.
    pub fn build(self) -> Result<PostgresIndex, BuildError> {
        self.check()?;
        let mut config: Config = self.server.parse().map_err(|_| {
            // The driver's reason may quote the string, which holds a password.
            BuildError::new("server", "must be a PostgreSQL connection string")
        })?;
        let tls = config.get_ssl_mode() == tokio_postgres::config::SslMode::Require;
        check("server", !tls, "must not demand TLS, which this index does not speak")?;
        check("server", !config.get_hosts().is_empty(), "must name a host")?;
        if config.get_application_name().is_none() {
            config.application_name("evenkeel");
        }
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        let sealer = Sealer::new(&self.secret);
        let dialer = Dialer::new(config, self.connect_timeout, self.shape);
        Ok(PostgresIndex::new(Lines::new(dialer, self.connections), Entries::new(sealer)))
    }

    fn check(&self) -> Result<(), BuildError> {
        let Self { secret, shape, connections, connect_timeout, .. } = self;
        let within = |number: usize, most: usize| (1..=most).contains(&number);
        check("secret", secret.len() >= SHORTEST_SECRET, "must be at least 16 bytes")?;
        let plain = is_plain(&shape.table);
        check("table", plain, "must be 1 to 40 lower-case letters, digits or `_`, no digit first")?;
        let dimensions = shape.dimensions.is_none_or(|it| within(it, MOST_DIMENSIONS));
        check("dimensions", dimensions, "must be 1 to 16,000")?;
        let exact = within(shape.exact_up_to, i32::MAX as usize);
        check("exact_up_to", exact, "must be above zero")?;
        let most = shape.most_per_partition.is_none_or(|it| within(it, i32::MAX as usize));
        check("most_per_partition", most, "must be above zero")?;
        check("connections", within(*connections, MOST_CONNECTIONS), "must be 1 to 64")?;
        let timeout = (1..=i32::MAX as u128).contains(&shape.statement_timeout.as_millis());
        check(
            "statement_timeout",
            timeout,
            "must be at least a millisecond, and less than 24 days",
        )?;
        check("connect_timeout", !connect_timeout.is_zero(), "must be above zero")
    }
}

fn check(field: &'static str, holds: bool, reason: &'static str) -> Result<(), BuildError> {
    if holds { Ok(()) } else { Err(BuildError::new(field, reason)) }
}

/// Needs no quotes, and is no surprise in any of the statements it is put into.
fn is_plain(name: &str) -> bool {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|letter| letter == b'_' || letter.is_ascii_lowercase());
    let plain =
        |letter: u8| letter == b'_' || letter.is_ascii_lowercase() || letter.is_ascii_digit();
    first && letters.all(plain) && name.len() <= LONGEST_TABLE
}

/// The connection string may hold a password, so it is not shown.
impl fmt::Debug for PostgresIndexBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresIndexBuilder")
            .field("shape", &self.shape)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "postgres://app:hunter2@127.0.0.1/db";

    fn builder() -> PostgresIndexBuilder {
        PostgresIndexBuilder::new(SERVER.to_owned()).secret([7; 32])
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let wrong = [
            (PostgresIndexBuilder::new(SERVER.to_owned()), "secret"),
            (builder().table("a; drop table b"), "table"),
            (builder().table(""), "table"),
            (builder().table("1a"), "table"),
            (builder().table("a".repeat(41)), "table"),
            (builder().dimensions(0), "dimensions"),
            (builder().exact_up_to(0), "exact_up_to"),
            (builder().most_per_partition(0), "most_per_partition"),
            (builder().connections(0), "connections"),
            (builder().statement_timeout(Duration::from_micros(9)), "statement_timeout"),
            (builder().statement_timeout(Duration::MAX), "statement_timeout"),
            (builder().connect_timeout(Duration::ZERO), "connect_timeout"),
            (PostgresIndexBuilder::new("x=y".to_owned()).secret([7; 32]), "server"),
            (PostgresIndexBuilder::new("user=app".to_owned()).secret([7; 32]), "server"),
            (
                PostgresIndexBuilder::new(format!("{SERVER}?sslmode=require")).secret([7; 32]),
                "server",
            ),
        ];
        for (builder, field) in wrong {
            assert_eq!(builder.build().unwrap_err().field(), field);
        }
    }

    #[test]
    fn nothing_shows_the_password_the_user_or_the_secret() {
        let shown = format!("{:?} {:?}", builder(), builder().build().unwrap());
        let broken = PostgresIndexBuilder::new(format!("{SERVER}?hunter2=hunter2"));
        let error = broken.secret([7; 32]).build().unwrap_err();
        for shown in [shown, format!("{error:?} {error}")] {
            assert!(!shown.contains("hunter2") && !shown.contains("app"), "{shown}");
            assert!(!shown.contains("7, 7"), "{shown}");
        }
    }
}
