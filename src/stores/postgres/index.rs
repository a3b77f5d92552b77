//! The index as it is used.

use std::sync::Arc;

use async_trait::async_trait;

use super::builder::PostgresIndexBuilder;
use super::entry::Entries;
use super::lines::Lines;
use super::link::Link;
use super::sql::BATCH;
use crate::cache::shared::{Neighbour, SharedEntry, VectorIndex};
use crate::embed::Embedding;
use crate::error::BuildError;
use crate::remote::StoreError;

/// The server's sums are in single precision: a vector at the threshold must not be left there. What is
/// fetched is compared again.
const SLACK: f64 = 1e-5;

/// A semantic index that instances share, in a table of PostgreSQL with pgvector.
///
/// Cheap to clone; clones share the connections. Those are made when something is first asked, belong
/// to the runtime it is asked on, and end with it or with the last clone.
///
/// ```
/// use evenkeel::stores::postgres::PostgresIndex;
///
/// # fn main() -> Result<(), evenkeel::BuildError> {
/// let index = PostgresIndex::builder("postgres://app:password@127.0.0.1/app")
///     .secret("at least sixteen bytes that all instances have")
///     .dimensions(384)
///     .build()?;
/// assert!(!format!("{index:?}").contains("password"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresIndex {
    lines: Arc<Lines>,
    entries: Entries,
}

impl PostgresIndex {
    /// Starts from a connection string: `postgres://user:password@host:port/database?..`, or
    /// `host=.. user=..`.
    pub fn builder(server: impl Into<String>) -> PostgresIndexBuilder {
        PostgresIndexBuilder::new(server.into())
    }

    /// With the defaults, and no HNSW index. Connects to nothing yet.
    ///
    /// # Errors
    /// When the connection string cannot be understood or the secret is too short.
    pub fn connect(
        server: impl Into<String>,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, BuildError> {
        Self::builder(server).secret(secret).build()
    }

    pub(super) fn new(lines: Lines, entries: Entries) -> Self {
        Self { lines: Arc::new(lines), entries }
    }

    /// Makes the table and its indexes, or brings them up to date; does nothing where they are. Several
    /// may ask at once: one does it, and the others wait.
    ///
    /// Switches pgvector on for the database where it is not, which not every user may. An HNSW index
    /// for a table that holds rows already is built beside the traffic, and takes minutes for a million.
    ///
    /// # Errors
    /// Where the server cannot be reached, does not allow it, or has no pgvector from 0.6 on.
    ///
    /// # Cancellation
    /// What was begun may be completed, or is rolled back. Asked again, it goes on.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.lines.migrate().await
    }

    /// Deletes all entries whose answers carry a label, see
    /// [`Stamp`](crate::cache::shared::Stamp), some hundreds at a time; how many. Advancing the label's
    /// epoch already keeps them from being served: this takes them out of the table.
    ///
    /// # Errors
    /// Where the index could not be asked. Some may have been deleted.
    pub async fn invalidate(&self, label: u128) -> Result<u64, StoreError> {
        let label = label.to_be_bytes();
        let mut all = 0;
        loop {
            let batch = move |link: Arc<Link>| async move { link.invalidate(&label).await };
            let deleted = self.lines.ask(batch).await?;
            all += deleted;
            if deleted < BATCH {
                return Ok(all);
            }
        }
    }
}

#[async_trait]
impl VectorIndex for PostgresIndex {
    async fn nearest(
        &self,
        partition: u128,
        vector: &Embedding,
        at_least: f32,
    ) -> Result<Vec<Neighbour>, StoreError> {
        let distance = 1.0 - f64::from(at_least) + SLACK;
        let (key, coordinates) = (partition.to_be_bytes(), vector.as_slice().to_vec());
        let search =
            move |link: Arc<Link>| async move { link.nearest(&key, &coordinates, distance).await };
        let rows = self.lines.ask(search).await?;
        let (mut found, mut broken) = (Vec::new(), None);
        // One that was altered must not hide those beside it.
        for row in rows {
            match self.entries.read(partition, row, vector) {
                Ok(near) => found.push(near),
                Err(error) => broken = Some(error),
            }
        }
        if let Some(error) = broken.filter(|_| found.is_empty()) {
            return Err(error);
        }
        found.retain(|near| near.similarity >= at_least);
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        Ok(found)
    }

    async fn insert(&self, entry: &SharedEntry) -> Result<(), StoreError> {
        let written = self.entries.write(entry)?;
        self.lines.ask(move |link| async move { link.insert(&written).await }).await
    }

    async fn remove(&self, partition: u128, exact: u128) -> Result<(), StoreError> {
        let (partition, exact) = (partition.to_be_bytes(), exact.to_be_bytes());
        self.lines.ask(move |link| async move { link.remove(&partition, &exact).await }).await
    }

    async fn clean_up(&self) -> Result<u64, StoreError> {
        self.lines.ask(|link| async move { link.clean_up().await }).await
    }
}
