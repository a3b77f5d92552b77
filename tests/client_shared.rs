//! What a client's parts are given by `LlmClientBuilder::shared`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is a test that fails")]

use std::time::Duration;

use evenkeel::balance::facts::MemoryFactStore;
use evenkeel::cache::shared::{MemoryCacheStore, MemoryVectorIndex};
use evenkeel::client::{LlmClientBuilder, Shared};
use evenkeel::quota::SharedQuota;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    ChatRequest, ChatResponse, Endpoint, Error, ErrorKind, Limits, LlmClient, ProviderError,
    QuotaLimiter, SemanticCache, ServedBy, Usage, provider_fn,
};

const SECRET: [u8; 32] = [7; 32];

fn client() -> LlmClientBuilder {
    let provider = provider_fn("main", |_, _| async {
        Ok(ChatResponse::text_only("yes").with_usage(Usage::counted(400, 400)))
    });
    LlmClient::builder().endpoint(Endpoint::new(provider))
}

fn limiter() -> QuotaLimiter {
    let limits = Limits::new().tokens_per_minute(1_000);
    QuotaLimiter::builder().per_tenant(limits).build().unwrap()
}

fn cache() -> SemanticCache {
    SemanticCache::builder().secret(SECRET).build().unwrap()
}

fn ask(question: &str) -> ChatRequest {
    ChatRequest::new("any").user(question).max_output_tokens(500)
}

async fn settled() {
    sleep_until(after(now(), Duration::from_millis(1_500))).await;
}

#[tokio::test(start_paused = true)]
async fn two_clients_have_one_limit_one_cache_and_what_is_known_of_accounts() {
    let shared = Shared::new(SECRET)
        .quota(MemoryQuotaStore::new())
        .cache(MemoryCacheStore::new(1 << 20))
        .facts(MemoryFactStore::new());
    let make = || client().quota(limiter()).cache(cache()).shared(shared.clone()).build().unwrap();
    let (one, other) = (make(), make());
    one.complete(ask("a").tenant("acme")).await.unwrap();
    settled().await;
    let done = other.complete(ask("a").tenant("acme")).await.unwrap();
    assert!(matches!(done.report.served_by, ServedBy::SharedHit), "{:?}", done.report.served_by);
    let refused = other.complete(ask("b").tenant("acme")).await.unwrap_err();
    assert!(matches!(refused, Error::Quota(_)), "{refused}");
    // Clones are of one process, which takes one share while the store is away.
    assert_eq!(other.quota().unwrap().shared().unwrap().instances, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_one_client_is_refused_is_not_tried_by_the_other() {
    let store = MemoryFactStore::new();
    let make = || {
        let refusing = provider_fn("main", |_, _| async {
            Err::<ChatResponse, _>(ProviderError::new(ErrorKind::Auth, "no"))
        });
        let spare = provider_fn("spare", |_, _| async { Ok(ChatResponse::text_only("yes")) });
        LlmClient::builder()
            .endpoint(Endpoint::new(refusing))
            .endpoint(Endpoint::new(spare).tier(1))
            .shared(Shared::new(SECRET).facts(store.clone()))
            .build()
            .unwrap()
    };
    let (one, other) = (make(), make());
    assert_eq!(one.complete("a").await.unwrap().report.attempts.len(), 2);
    settled().await;
    assert_eq!(other.complete("a").await.unwrap().report.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_does_not_have_is_not_shared_and_what_has_a_store_keeps_it() {
    let all = Shared::new(SECRET)
        .quota(MemoryQuotaStore::new())
        .cache(MemoryCacheStore::new(1 << 20))
        .index(MemoryVectorIndex::new(1_000));
    client().shared(all).build().unwrap();
    let own = MemoryQuotaStore::new();
    let limits = Limits::new().tokens_per_minute(1_000);
    let shared = SharedQuota::new(own.clone()).secret(SECRET);
    let quota = QuotaLimiter::builder().per_tenant(limits).shared(shared).build().unwrap();
    let another = Shared::new(SECRET).quota(MemoryQuotaStore::new());
    let client = client().quota(quota).shared(another).build().unwrap();
    client.complete(ask("a").tenant("acme")).await.unwrap();
    assert_eq!(own.scopes(), 1);
}

#[tokio::test(start_paused = true)]
async fn settings_of_the_limits_are_handed_on() {
    let shared = Shared::new(SECRET).quota(MemoryQuotaStore::new());
    let shared = shared.quota_with(|quota| quota.min_instances(5));
    let client = client().quota(limiter()).shared(shared).build().unwrap();
    assert_eq!(client.quota().unwrap().shared().unwrap().instances, 5);
}

#[test]
fn a_field_at_fault_is_named() {
    let fault = |cache: SemanticCache, shared: Shared| {
        client().cache(cache).shared(shared).build().unwrap_err().field().to_owned()
    };
    let unkeyed = SemanticCache::builder().build().unwrap();
    let answers = Shared::new(SECRET).cache(MemoryCacheStore::new(1 << 20));
    assert_eq!(fault(unkeyed, answers.clone()), "cache.secret");
    let index = MemoryVectorIndex::new(1_000);
    assert_eq!(fault(cache(), answers.index(index)), "cache.shared_index");
    let alone = Shared::new(SECRET).index(MemoryVectorIndex::new(1_000));
    assert_eq!(fault(cache(), alone), "shared.index");
    let none = Shared::new(SECRET).quota(MemoryQuotaStore::new());
    let none = none.quota_with(|quota| quota.min_instances(0));
    let error = client().quota(limiter()).shared(none).build().unwrap_err();
    assert_eq!(error.field(), "quota.shared.min_instances");
}

#[test]
fn the_secret_is_not_shown() {
    let shared = Shared::new([123; 32]).facts(MemoryFactStore::new());
    let builder = client().shared(shared.clone());
    assert!(!format!("{shared:?} {builder:?}").contains("123"));
    let balancer = evenkeel::Balancer::builder().share_facts(MemoryFactStore::new(), [123; 32]);
    assert!(!format!("{balancer:?}").contains("123"));
}
