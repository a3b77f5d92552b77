//! Bringing the table up to date, and finding out whether it is.

use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::fault::Fault;
use super::sql::Shape;
use crate::time::{after, now, sleep_until};

/// Whoever has this lock of the database changes its schema. Any number that nobody else uses.
const LOCK: i64 = 0x6576_656e_6b65_656c;

/// How often the lock is tried for. It is not waited for in a statement: an index that is built beside
/// the traffic waits for all statements that began before, which would be those that wait for the lock.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Versions of pgvector: what is used here was there from the first on, and scans that go on from the
/// second.
const OLDEST: (u32, u32) = (0, 6);
const ITERATIVE: (u32, u32) = (0, 8);

/// Whether pgvector and the table are as they have to be, and whether pgvector has iterative scans.
pub(super) async fn check(client: &Client, shape: &Shape) -> Result<bool, Fault> {
    let iterative = match extension(client).await? {
        Some(version) => is_iterative(version)?,
        None => return Err(not_migrated()),
    };
    let migrated = version(client, shape).await? >= shape.migrations().len();
    if migrated { Ok(iterative) } else { Err(not_migrated()) }
}

/// Makes what is missing. The lock ends with the connection.
pub(super) async fn run(client: &Client, shape: &Shape) -> Result<(), Fault> {
    lock(client).await?;
    let iterative = is_iterative(have_extension(client).await?)?;
    let there = version(client, shape).await?;
    for (number, step) in shape.migrations().iter().enumerate().skip(there) {
        let (versions, number) = (shape.versions(), number + 1);
        execute(
            client,
            &format!(
                "BEGIN; {step}
                 CREATE TABLE IF NOT EXISTS {versions} (
                   version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
                 INSERT INTO {versions} (version) VALUES ({number}); COMMIT"
            ),
        )
        .await?;
    }
    match shape.indexed(iterative) {
        Some(dimensions) => have_hnsw(client, shape, dimensions).await,
        None => Ok(()),
    }
}

async fn lock(client: &Client) -> Result<(), Fault> {
    loop {
        let tried = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await;
        if tried.and_then(|row| row.try_get(0)).map_err(|error| fault(&error))? {
            return Ok(());
        }
        sleep_until(after(now(), TRY_AGAIN)).await;
    }
}

/// The version of pgvector, which is switched on for the database where it is not.
async fn have_extension(client: &Client) -> Result<(u32, u32), Fault> {
    if extension(client).await?.is_none() {
        execute(client, "CREATE EXTENSION IF NOT EXISTS vector").await?;
    }
    extension(client).await?.ok_or_else(|| Fault::refused("pgvector could not be switched on"))
}

async fn extension(client: &Client) -> Result<Option<(u32, u32)>, Fault> {
    let asked = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
    let found = client.query_opt(asked, &[]).await;
    let text: Option<String> = found
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(|error| fault(&error))?;
    Ok(text.map(|text| parsed(&text)))
}

/// Of `0.8.5` the first two numbers. What is no number counts as none.
fn parsed(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn is_iterative(version: (u32, u32)) -> Result<bool, Fault> {
    if version < OLDEST {
        let words = format!("pgvector {}.{} is older than 0.6", version.0, version.1);
        return Err(Fault::refused(&words));
    }
    Ok(version >= ITERATIVE)
}

/// The version of the table; none is 0.
async fn version(client: &Client, shape: &Shape) -> Result<usize, Fault> {
    let versions = shape.versions();
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&versions]).await;
    if !there.and_then(|row| row.try_get(0)).map_err(|error| fault(&error))? {
        return Ok(0);
    }
    let newest = format!("SELECT coalesce(max(version), 0) FROM {versions}");
    let newest = client.query_one(&newest, &[]).await;
    let newest: i32 = newest.and_then(|row| row.try_get(0)).map_err(|error| fault(&error))?;
    Ok(usize::try_from(newest).unwrap_or(0))
}

/// An index whose building was interrupted stays behind, invalid, and is built anew.
async fn have_hnsw(client: &Client, shape: &Shape, dimensions: usize) -> Result<(), Fault> {
    let name = shape.hnsw(dimensions);
    let asked = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    let found = client.query_opt(asked, &[&name]).await;
    let valid: Option<bool> = found
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(|error| fault(&error))?;
    if valid == Some(true) {
        return Ok(());
    }
    if valid == Some(false) {
        execute(client, &format!("DROP INDEX CONCURRENTLY {name}")).await?;
    }
    execute(client, &shape.create_hnsw(dimensions)).await
}

async fn execute(client: &Client, statements: &str) -> Result<(), Fault> {
    client.batch_execute(statements).await.map_err(|error| fault(&error))
}

fn not_migrated() -> Fault {
    Fault::refused("the table is not there or of an older version: call migrate()")
}

/// Nothing here has a deadline on the server.
fn fault(error: &Error) -> Fault {
    Fault::of(error, Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_iterative(parsed("0.5.1")).is_err());
        assert!(!is_iterative(parsed("0.6.2")).unwrap());
        assert!(is_iterative(parsed("0.8.0")).unwrap());
        assert!(is_iterative(parsed("0.10.0")).unwrap());
        assert!(is_iterative(parsed("1.0")).unwrap());
        assert!(is_iterative(parsed("nonsense")).is_err());
    }
}
