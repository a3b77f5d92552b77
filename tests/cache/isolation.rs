//! Nothing is served across scopes or partitions.

use evenkeel::cache::{Decision, Invalidate, Lookup, Scope, SemanticCache};
use evenkeel::rng::Rng;
use evenkeel::{CacheControl, CallOptions, ChatRequest, ChatResponse};

use crate::doubles::{Angles, ask, ask_or_store, hit, miss, of_tenant};

/// Every answer says whose it is and under which instructions it was given; whatever is served must
/// say the same as the call. All questions are near one another and the threshold lets all pass.
///
/// Most questions are stored already; hits are reported wrong and tenants invalidated, so that
/// places and partitions go from hand to hand.
#[tokio::test]
async fn a_million_operations_of_200_tenants_never_cross() {
    let cache = SemanticCache::builder()
        .embedder(Angles::default())
        .threshold(0.01)
        .max_entries(5_000)
        .build()
        .unwrap();
    let scopes = [Scope::Tenant, Scope::tenant_in("shared-name")];
    let caches = scopes.each_ref().map(|scope| cache.in_scope(scope.clone()));
    let tenants: Vec<_> = (0..TENANTS).map(|tenant| of_tenant(&tenant.to_string())).collect();
    // They store what others of their partition have similar answers to.
    let particular: Vec<_> = tenants
        .iter()
        .cloned()
        .map(|mut options| {
            options.cache = CacheControl::ExactOnly;
            options
        })
        .collect();
    let requests: Vec<_> =
        (0..SYSTEMS * QUESTIONS).map(|at| request(at / QUESTIONS, at % QUESTIONS)).collect();
    let rng = Rng::from_seed(7);
    let below = |most: usize| rng.below(most as u64) as usize;
    let (mut exact, mut similar) = (0, 0);
    for step in 0..1_000_000 {
        let (scope, tenant, at) = (below(2), below(TENANTS), below(requests.len()));
        let canary = (scope * TENANTS + tenant) * SYSTEMS + at / QUESTIONS;
        let options = if below(5) == 0 { &tenants[tenant] } else { &particular[tenant] };
        match caches[scope].lookup(&requests[at], options).await {
            Lookup::Hit(hit) => {
                assert_eq!(hit.answer.response.text(), canary.to_string(), "step {step}");
                *if hit.is_exact() { &mut exact } else { &mut similar } += 1;
                if below(50) == 0 {
                    cache.report_wrong(hit.id);
                }
            }
            Lookup::Miss(ticket) => {
                let _ = cache.store(ticket, ChatResponse::text_only(canary.to_string()));
            }
            other => panic!("{other:?}"),
        }
        if step % 10_007 == 0 {
            let tenant = below(TENANTS).to_string();
            cache.invalidate(Invalidate::Tenant(&tenant.as_str().into()));
        }
    }
    let stats = cache.stats();
    assert!(
        exact > 100_000 && similar > 10_000 && stats.evicted > 100_000,
        "{exact} {similar} {stats:?}"
    );
}

const TENANTS: usize = 200;
const SYSTEMS: usize = 3;
const QUESTIONS: usize = 6;

fn request(system: usize, question: usize) -> ChatRequest {
    ChatRequest::new("m").system(system.to_string()).user(format!("q @{question}"))
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
