//! Stores on a server of one's own, and demands on them.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::StoredAnswer;
use evenkeel::cache::shared::{SharedAnswer, SharedKey};
use evenkeel::quota::store::{Demand, Grant, QuotaStore, StoredScope, Verdict};
use evenkeel::quota::{Amounts, Denied, Dimension, Level, Limit, Limits};
use evenkeel::remote::StoreError;
use evenkeel::response::ChatResponse;
use evenkeel::rng::Rng;
use evenkeel::stores::redis::RedisShared;

use crate::server::{Cluster, Server};

pub(crate) const SECRET: &str = "a-secret-of-all-instances";

pub(crate) fn shared(server: &Server) -> RedisShared {
    RedisShared::connect(server.url(), SECRET).unwrap()
}

/// The same for tests of what the store says, not of how soon: a busy machine must not fail them.
pub(crate) fn patient(server: &Server) -> RedisShared {
    let builder = RedisShared::builder(server.url()).secret(SECRET);
    builder.response_timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn sharded(cluster: &Cluster) -> RedisShared {
    let mut urls = cluster.masters.iter().map(Server::url);
    let first = urls.next().unwrap();
    let builder = RedisShared::builder(first).cluster(urls).secret(SECRET);
    builder.response_timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap()
}

/// So long that nothing flows in while a test runs.
pub(crate) const AGES: Duration = Duration::from_secs(3_650 * 86_400);

pub(crate) fn tokens(amount: u64) -> Limits {
    Limits::new().limit(Limit::new(Dimension::Tokens, amount, AGES))
}

pub(crate) fn scope(key: &str, limits: Limits) -> StoredScope {
    StoredScope::new(key, Level::Tenant, limits)
}

pub(crate) fn demand(amounts: Amounts, scopes: &[StoredScope]) -> Arc<Demand> {
    static IDS: std::sync::LazyLock<Rng> = std::sync::LazyLock::new(Rng::from_entropy);
    let id = u128::from(IDS.next_u64()) << 64 | u128::from(IDS.next_u64());
    Arc::new(Demand::new(id, amounts, scopes.to_vec()))
}

pub(crate) async fn reserve(
    store: &impl QuotaStore,
    demand: &Arc<Demand>,
) -> Result<Result<Grant, Denied>, StoreError> {
    Ok(match store.reserve(demand).await? {
        Verdict::Granted(grant) => Ok(grant),
        Verdict::Denied(denied) => Err(denied),
        other => panic!("{other:?}"),
    })
}

/// Takes and must be given.
pub(crate) async fn take(store: &impl QuotaStore, amount: u64, scopes: &[StoredScope]) -> Grant {
    let demand = demand(Amounts::tokens(amount, 0), scopes);
    reserve(store, &demand).await.unwrap().unwrap()
}

/// How much of a limit of tokens is left, found by asking.
pub(crate) async fn left(store: &impl QuotaStore, scope: &StoredScope, most: u64) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let demand = demand(Amounts::tokens(middle, 0), std::slice::from_ref(scope));
        match reserve(store, &demand).await.unwrap() {
            Ok(grant) => {
                store.settle(&grant, &Amounts::NONE).await.unwrap();
                low = middle;
            }
            Err(_) => high = middle - 1,
        }
    }
    low
}

pub(crate) fn key(scope: u128, exact: u128) -> SharedKey {
    SharedKey::new(scope, exact)
}

pub(crate) fn answer(scope: u128, text: &str) -> SharedAnswer {
    let stored = StoredAnswer::new(ChatResponse::text_only(text));
    SharedAnswer::new(scope, Vec::new(), stored, Duration::from_secs(60))
}
