//! Similar questions that other instances were asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::cache::shared::VectorIndex as _;
use evenkeel::cache::{
    CacheBuilder, Decision, Grey, HitKind, Invalidate, SameText, SemanticCache, Tier, Verification,
    Verifier, VerifyWhen,
};
use evenkeel::{
    CacheControl, CallOptions, ChatRequest, ChatResponse, Embedder, Embedding, ProviderError,
    async_trait,
};

use crate::doubles::{Angles, SECOND, ask, ask_at, hit, miss, of_tenant, with};
use crate::stores::{MS, Mood, Moody, pass, settle};

fn builder(store: &Moody) -> CacheBuilder {
    SemanticCache::builder()
        .secret([7; 32])
        .shared(store.clone())
        .shared_index(store.clone())
        .embedder(Angles::default())
        .threshold(0.99)
}

fn instance(store: &Moody) -> SemanticCache {
    builder(store).build().unwrap()
}

fn plain() -> CallOptions {
    CallOptions::new()
}

async fn tell(cache: &SemanticCache, request: &ChatRequest, options: &CallOptions, answer: &str) {
    let ticket = miss(cache, request, options).await;
    cache.store(ticket, ChatResponse::text_only(answer)).unwrap();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_similar_question_of_another_instance_is_served_and_kept_for_a_minute() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    tell(&a, &ask("one @0"), &plain(), "yes").await;
    let found = hit(&b, &ask("two @5"), &plain()).await;
    assert_eq!((found.tier, found.label()), (Tier::Shared, "shared_semantic_hit"));
    assert!((found.similarity() - 5f32.to_radians().cos()).abs() < 1e-6, "{}", found.similarity());
    let again = hit(&b, &ask("three @4"), &plain()).await;
    assert_eq!((again.tier, again.label()), (Tier::Local, "semantic_hit"));
    miss(&b, &ask("far @20"), &plain()).await;
    pass(SECOND * 60).await;
    assert_eq!(hit(&b, &ask("two @5"), &plain()).await.tier, Tier::Shared);
    let stats = b.stats();
    assert_eq!((stats.shared_similar_hits, stats.similar_hits), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn neighbours_are_of_the_same_scope_and_the_same_request_but_for_its_question() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    let base = || ChatRequest::new("m").system("s");
    tell(&a, &base().user("one @0"), &of_tenant("acme"), "yes").await;
    miss(&b, &base().user("one @0"), &of_tenant("other")).await;
    miss(&b, &ChatRequest::new("m").system("t").user("one @0"), &of_tenant("acme")).await;
    miss(&b, &base().user("two @1").temperature(0.1), &of_tenant("acme")).await;
    hit(&b, &base().user("two @1"), &of_tenant("acme")).await;
}

/// The same angles by another name.
#[derive(Default)]
struct Others(Angles);

#[async_trait]
impl Embedder for Others {
    fn id(&self) -> &str {
        "others"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        self.0.embed(texts).await
    }
}

#[tokio::test(start_paused = true)]
async fn vectors_of_another_embedder_are_never_compared_and_its_exact_answers_are_served() {
    let store = Moody::default();
    let b = builder(&store).embedder(Others::default()).build().unwrap();
    tell(&instance(&store), &ask("one @0"), &plain(), "yes").await;
    miss(&b, &ask("two @0"), &plain()).await;
    assert!(hit(&b, &ask("one @0"), &plain()).await.is_exact());
}

#[tokio::test(start_paused = true)]
async fn words_that_conflict_are_refused_and_the_next_one_is_looked_at() {
    let store = Moody::default();
    let tiered = |store| builder(store).decision(Decision::tiered()).build().unwrap();
    let (a, b) = (tiered(&store), tiered(&store));
    tell(&a, &ask_at("how do I enable dark mode", 0), &plain(), "enable").await;
    tell(&a, &ask_at("how do I disable dark mode", 12), &plain(), "disable").await;
    let found = hit(&b, &ask_at("how do I enable the dark mode", 11), &plain()).await;
    assert_eq!(found.answer.response.text(), "enable");
    assert_eq!((found.tier, b.stats().conflicts), (Tier::Shared, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_learns_serves_no_neighbour_before_it_can_promise() {
    let store = Moody::default();
    let learns = |store| {
        builder(store).decision(Decision::calibrated(0.02)).judge(SameText::default()).build()
    };
    let (a, b) = (learns(&store).unwrap(), learns(&store).unwrap());
    tell(&a, &ask("one @0"), &plain(), "yes").await;
    miss(&b, &ask("two @0"), &plain()).await;
}

#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Verifier for Counting {
    async fn approve(&self, pair: &Grey<'_>) -> Result<bool, ProviderError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(pair.stored.starts_with("good"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_is_asked_about_neighbours_now_or_later() {
    for when in [VerifyWhen::Now, VerifyWhen::Later] {
        let (store, verifier) = (Moody::default(), Counting::default());
        let verification = Verification::new().from(0.9).when(when);
        let b = builder(&store).verifier(verifier.clone(), verification).build().unwrap();
        let a = instance(&store);
        tell(&a, &ask_at("good", 0), &plain(), "yes").await;
        tell(&a, &ask_at("bad", 90), &plain(), "no").await;
        miss(&b, &ask_at("near bad", 80), &plain()).await;
        if when == VerifyWhen::Later {
            miss(&b, &ask_at("near good", 10), &plain()).await;
            assert_eq!(b.verify_waiting().await, 1);
            assert!(hit(&b, &ask_at("near good", 10), &plain()).await.is_exact());
        } else {
            let found = hit(&b, &ask_at("near good", 10), &plain()).await;
            assert!(matches!(found.how, HitKind::Verified { .. }) && found.tier == Tier::Shared);
        }
        assert_eq!(verifier.0.load(Ordering::Relaxed), 2, "{when:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_was_reported_wrong_is_served_by_no_instance_and_its_own_words_are() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    tell(&a, &ask("one @0"), &plain(), "yes").await;
    let wrong = hit(&b, &ask("two @5"), &plain()).await;
    pass(SECOND * 120).await;
    assert!(b.report_wrong(wrong.id));
    settle().await;
    miss(&b, &ask("two @5"), &plain()).await;
    miss(&instance(&store), &ask("two @5"), &plain()).await;
    assert!(hit(&instance(&store), &ask("one @0"), &plain()).await.is_exact());
    assert!(hit(&a, &ask("one @0"), &plain()).await.is_exact());
}

#[tokio::test(start_paused = true)]
async fn neighbours_that_were_taken_back_are_not_served() {
    let store = Moody::default();
    let (a, b, c) = (instance(&store), instance(&store), instance(&store));
    tell(&a, &ask("one @0"), &of_tenant("acme"), "yes").await;
    hit(&b, &ask("two @5"), &of_tenant("acme")).await;
    a.invalidate_shared(Invalidate::Tenant(&"acme".into())).await.unwrap();
    miss(&c, &ask("two @5"), &of_tenant("acme")).await;
    pass(SECOND).await;
    // What it has a copy of, and what it has not.
    miss(&b, &ask("two @4"), &of_tenant("acme")).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_refreshed_takes_the_old_one_out_of_the_index() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    tell(&a, &ask("one @0"), &plain(), "old").await;
    tell(&a, &ask("one @0"), &with(CacheControl::Refresh), "new").await;
    miss(&b, &ask("two @5"), &plain()).await;
    let found = hit(&b, &ask("one @0"), &plain()).await;
    assert_eq!(found.answer.response.text(), "new");
}

/// Whoever can write to the index could otherwise place an answer under another request's key.
#[tokio::test(start_paused = true)]
async fn an_entry_answers_for_its_vector_only_whatever_key_it_names() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    tell(&a, &ask("one @0"), &of_tenant("acme"), "of acme").await;
    let victim = miss(&a, &ask("secret @45"), &of_tenant("victim")).await.key();
    // The entry as it lies there, under the key of another tenant's question.
    let entry = store.entries().remove(0);
    store.index.remove(entry.partition, entry.exact).await.unwrap();
    let mut forged = entry;
    forged.exact = victim;
    store.index.insert(&forged).await.unwrap();
    assert_eq!(hit(&b, &ask("two @5"), &of_tenant("acme")).await.tier, Tier::Shared);
    miss(&b, &ask("secret @45"), &of_tenant("victim")).await;
}

#[tokio::test(start_paused = true)]
async fn an_index_that_fails_hangs_or_makes_no_sense_makes_misses_and_few_wait() {
    for mood in [Mood::Hangs, Mood::Fails, Mood::Garbles, Mood::Misplaces] {
        let store = Moody::default();
        let well = Moody::default();
        let a = builder(&well).shared_index(store.clone()).build().unwrap();
        let b = builder(&well).shared_index(store.clone()).build().unwrap();
        tell(&a, &ask("one @0"), &plain(), "yes").await;
        store.turns(mood);
        let start = evenkeel::time::now();
        for _ in 0..20 {
            miss(&b, &ask("two @5"), &plain()).await;
        }
        let waited = if mood == Mood::Hangs { 5 * 50 * MS } else { Duration::ZERO };
        assert_eq!(start.elapsed(), waited, "{mood:?}");
        store.turns(Mood::Well);
        pass(SECOND * 9).await;
        hit(&b, &ask("two @5"), &plain()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_embedded_for_calls_that_want_the_very_same_only() {
    let store = Moody::default();
    let angles = Angles::default();
    let a = builder(&store).embedder(angles.clone()).build().unwrap();
    miss(&a, &ask("one @0"), &with(CacheControl::ExactOnly)).await;
    miss(&a, &ask("one @0"), &with(CacheControl::Refresh)).await;
    assert_eq!(angles.texts.load(Ordering::Relaxed), 0);
    miss(&a, &ask("one @0"), &plain()).await;
    assert_eq!(angles.texts.load(Ordering::Relaxed), 1);
}
