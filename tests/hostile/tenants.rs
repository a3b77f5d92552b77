//! Tenants that ask the same at the same time, of a client with everything on.

use std::collections::HashMap;
use std::time::Duration;

use evenkeel::cache::LexicalEmbedder;
use evenkeel::cache::shared::{MemoryCacheStore, MemoryVectorIndex};
use evenkeel::client::Shared;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    ChatRequest, ChatResponse, Endpoint, LlmClient, RequestQueue, SemanticCache, TenantId, Usage,
    provider_fn,
};

use crate::Notebook;

const TENANTS: usize = 24;

fn name(tenant: usize) -> String {
    format!("canary-{tenant}-tenant")
}

/// Answers with the key that only this tenant's calls carry.
fn client(shared: Shared, notebook: &Notebook) -> LlmClient {
    let echo = |request: ChatRequest, cx: evenkeel::CallContext| async move {
        drop(request);
        sleep_until(after(now(), Duration::from_millis(30))).await;
        let whose = cx.idempotency_key.as_deref().unwrap_or("nobody").to_owned();
        Ok(ChatResponse::text_only(whose).with_usage(Usage::counted(3, 4)))
    };
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(1_000_000));
    LlmClient::builder()
        .endpoint(Endpoint::new(provider_fn("echo", echo)))
        .quota(quota.build().unwrap())
        .queue(RequestQueue::builder().build().unwrap())
        .cache(
            SemanticCache::builder()
                .secret([7; 32])
                .embedder(LexicalEmbedder::new())
                .threshold(0.3)
                .build()
                .unwrap(),
        )
        .shared(shared)
        .observer(notebook.clone())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_tenant_reaches_another_through_a_whole_client() {
    let (notebook, rng) = (Notebook::default(), Rng::from_seed(5));
    let (quota, answers) = (MemoryQuotaStore::new(), MemoryCacheStore::default());
    let index = MemoryVectorIndex::default();
    let shared = || {
        let shared = Shared::new([7; 32]).quota(quota.clone()).cache(answers.clone());
        shared.index(index.clone())
    };
    let clients = [client(shared(), &notebook), client(shared(), &notebook)];
    let mut sources = HashMap::new();
    for _ in 0..40 {
        let calls = (0..60).map(|_| {
            let tenant = name(rng.below(TENANTS as u64) as usize);
            let question = format!("How do I reset password {}?", rng.below(4));
            let call = ChatRequest::new("m").user(question).tenant(&*tenant);
            let call = call.session("one for all").idempotency_key(&*tenant);
            let client = &clients[rng.below(2) as usize];
            async move { (tenant, client.complete(call).await.unwrap()) }
        });
        for (tenant, done) in futures::future::join_all(calls).await {
            assert_eq!(done.text(), tenant);
            *sources.entry(done.report.served_by.label()).or_insert(0) += 1;
        }
    }
    for source in ["endpoint", "exact", "semantic", "shared", "coalesced"] {
        assert!(sources.contains_key(source), "{sources:?}");
    }
    let seen = notebook.0.lock().clone();
    assert!(!seen.contains("canary"), "events name no tenant");
    for client in &clients {
        let stats = serde_json::to_string(&client.stats()).unwrap() + &format!("{client:?}");
        assert!(!stats.contains("canary"), "{stats}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_tenant_is_charged_its_own_and_no_more() {
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(1_000));
    let quota = quota.build().unwrap();
    let answer =
        |_, _| async { Ok(ChatResponse::text_only("hi").with_usage(Usage::counted(3, 4))) };
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider_fn("p", answer)))
        .quota(quota.clone())
        .build()
        .unwrap();
    let ask = |tenant: usize| {
        client.complete(ChatRequest::new("m").user("q").max_output_tokens(9).tenant(name(tenant)))
    };
    let calls = (0..TENANTS).flat_map(|tenant| (0..tenant).map(move |_| tenant));
    for done in futures::future::join_all(calls.map(ask)).await {
        done.unwrap();
    }
    for tenant in 1..TENANTS {
        let usage = quota.usage(&TenantId::from(name(tenant))).unwrap();
        assert_eq!(usage.available[0].1, 1_000 - 7 * tenant as u64, "tenant {tenant}");
    }
}
