//! The shared index on real servers, at both ends of what is supported.
//!
//! `bash tests/run.sh` installs them. `EVENKEEL_POSTGRES` may name where the wheels were unpacked.
#![expect(clippy::unwrap_used, reason = "a test ends where anything is not as expected")]

mod cancellation;
mod entries;
mod failure;
mod housekeeping;
mod isolation;
mod migration;
mod recall;
mod server;

use evenkeel::testing::conformance;

use server::{Server, Version};

#[tokio::test]
async fn both_versions_keep_the_laws_of_an_index() {
    for version in Version::BOTH {
        let server = Server::shared(version).await;
        let index = server.migrated("laws").await;
        conformance::index::store(8, || async { index.clone() }).await;
    }
}

/// No index is for them.
#[tokio::test]
async fn vectors_of_other_dimensions_keep_the_laws_too() {
    let server = Server::shared(Version::Newest).await;
    let index = server.migrated("laws_of_others").await;
    conformance::index::store(5, || async { index.clone() }).await;
}
