//! Making the table.

use evenkeel::cache::shared::VectorIndex as _;
use evenkeel::remote::StoreError;
use futures::future::join_all;

use crate::entries::{at_degrees, entry};
use crate::server::{Server, Version};

async fn indexes(server: &Server, table: &str) -> Vec<(String, bool)> {
    let asked = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index
                 WHERE indrelid = to_regclass($1) ORDER BY 1";
    let rows = server.client().await.query(asked, &[&table]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// From a database that does not even have pgvector switched on.
#[tokio::test]
async fn instances_that_migrate_at_once_make_one_table() {
    for version in Version::BOTH {
        let server = Server::own(version).await;
        let instances: Vec<_> =
            (0..6).map(|_| server.index("once").dimensions(8).build().unwrap()).collect();
        for _ in 0..2 {
            let migrated = join_all(instances.iter().map(|index| index.migrate())).await;
            migrated.into_iter().for_each(Result::unwrap);
        }
        let indexes = indexes(&server, "once").await;
        assert!(indexes.iter().all(|(_, valid)| *valid), "{indexes:?}");
        let approximate = indexes.iter().any(|(name, _)| name == "once_near_8");
        assert_eq!(approximate, version == Version::Newest, "{indexes:?}");
        for (number, index) in instances.iter().enumerate() {
            index.insert(&entry((1, number as u128), "q", at_degrees(1.0))).await.unwrap();
        }
        assert_eq!(instances[0].nearest(1, &at_degrees(0.0), 0.9).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn without_a_table_the_error_says_what_to_do_and_then_it_works_at_once() {
    for version in Version::BOTH {
        let server = Server::own(version).await;
        let index = server.index("late").build().unwrap();
        for _ in 0..3 {
            let error = index.nearest(1, &at_degrees(0.0), 0.9).await.unwrap_err();
            let StoreError::Refused(why) = error else { panic!("{error:?}") };
            assert!(why.to_string().contains("migrate()"), "{why}");
        }
        index.migrate().await.unwrap();
        index.insert(&entry((1, 1), "q", at_degrees(1.0))).await.unwrap();
    }
}

#[tokio::test]
async fn an_index_whose_building_was_interrupted_is_built_anew() {
    let server = Server::shared(Version::Newest).await;
    let index = server.migrated("interrupted").await;
    let spoil = "UPDATE pg_index SET indisvalid = false
                 WHERE indexrelid = 'interrupted_near_8'::regclass";
    server.client().await.batch_execute(spoil).await.unwrap();
    index.migrate().await.unwrap();
    let indexes = indexes(&server, "interrupted").await;
    assert!(indexes.contains(&("interrupted_near_8".to_owned(), true)), "{indexes:?}");
}

#[tokio::test]
async fn another_number_of_dimensions_gets_an_index_of_its_own() {
    let server = Server::shared(Version::Newest).await;
    let first = server.migrated("wider").await;
    first.insert(&entry((1, 1), "q", at_degrees(1.0))).await.unwrap();
    server.index("wider").dimensions(3_000).build().unwrap().migrate().await.unwrap();
    // More cannot be indexed, and are searched without.
    server.index("wider").dimensions(5_000).build().unwrap().migrate().await.unwrap();
    let names: Vec<_> = indexes(&server, "wider").await.into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"wider_near_8".to_owned()), "{names:?}");
    assert!(names.contains(&"wider_near_3000".to_owned()), "{names:?}");
    assert!(!names.contains(&"wider_near_5000".to_owned()), "{names:?}");
    first.insert(&entry((1, 2), "q", at_degrees(2.0))).await.unwrap();
    assert_eq!(first.nearest(1, &at_degrees(0.0), 0.9).await.unwrap().len(), 2);
}
