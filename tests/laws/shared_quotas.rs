//! What a call meets whose quota is kept in a store that instances share.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::SemanticCache;
use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, Verdict};
use evenkeel::quota::{Amounts, Budget, Limits, QuotaLimiter, SharedQuota, Whose};
use evenkeel::remote::StoreError;
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    Call, ChatRequest, ChatResponse, Cost, Endpoint, Error, LlmClient, Price, TenantId, Usage,
    async_trait, time,
};

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds};

/// A store that never answers.
struct Hanging;

#[async_trait]
impl QuotaStore for Hanging {
    async fn reserve(&self, _demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        pending().await
    }

    async fn settle(&self, _grant: &Grant, _actual: &Amounts) -> Result<(), StoreError> {
        pending().await
    }

    async fn beat(&self, _instance: u128, _ttl: Duration) -> Result<u32, StoreError> {
        pending().await
    }
}

fn quota(store: impl QuotaStore, limits: Limits) -> QuotaLimiter {
    let shared = SharedQuota::new(store).secret([7; 32]);
    QuotaLimiter::builder().per_tenant(limits).shared(shared).build().unwrap()
}

fn client(provider: &ScriptedProvider, quota: &QuotaLimiter, notebook: &Notebook) -> LlmClient {
    LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone().input_tokens(100)).price(Price::new(1, 2)))
        .quota(quota.clone())
        .observer(notebook.clone())
        .seed(1)
        .build()
        .unwrap()
}

fn question() -> Call {
    ChatRequest::new("m").user("q").max_output_tokens(50).tenant("acme")
}

fn provider() -> ScriptedProvider {
    let answer = ChatResponse::text_only("hi").with_usage(Usage::counted(90, 10));
    always("only", Answer::response(answer))
}

/// What "acme" may still take at once.
async fn fits(quota: &QuotaLimiter, amount: u64) -> bool {
    assert!(quota.flush(time::after(time::now(), seconds(60))).await);
    let acme = TenantId::new("acme");
    let amounts = Amounts::tokens(amount, 0);
    let reserved = quota.reserve(&Whose::tenant(&acme), &amounts, time::now()).await;
    reserved.map(|it| it.cancel()).is_ok()
}

#[tokio::test(start_paused = true)]
async fn instances_charge_one_account_with_what_servers_counted() {
    let (store, provider) = (MemoryQuotaStore::new(), provider());
    let limits = Limits::new().tokens_per_minute(1_000);
    let here = quota(store.clone(), limits.clone());
    let client = client(&provider, &here, &Notebook::default());
    for _ in 0..3 {
        client.complete(question()).await.unwrap();
    }
    assert_nothing_is_held(&client, [&provider]);
    assert!(here.flush(time::after(time::now(), seconds(60))).await);
    let there = quota(store, limits);
    assert!(fits(&there, 700).await && !fits(&there, 701).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_five_calls_its_deadline_and_no_call_its_answer() {
    let (provider, notebook) = (provider(), Notebook::default());
    let quota = quota(Hanging, Limits::new().tokens_per_minute(100_000));
    let client = client(&provider, &quota, &notebook);
    let start = time::now();
    for _ in 0..50 {
        client.complete(question()).await.unwrap();
    }
    assert!(time::now() - start <= Duration::from_millis(125), "{:?}", time::now() - start);
    assert!(notebook.count("StoreFailed") >= 5 && notebook.count("StoreState") == 1);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_money_whose_store_is_away_is_an_error_that_says_when_to_come_back() {
    let (provider, notebook) = (provider(), Notebook::default());
    let budget = Budget::daily_cost(Cost::from_nano_dollars(1_000_000));
    let quota = quota(Hanging, Limits::new().budget(budget));
    let client = client(&provider, &quota, &notebook);
    for _ in 0..10 {
        let Error::Quota(over) = client.complete(question()).await.unwrap_err() else {
            panic!("not a matter of quota")
        };
        assert_eq!((&*over.level, over.limit), ("tenant", "cost"));
        assert!(over.retry_after.is_some_and(|wait| wait <= seconds(8)), "{over}");
    }
    assert_eq!(provider.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_nothing_taken_at_any_poll() {
    let provider = provider();
    let quota = quota(MemoryQuotaStore::new(), Limits::new().tokens_per_minute(10_000));
    let client = client(&provider, &quota, &Notebook::default());
    let done = drop_at_every_poll(|| client.complete(question()), |_| {}).await;
    done.unwrap();
    assert_nothing_is_held(&client, [&provider]);
    time::sleep_until(time::after(time::now(), seconds(60))).await;
    assert!(fits(&quota, 10_000).await);
}

#[tokio::test(start_paused = true)]
async fn hits_that_count_are_counted_in_the_store() {
    let provider = provider();
    let quota = quota(MemoryQuotaStore::new(), Limits::new().requests_per_minute(3));
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()))
        .quota(quota)
        .cache(SemanticCache::builder().build().unwrap())
        .count_cache_hits(true)
        .seed(1)
        .build()
        .unwrap();
    for _ in 0..3 {
        client.complete(question()).await.unwrap();
    }
    assert!(matches!(client.complete(question()).await, Err(Error::Quota(_))));
    assert_eq!(provider.counts().started, 1);
}
