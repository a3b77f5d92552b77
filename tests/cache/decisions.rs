//! When a similar question's answer is served, and who may change that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel::cache::{
    Decision, Grey, HitKind, SameText, SemanticCache, Verification, Verifier, VerifyWhen,
};
use evenkeel::{
    CacheControl, CallOptions, ChatResponse, Cost, ErrorKind, ProviderError, async_trait,
};

use crate::doubles::{Angles, ask, ask_at, ask_or_store, hit, miss, with};

#[tokio::test]
async fn a_call_can_only_tighten() {
    let cache =
        SemanticCache::builder().embedder(Angles::default()).threshold(0.95).build().unwrap();
    ask_or_store(&cache, &ask("a @0"), &CallOptions::new(), "x").await;
    // cos 10 degrees = 0.985, cos 25 degrees = 0.906
    hit(&cache, &ask("b @10"), &CallOptions::new()).await;
    hit(&cache, &ask("b @10"), &with(CacheControl::MinSimilarity(0.98))).await;
    for control in [
        CacheControl::MinSimilarity(0.99),
        CacheControl::MinSimilarity(f32::NAN),
        CacheControl::ExactOnly,
        CacheControl::Refresh,
    ] {
        miss(&cache, &ask("b @10"), &with(control)).await;
    }
    miss(&cache, &ask("b @25"), &with(CacheControl::MinSimilarity(0.1))).await;
    miss(&cache, &ask("b @25"), &with(CacheControl::MinSimilarity(-5.0))).await;
}

#[tokio::test]
async fn refresh_replaces_and_read_only_leaves_nothing() {
    let cache = SemanticCache::builder().build().unwrap();
    let refresh = with(CacheControl::Refresh);
    ask_or_store(&cache, &ask("q"), &CallOptions::new(), "old").await;
    let ticket = miss(&cache, &ask("q"), &refresh).await;
    cache.store(ticket, ChatResponse::text_only("new")).unwrap();
    let found = hit(&cache, &ask("q"), &CallOptions::new()).await;
    assert_eq!(found.answer.response.text(), "new");
    let ticket = miss(&cache, &ask("r"), &with(CacheControl::ReadOnly)).await;
    assert!(!ticket.writes());
    assert!(cache.store(ticket, ChatResponse::text_only("x")).is_err());
    miss(&cache, &ask("r"), &CallOptions::new()).await;
}

#[tokio::test]
async fn words_that_conflict_are_not_served_however_near_the_vectors_are() {
    let tiered = Decision::Tiered { same: 0.5, substituted: 0.5, other: 0.5 };
    let cache =
        SemanticCache::builder().embedder(Angles::default()).decision(tiered).build().unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("How do I enable dark mode?"), &options, "x").await;
    let found = hit(&cache, &ask("how can I enable the dark mode"), &options).await;
    assert!(matches!(found.how, HitKind::Similar { .. }));
    for other in [
        "How do I disable dark mode?",
        "How do I not enable dark mode?",
        "How do I enable dark mode on 2 screens?",
        "How do I enable dark mode on Monday?",
    ] {
        miss(&cache, &ask(other), &options).await;
    }
    assert_eq!(cache.stats().conflicts, 4);
}

#[tokio::test]
async fn a_calibrated_decision_serves_once_it_has_learnt_and_not_before() {
    let cache = SemanticCache::builder()
        .embedder(Angles::default())
        .decision(Decision::calibrated(0.1))
        .judge(SameText::new())
        .audits(0.0)
        .build()
        .unwrap();
    let options = CallOptions::new();
    let mut misses = 0;
    for number in 0..200 {
        let words = ["alpha", "beta", "gamma", "delta"][number % 4];
        let text = format!("{words} {}", "more ".repeat(number / 4 + 1));
        if ask_or_store(&cache, &ask(&text), &options, "the same").await.is_none() {
            misses += 1;
        }
    }
    assert!((30..120).contains(&misses), "{misses}");
}

/// Says what it was told to, and counts how often it was asked.
struct Oracle {
    says: fn() -> Result<bool, ProviderError>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Verifier for Oracle {
    async fn approve(&self, _pair: &Grey<'_>) -> Result<bool, ProviderError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.says)()
    }
}

fn verified(
    says: fn() -> Result<bool, ProviderError>,
    when: VerifyWhen,
) -> (SemanticCache, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let oracle = Oracle { says, asked: Arc::clone(&asked) };
    let cache = SemanticCache::builder()
        .embedder(Angles::default())
        .threshold(0.99)
        .verifier(oracle, Verification::new().from(0.9).when(when))
        .build()
        .unwrap();
    (cache, asked)
}

#[tokio::test]
async fn a_verifier_decides_the_grey_band_and_fails_closed() {
    let options = CallOptions::new();
    let (yes, asked) = verified(|| Ok(true), VerifyWhen::Now);
    ask_or_store(&yes, &ask_at("a", 0), &options, "x").await;
    let found = hit(&yes, &ask_at("b", 20), &options).await;
    assert!(matches!(found.how, HitKind::Verified { .. }));
    miss(&yes, &ask_at("b", 40), &options).await;
    hit(&yes, &ask_at("b", 1), &options).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let closed: [fn() -> Result<bool, ProviderError>; 3] = [
        || Ok(false),
        || Err(ProviderError::new(ErrorKind::Server, "down")),
        || panic!("verifier"),
    ];
    for says in closed {
        let (no, _) = verified(says, VerifyWhen::Now);
        ask_or_store(&no, &ask_at("a", 0), &options, "x").await;
        miss(&no, &ask_at("b", 20), &options).await;
    }
}

#[tokio::test]
async fn what_is_verified_later_serves_its_own_words_from_then_on() {
    let options = CallOptions::new();
    let (cache, asked) = verified(|| Ok(true), VerifyWhen::Later);
    ask_or_store(&cache, &ask_at("a", 0), &options, "x").await;
    drop(miss(&cache, &ask_at("b", 20), &options).await);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(cache.verify_waiting().await, 1);
    assert_eq!(hit(&cache, &ask_at("b", 20), &options).await.answer.response.text(), "x");
    assert_eq!(cache.verify_waiting().await, 0);
}

#[tokio::test]
async fn hits_say_what_they_saved() {
    let cache =
        SemanticCache::builder().embedder(Angles::default()).threshold(0.9).build().unwrap();
    let options = CallOptions::new();
    let ticket = miss(&cache, &ask("a @0"), &options).await;
    let answer = evenkeel::cache::StoredAnswer::new(ChatResponse::text_only("x"));
    cache.store(ticket, answer.with_cost(Some(Cost::from_nano_dollars(700)))).unwrap();
    hit(&cache, &ask("a @0"), &options).await;
    hit(&cache, &ask("b @1"), &options).await;
    let stats = cache.stats();
    assert_eq!((stats.exact_hits, stats.similar_hits, stats.misses), (1, 1, 1));
    assert_eq!(stats.saved, Cost::from_nano_dollars(1_400));
}

#[test]
fn what_cannot_be_built_says_which_field() {
    let field =
        |built: Result<SemanticCache, evenkeel::BuildError>| built.unwrap_err().field().to_owned();
    let build = SemanticCache::builder;
    assert_eq!(field(build().threshold(0.0).build()), "decision.threshold");
    assert_eq!(field(build().max_entries(0).build()), "max_entries");
    assert_eq!(field(build().max_bytes(0).build()), "max_bytes");
    assert_eq!(field(build().max_partitions(0).build()), "max_partitions");
    assert_eq!(field(build().max_share(0.0).build()), "max_share");
    assert_eq!(field(build().audits(1.5).build()), "audits");
    assert_eq!(field(build().decision(Decision::calibrated(0.02)).build()), "judge");
    let oracle = Oracle { says: || Ok(true), asked: Default::default() };
    assert_eq!(field(build().verifier(oracle, Verification::new()).build()), "verifier");
}
