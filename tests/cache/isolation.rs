//! Nothing is served across scopes or partitions.

use evenkeel::cache::{Decision, Invalidate, LexicalEmbedder, Lookup, Scope, SemanticCache};
use evenkeel::rng::Rng;
use evenkeel::{CallOptions, ChatRequest, ChatResponse};

use crate::doubles::{Angles, ask, ask_or_store, hit, miss, of_tenant};

/// Every answer says whose it is and under which instructions it was given; whatever is served must
/// say the same as the call. All questions are near one another and the threshold lets all pass.
#[tokio::test]
async fn canaries_of_200_tenants_never_cross() {
    let cache = SemanticCache::builder()
        .embedder(LexicalEmbedder::new())
        .threshold(0.01)
        .max_entries(800)
        .build()
        .unwrap();
    let rng = Rng::from_seed(7);
    let mut served = 0;
    for step in 0..60_000 {
        let tenant = format!("tenant-{}", rng.below(200));
        let system = format!("instructions {}", rng.below(3));
        let question = format!("How do I reset password {}?", rng.below(8));
        let scope = match rng.below(4) {
            0 => Scope::tenant_in("shared-name"),
            _ => Scope::Tenant,
        };
        let cache = cache.in_scope(scope.clone());
        let request = ChatRequest::new("m").system(&system).user(question);
        let canary = format!("{tenant} {system} {scope:?}");
        if let Some(answer) = ask_or_store(&cache, &request, &of_tenant(&tenant), &canary).await {
            assert_eq!(answer, canary, "step {step}");
            served += 1;
        }
    }
    let stats = cache.stats();
    assert!(served > 10_000 && stats.similar_hits > 1_000 && stats.evicted > 1_000, "{stats:?}");
}

#[tokio::test]
async fn a_tenant_named_like_a_namespace_sees_nothing_of_it() {
    let cache = SemanticCache::builder().embedder(Angles::default()).build().unwrap();
    let shared = cache.in_scope(Scope::namespace("acme"));
    let apart = cache.in_scope(Scope::tenant_in("acme"));
    ask_or_store(&shared, &ask("q"), &CallOptions::new(), "shared").await;
    miss(&cache, &ask("q"), &of_tenant("acme")).await;
    miss(&cache, &ask("q"), &CallOptions::new()).await;
    miss(&apart, &ask("q"), &of_tenant("acme")).await;
    let found = hit(&shared, &ask("q"), &of_tenant("anybody")).await;
    assert_eq!(found.answer.response.text(), "shared");
}

#[tokio::test]
async fn only_the_last_user_text_may_be_similar() {
    let cache =
        SemanticCache::builder().embedder(Angles::default()).threshold(0.9).build().unwrap();
    let options = CallOptions::new();
    let base = || ChatRequest::new("m").system("s").user("first").assistant("then");
    ask_or_store(&cache, &base().user("a @0"), &options, "stored").await;
    assert!(!hit(&cache, &base().user("b @5"), &options).await.is_exact());
    let others = [
        ChatRequest::new("m").system("t").user("first").assistant("then").user("b @5"),
        ChatRequest::new("m").system("s").user("first @1").assistant("then").user("b @5"),
        ChatRequest::new("n").system("s").user("first").assistant("then").user("b @5"),
        base().user("b @5").temperature(0.1),
        base().user("b @5").extra("language", "de"),
        base().user("b @5").tool(evenkeel::Tool::new("t", serde_json::json!({}))),
    ];
    for other in others {
        miss(&cache, &other, &options).await;
    }
}

#[tokio::test]
async fn what_was_invalidated_is_found_neither_exactly_nor_by_similarity() {
    let build =
        || SemanticCache::builder().embedder(Angles::default()).decision(Decision::Threshold(0.9));
    let tenant = "acme".into();
    for which in [
        Invalidate::All,
        Invalidate::Tag("docs"),
        Invalidate::Namespace("faq"),
        Invalidate::Tenant(&tenant),
    ] {
        let cache = build().build().unwrap().in_scope(Scope::tenant_in("faq"));
        let mut options = of_tenant("acme");
        options.tags.insert("docs".into());
        ask_or_store(&cache, &ask("a @0"), &options, "stored").await;
        hit(&cache, &ask("b @1"), &options).await;
        assert_eq!(cache.invalidate(Invalidate::Tag("other")), 0);
        assert_eq!(cache.invalidate(Invalidate::Tenant(&"other".into())), 0);
        assert_eq!(cache.invalidate(which), 1);
        miss(&cache, &ask("a @0"), &options).await;
        miss(&cache, &ask("b @1"), &options).await;
        let stats = cache.stats();
        assert_eq!((stats.entries, stats.bytes, stats.partitions, stats.vectors), (0, 0, 0, 0));
    }
}

#[tokio::test]
async fn a_wrong_answer_that_was_reported_is_not_served_again() {
    let cache =
        SemanticCache::builder().embedder(Angles::default()).threshold(0.9).build().unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("a @0"), &options, "stored").await;
    let similar = hit(&cache, &ask("b @1"), &options).await;
    assert!(cache.report_wrong(similar.id));
    miss(&cache, &ask("b @1"), &options).await;
    let exact = hit(&cache, &ask("a @0"), &options).await;
    assert!(exact.is_exact());
    assert!(cache.report_wrong(exact.id.to_string().parse().unwrap()));
    miss(&cache, &ask("a @0"), &options).await;
    assert!(!cache.report_wrong(exact.id));
}

#[tokio::test]
async fn what_may_not_be_cached_is_neither_looked_up_nor_embedded() {
    let angles = Angles::default();
    let cache = SemanticCache::builder().embedder(angles.clone()).build().unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("a"), &options, "stored").await;
    let warm = ask("a").temperature(1.0);
    assert!(matches!(cache.lookup(&warm, &options).await, Lookup::Bypass(_)));
    assert_eq!(angles.texts.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(cache.stats().bypassed, 1);
}

#[tokio::test]
async fn no_partial_failed_or_refused_answer_is_ever_stored() {
    use evenkeel::FinishReason::{ContentFilter, Length, Other, ToolCalls};
    let cache = SemanticCache::builder().build().unwrap();
    let options = CallOptions::new();
    for finish in [Length, ContentFilter, ToolCalls, Other("incomplete".into())] {
        let ticket = miss(&cache, &ask("q"), &options).await;
        let mut answer = ChatResponse::text_only("x");
        answer.finish = finish;
        assert!(cache.store(ticket, answer).is_err());
    }
    miss(&cache, &ask("q"), &options).await;
    assert_eq!((cache.stats().entries, cache.stats().not_stored), (0, 4));
}
