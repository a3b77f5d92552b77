//! One connection, ready to be asked.

use std::future::Future;
use std::time::Duration;

use futures::future::{join3, try_join3, try_join4};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::entry::{Read, Written};
use super::fault::Fault;
use super::sql::Shape;

/// A connection with its statements prepared. Used by one at a time.
pub(super) struct Link {
    client: Client,
    shape: Shape,
    begin_search: String,
    /// Searches in vectors of so many dimensions, by the HNSW index where there are many.
    by_size: Option<(usize, Statement)>,
    of_the_last: Statement,
    insert: Statement,
    remove: Statement,
    clean_up: Statement,
    invalidate: Statement,
}

impl Link {
    /// Prepares the statements for a server that has, or has not, `iterative` scans.
    pub(super) async fn prepare(
        client: Client,
        shape: Shape,
        iterative: bool,
    ) -> Result<Self, Error> {
        let (insert, remove) = (shape.insert(), shape.remove());
        let (clean_up, invalidate) = (shape.clean_up(), shape.invalidate());
        let of_the_last = shape.nearest_of_the_last();
        let changes = try_join4(
            client.prepare(&insert),
            client.prepare(&remove),
            client.prepare(&clean_up),
            client.prepare(&invalidate),
        );
        let by_size = async {
            let Some(dimensions) = shape.indexed(iterative) else { return Ok(None) };
            let statement = client.prepare(&shape.nearest_by_size(dimensions)).await?;
            Ok(Some((dimensions, statement)))
        };
        let (changes, by_size, of_the_last) =
            try_join3(changes, by_size, client.prepare(&of_the_last)).await?;
        let (insert, remove, clean_up, invalidate) = changes;
        let begin_search = shape.begin_search(iterative);
        Ok(Self {
            client,
            shape,
            begin_search,
            by_size,
            of_the_last,
            insert,
            remove,
            clean_up,
            invalidate,
        })
    }

    /// Rows no further than `distance` from the vector, nearest first.
    pub(super) async fn nearest(
        &self,
        partition: &[u8],
        vector: &[f32],
        distance: f64,
    ) -> Result<Vec<Read>, Fault> {
        let dimensions = vector.len() as i32;
        let all: [&(dyn ToSql + Sync); 4] = [&partition, &vector, &distance, &dimensions];
        let searching = match &self.by_size {
            Some((indexed, search)) if *indexed == vector.len() => {
                self.client.query(search, &all[..3])
            }
            _ => self.client.query(&self.of_the_last, &all),
        };
        let patience = self.shape.statement_timeout;
        let rows = self.transact(&self.begin_search, searching, patience).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>();
        rows.map_err(|error| Fault::of(&error, patience))
    }

    pub(super) async fn insert(&self, entry: &Written) -> Result<(), Fault> {
        let Written { partition, exact, vector, body, labels, micros } = entry;
        let micros = *micros as f64;
        let all: [&(dyn ToSql + Sync); 6] = [partition, exact, vector, body, labels, &micros];
        self.change(self.client.execute(&self.insert, &all)).await.map(drop)
    }

    pub(super) async fn remove(&self, partition: &[u8], exact: &[u8]) -> Result<(), Fault> {
        self.change(self.client.execute(&self.remove, &[&partition, &exact])).await.map(drop)
    }

    /// A batch of what has expired; how many.
    pub(super) async fn clean_up(&self) -> Result<u64, Fault> {
        self.batch(self.client.execute(&self.clean_up, &[])).await
    }

    /// A batch of what carries the label; how many.
    pub(super) async fn invalidate(&self, label: &[u8]) -> Result<u64, Fault> {
        self.batch(self.client.execute(&self.invalidate, &[&label])).await
    }

    async fn change<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let patience = self.shape.statement_timeout;
        self.transact(&self.shape.begin_change(), statement, patience).await
    }

    async fn batch<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let patience = self.shape.patience_for_batches();
        self.transact(&self.shape.begin_batch(), statement, patience).await
    }

    /// One statement in a transaction with settings of its own, in one round trip: the three are polled
    /// in order, hence sent in order, before the first answer is waited for. Whatever fails, the last
    /// one ends the transaction.
    async fn transact<T>(
        &self,
        begin: &str,
        statement: impl Future<Output = Result<T, Error>>,
        patience: Duration,
    ) -> Result<T, Fault> {
        let (begin, commit) =
            (self.client.batch_execute(begin), self.client.batch_execute("COMMIT"));
        let (begun, done, committed) = join3(begin, statement, commit).await;
        let done = begun.and(done).and_then(|done| committed.map(|()| done));
        done.map_err(|error| Fault::of(&error, patience))
    }
}

fn read(row: &Row) -> Result<Read, Error> {
    Ok(Read {
        exact: row.try_get(0)?,
        vector: row.try_get(1)?,
        body: row.try_get(2)?,
        micros: row.try_get(3)?,
    })
}
