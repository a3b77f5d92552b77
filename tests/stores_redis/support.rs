//! Stores on a server of one's own.

use evenkeel::stores::redis::RedisShared;

use crate::server::{Cluster, Server};

pub(crate) const SECRET: &str = "a-secret-of-all-instances";

pub(crate) fn shared(server: &Server) -> RedisShared {
    RedisShared::connect(server.url(), SECRET).unwrap()
}

pub(crate) fn sharded(cluster: &Cluster) -> RedisShared {
    let mut urls = cluster.masters.iter().map(Server::url);
    let first = urls.next().unwrap();
    RedisShared::builder(first).cluster(urls).secret(SECRET).build().unwrap()
}
