//! Servers that go away, stand still, or were never there.

use std::time::Duration;

use evenkeel::cache::shared::{Neighbour, VectorIndex as _};
use evenkeel::remote::{Guarded, StoreError};
use evenkeel::stores::postgres::PostgresIndex;
use evenkeel::time::{now, sleep_until};

use crate::entries::{at_degrees, entry};
use crate::server::{Server, Version};

/// Long beside a round trip on a busy machine.
const DEADLINE: Duration = Duration::from_millis(500);

/// Above the longest pause between attempts to connect.
const RECOVERY: Duration = Duration::from_secs(30);

async fn ask(index: &PostgresIndex) -> Result<Vec<Neighbour>, StoreError> {
    index.nearest(1, &at_degrees(0.0), 0.9).await
}

/// Asks as the cache does, until it is answered.
async fn recovers(guarded: &Guarded, index: &PostgresIndex) {
    let end = now() + RECOVERY;
    while now() < end {
        if guarded.ask(ask(index)).await.is_ok_and(|found| found.len() == 1) {
            return;
        }
        sleep_until(now() + Duration::from_millis(20)).await;
    }
    panic!("the index did not recover");
}

async fn started(table: &str) -> (Server, PostgresIndex) {
    let server = Server::own(Version::Newest).await;
    server.migrated(table).await;
    // What hangs has to be noticed within the test's time.
    let patience = Duration::from_millis(100);
    let index = server.index(table).statement_timeout(patience).connections(1).build().unwrap();
    index.insert(&entry((1, 1), "kept", at_degrees(1.0))).await.unwrap();
    (server, index)
}

#[tokio::test]
async fn a_killed_server_fails_at_once_and_is_found_again() {
    let (mut server, index) = started("killed").await;
    let guarded = Guarded::new("index", DEADLINE);
    recovers(&guarded, &index).await;
    server.kill();
    let mut labels = Vec::new();
    for _ in 0..6 {
        let before = now();
        labels.push(guarded.ask(ask(&index)).await.unwrap_err().label());
        assert!(now() - before < DEADLINE * 2, "{labels:?}");
    }
    assert!(labels.contains(&"unreachable"), "{labels:?}");
    server.restart().await;
    recovers(&guarded, &index).await;
}

#[tokio::test]
async fn a_server_that_stands_still_costs_the_deadline_and_is_found_again() {
    let (server, index) = started("frozen").await;
    let guarded = Guarded::new("index", DEADLINE);
    recovers(&guarded, &index).await;
    server.freeze(true);
    for _ in 0..4 {
        let before = now();
        let error = guarded.ask(ask(&index)).await.unwrap_err();
        assert!(matches!(error, StoreError::Late(_) | StoreError::Unreachable(_)), "{error}");
        assert!(now() - before < DEADLINE * 2);
    }
    // Long enough for connections to be given up, and for attempts to make new ones.
    sleep_until(now() + Duration::from_secs(3)).await;
    server.freeze(false);
    recovers(&guarded, &index).await;
}

#[tokio::test]
async fn connections_over_which_nothing_comes_back_are_replaced() {
    let (server, index) = started("hanging").await;
    let guarded = Guarded::new("index", DEADLINE);
    recovers(&guarded, &index).await;
    server.freeze_connections();
    let error = guarded.ask(ask(&index)).await.unwrap_err();
    assert!(matches!(error, StoreError::Late(_)), "{error}");
    recovers(&guarded, &index).await;
}

#[tokio::test]
async fn an_index_may_be_made_before_its_server_is_there() {
    let (mut server, _) = started("early").await;
    server.kill();
    let index = server.index("early").build().unwrap();
    let mut error = ask(&index).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    // Not only the first time, when it was tried to connect.
    error = index.insert(&entry((1, 2), "lost", at_degrees(1.0))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(matches!(index.migrate().await, Err(StoreError::Unreachable(_))));
    server.restart().await;
    recovers(&Guarded::new("index", DEADLINE), &index).await;
}

#[tokio::test]
async fn operations_that_are_dropped_leave_the_connections_in_step() {
    let server = Server::shared(Version::Newest).await;
    server.migrated("dropped").await;
    let index = server.index("dropped").connections(1).build().unwrap();
    index.insert(&entry((1, 1), "kept", at_degrees(1.0))).await.unwrap();
    let wanted = at_degrees(0.0);
    for micros in 0..200 {
        let other = index.nearest(2, &wanted, 0.9);
        let _ = evenkeel::time::until(now() + Duration::from_micros(10 * micros), other).await;
        assert_eq!(ask(&index).await.unwrap().len(), 1, "after {micros}");
    }
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let server = Server::shared(Version::Newest).await;
    let index = server.migrated("crowd").await;
    index.insert(&entry((1, 1), "kept", at_degrees(1.0))).await.unwrap();
    let asked = (0..500).map(|_| ask(&index));
    let answers = futures::future::join_all(asked).await;
    assert!(answers.into_iter().all(|found| found.unwrap().len() == 1));
}

#[test]
fn an_index_outlives_the_runtime_it_was_first_used_on() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (server, index) = first.block_on(async {
        let server = Server::shared(Version::Newest).await;
        let index = server.migrated("runtimes").await;
        index.insert(&entry((1, 1), "kept", at_degrees(1.0))).await.unwrap();
        (server, index)
    });
    drop(first);
    second.block_on(recovers(&Guarded::new("index", DEADLINE), &index));
    drop(server);
}
