//! The laws of stores, as every store keeps them.

use evenkeel::testing::conformance;

use crate::server::{Cluster, Server};
use crate::support::{patient, sharded};

#[tokio::test]
async fn quotas_keep_the_laws_on_one_server() {
    let server = Server::start().await;
    conformance::quota::store(|| async { patient(&server).quotas() }).await;
}

#[tokio::test]
async fn quotas_keep_the_laws_in_a_cluster() {
    let cluster = Cluster::start().await;
    conformance::quota::store(|| async { sharded(&cluster).quotas() }).await;
}

#[tokio::test]
async fn answers_keep_the_laws_on_one_server() {
    let server = Server::start().await;
    conformance::cache::store(|| async { patient(&server).answers() }).await;
}

#[tokio::test]
async fn answers_keep_the_laws_in_a_cluster() {
    let cluster = Cluster::start().await;
    conformance::cache::store(|| async { sharded(&cluster).answers() }).await;
}

#[tokio::test]
async fn facts_keep_the_laws_on_one_server() {
    let server = Server::start().await;
    conformance::facts::store(|| async { patient(&server).facts() }).await;
}

#[tokio::test]
async fn facts_keep_the_laws_in_a_cluster() {
    let cluster = Cluster::start().await;
    conformance::facts::store(|| async { sharded(&cluster).facts() }).await;
}
