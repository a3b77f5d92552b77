//! What others can read in the table, and what they can write into it.

use std::fs;
use std::path::Path;

use evenkeel::cache::shared::VectorIndex as _;
use evenkeel::remote::StoreError;
use evenkeel::stores::postgres::PostgresIndex;

use crate::entries::{at_degrees, entry};
use crate::server::{SECRET, Server, Version};

const QUESTION: &str = "canary-question of tenant canary-acme";
const ANSWER: &str = "canary-answer, repeated so that it pays to compress it. ";

async fn filled(server: &Server, table: &str) -> PostgresIndex {
    let index = server.migrated(table).await;
    for (exact, degrees) in [(1, 0.0), (2, 60.0)] {
        index.insert(&entry((1, exact), QUESTION, at_degrees(degrees))).await.unwrap();
    }
    index
}

#[tokio::test]
async fn texts_and_secrets_are_in_no_file_of_the_server() {
    let server = Server::own(Version::Newest).await;
    let index = filled(&server, "canary").await;
    let long = entry((2, 1), &ANSWER.repeat(500), at_degrees(0.0));
    index.insert(&long).await.unwrap();
    let found = index.nearest(2, &at_degrees(0.0), 0.9).await.unwrap();
    assert_eq!(found[0].entry, long.clone().left(&found[0].entry));
    server.client().await.batch_execute("CHECKPOINT").await.unwrap();
    let mut read = 0;
    let mut look = |path: &Path, bytes: &[u8]| {
        read += bytes.len();
        for canary in [&b"canary-"[..], b"canary-acme", SECRET] {
            let at = bytes.windows(canary.len()).position(|window| window == canary);
            assert_eq!(at, None, "in {}", path.display());
        }
    };
    walk(&server.files().join("data"), &mut look);
    look(Path::new("log"), &fs::read(server.files().join("log")).unwrap());
    assert!(read > 1 << 20, "{read} bytes were looked at");
}

trait Left {
    fn left(self, other: &Self) -> Self;
}

impl Left for evenkeel::cache::shared::SharedEntry {
    /// With as much time left as the other one.
    fn left(mut self, other: &Self) -> Self {
        self.answer.expires_in = other.answer.expires_in;
        self
    }
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, see);
        } else if let Ok(bytes) = fs::read(&path) {
            see(&path, &bytes);
        }
    }
}

/// What somebody who can write to the table may try, and what is looked for then.
#[tokio::test]
async fn what_was_altered_or_moved_is_garbled_and_never_a_hit() {
    let attacks = [
        "UPDATE t SET body = set_byte(body, 9, get_byte(body, 9) # 1)",
        "UPDATE t SET body = set_byte(body, length(body) - 1, get_byte(body, length(body) - 1) # 1)",
        "UPDATE t SET body = substr(body, 2)",
        "UPDATE t SET body = ''",
        "UPDATE t SET body = (SELECT body FROM t AS o WHERE o.exact <> t.exact)",
        "UPDATE t SET exact = substr(exact, 2)",
        "UPDATE t SET exact = set_byte(exact, 0, 1)",
        "UPDATE t SET partition = set_byte(partition, 15, 7)",
        // The answer to another question, where this one's would be found.
        "UPDATE t SET embedding = (SELECT embedding FROM t AS o WHERE o.exact <> t.exact)",
        "UPDATE t SET embedding = '[1,0,0,0,0,0,0,0.001]'",
        "UPDATE t SET embedding = '[0,0,0,0,0,0,0,0]'",
    ];
    for version in Version::BOTH {
        let server = Server::shared(version).await;
        let index = filled(&server, "t").await;
        for attack in attacks {
            let client = server.client().await;
            client.batch_execute("TRUNCATE t").await.unwrap();
            filled(&server, "t").await;
            client.batch_execute(attack).await.unwrap();
            for partition in [1, 7] {
                for degrees in [0.0, 60.0] {
                    match index.nearest(partition, &at_degrees(degrees), 0.9).await {
                        Err(StoreError::Garbled(_)) => {}
                        Ok(found) => assert!(found.is_empty(), "{attack} at {degrees}"),
                        Err(error) => panic!("{attack} at {degrees}: {error:?}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn another_secret_opens_nothing() {
    let server = Server::shared(Version::Newest).await;
    filled(&server, "secrets").await;
    let stranger = server.index("secrets").secret("another secret of some length").build().unwrap();
    let found = stranger.nearest(1, &at_degrees(0.0), 0.9).await;
    assert!(matches!(found, Err(StoreError::Garbled(_))), "{found:?}");
}

#[tokio::test]
async fn errors_tell_neither_the_password_nor_what_was_asked() {
    let server = Server::shared(Version::Newest).await;
    let nowhere = server.url().replace("/postgres", "/nowhere");
    let nowhere = PostgresIndex::connect(nowhere, SECRET).unwrap();
    let missing = server.index("missing").build().unwrap();
    for index in [nowhere, missing] {
        let error = index.insert(&entry((1, 1), QUESTION, at_degrees(0.0))).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        let shown = format!("{error} {error:?} {source} {source:?} {index:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(matches!(error, StoreError::Refused(_)), "{shown}");
    }
}
