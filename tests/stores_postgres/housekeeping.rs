//! What is deleted, and how much at once.

use evenkeel::cache::shared::VectorIndex as _;

use crate::entries::{LONG, answer, at_degrees, entry};
use crate::server::{Server, Version};

/// So many rows that have expired, without going through the index.
async fn expired(server: &Server, table: &str, rows: u32) {
    let insert = format!(
        "INSERT INTO {table} (partition, exact, embedding, body, labels, expires_at)
         SELECT '\\x00', int4send(number), '[1,0]', '', '{{}}', now() - interval '1 second'
         FROM generate_series(1, {rows}) AS number"
    );
    server.client().await.batch_execute(&insert).await.unwrap();
}

async fn rows(server: &Server, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM \"{table}\"");
    server.client().await.query_one(&count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn expired_rows_are_removed_some_at_a_time_and_the_others_stay() {
    for version in Version::BOTH {
        let server = Server::shared(version).await;
        let index = server.migrated("expired").await;
        index.insert(&entry((1, 1), "kept", at_degrees(1.0))).await.unwrap();
        expired(&server, "expired", 1_200).await;
        let mut removed = Vec::new();
        for _ in 0..4 {
            removed.push(index.clean_up().await.unwrap());
        }
        assert_eq!(removed, [500, 500, 200, 0]);
        assert_eq!(rows(&server, "expired").await, 1);
    }
}

#[tokio::test]
async fn instances_that_clean_up_at_once_share_the_work() {
    let server = Server::shared(Version::Newest).await;
    let index = server.migrated("shared_work").await;
    expired(&server, "shared_work", 3_000).await;
    let mut all = 0;
    while rows(&server, "shared_work").await > 0 {
        let removed = futures::future::join_all((0..4).map(|_| index.clean_up())).await;
        all += removed.into_iter().map(Result::unwrap).sum::<u64>();
    }
    assert_eq!(all, 3_000, "each row was removed once");
}

#[tokio::test]
async fn a_label_takes_its_entries_out_and_no_others() {
    for version in Version::BOTH {
        let server = Server::shared(version).await;
        let index = server.migrated("labels").await;
        for number in 0..700 {
            let labels: &[u128] = if number % 7 == 0 { &[8] } else { &[7, 9] };
            let mut entry = entry((number % 3, number), "q", at_degrees(number as f32));
            entry.answer = answer("a", labels);
            index.insert(&entry).await.unwrap();
        }
        assert_eq!(index.invalidate(7).await.unwrap(), 600);
        assert_eq!(index.invalidate(7).await.unwrap(), 0);
        assert_eq!(rows(&server, "labels").await, 100);
    }
}

#[tokio::test]
async fn a_full_partition_makes_room_by_what_expires_first() {
    let server = Server::shared(Version::Newest).await;
    server.migrated("full").await;
    let index = server.index("full").most_per_partition(5).build().unwrap();
    for number in 0..20 {
        let mut entry = entry((1, number), &format!("{number}"), at_degrees(number as f32 / 10.0));
        // The earlier ones live longer.
        entry.answer.expires_in = LONG - std::time::Duration::from_secs(number as u64);
        index.insert(&entry).await.unwrap();
    }
    index.insert(&entry((2, 1), "elsewhere", at_degrees(1.0))).await.unwrap();
    assert_eq!(rows(&server, "full").await, 5 + 1);
    let found = index.nearest(1, &at_degrees(0.0), 0.9).await.unwrap();
    let texts: Vec<_> = found.iter().map(|near| &*near.entry.question).collect();
    assert_eq!(texts, ["0", "1", "2", "3"]);
}
