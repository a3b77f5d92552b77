//! Instances that share their answers.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::{Invalidate, Scope, SemanticCache, SnapshotFault, Tier};
use evenkeel::{
    CacheControl, CallOptions, ChatRequest, ChatResponse, FinishReason, Part, ToolCall,
};

use crate::doubles::{Angles, SECOND, ask, hit, miss, of_tenant, with};
use crate::stores::{MS, Mood, Moody, pass, settle};

const SECRET: [u8; 32] = [7; 32];

fn instance(store: &Moody) -> SemanticCache {
    SemanticCache::builder().secret(SECRET).shared(store.clone()).build().unwrap()
}

fn plain() -> CallOptions {
    CallOptions::new()
}

/// Asks, finds nothing, and stores `answer`.
async fn tell(cache: &SemanticCache, request: &ChatRequest, options: &CallOptions, answer: &str) {
    let ticket = miss(cache, request, options).await;
    cache.store(ticket, ChatResponse::text_only(answer)).unwrap();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_one_is_served_by_the_other_which_keeps_a_copy_for_a_minute() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    tell(&a, &ask("q"), &plain(), "yes").await;
    for _ in 0..2 {
        let found = hit(&b, &ask("q"), &plain()).await;
        assert_eq!((found.tier, found.label()), (Tier::Shared, "shared_hit"));
        assert_eq!(found.answer.response.text(), "yes");
        let again = hit(&b, &ask("q"), &plain()).await;
        assert_eq!((again.tier, again.label()), (Tier::Local, "exact_hit"));
        pass(SECOND * 59).await;
        assert_eq!(hit(&b, &ask("q"), &plain()).await.tier, Tier::Local);
        pass(SECOND).await;
    }
    let stats = b.stats();
    assert_eq!((stats.shared_hits, stats.exact_hits, stats.misses), (2, 4, 0));
    assert_eq!(a.stats().shared_writes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_gets_no_older_than_what_it_was_made_from() {
    let store = Moody::default();
    let short = SemanticCache::builder().secret(SECRET).shared(store.clone()).ttl(SECOND * 90);
    let (a, b) = (short.build().unwrap(), instance(&store));
    tell(&a, &ask("q"), &plain(), "yes").await;
    pass(SECOND * 80).await;
    hit(&b, &ask("q"), &plain()).await;
    pass(SECOND * 9).await;
    hit(&b, &ask("q"), &plain()).await;
    pass(SECOND).await;
    miss(&b, &ask("q"), &plain()).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_another_secret_or_reads_texts_otherwise_shares_nothing() {
    let store = Moody::default();
    let builder = || SemanticCache::builder().shared(store.clone());
    let mut other = SECRET;
    other[31] ^= 1;
    let others = [
        builder().secret(other),
        builder().secret(SECRET).normalizer(evenkeel::cache::Normalizer::CaseFold),
        builder().secret(SECRET).scope(Scope::Global),
    ];
    tell(&instance(&store), &ask("q"), &plain(), "yes").await;
    for other in others {
        miss(&other.build().unwrap(), &ask("q"), &plain()).await;
    }
    hit(&instance(&store), &ask("q"), &plain()).await;
}

#[test]
fn what_is_missing_for_sharing_is_named() {
    let store = Moody::default();
    let builder = SemanticCache::builder;
    let index = || builder().secret(SECRET).shared_index(store.clone());
    let flight = evenkeel::cache::shared::FleetFlight::new().lease(Duration::ZERO);
    for (builder, field) in [
        (builder().shared(store.clone()), "secret"),
        (index().embedder(Angles::default()), "shared_index"),
        (index().shared(store.clone()), "shared_index"),
        (builder().fleet_flight(flight), "fleet_flight.lease"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    let twice = instance(&store).share(Arc::new(store.clone()), None);
    assert_eq!(twice.unwrap_err().field(), "shared");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_built_may_begin_to_share() {
    let store = Moody::default();
    let b = SemanticCache::builder().secret(SECRET).build().unwrap();
    b.share(Arc::new(store.clone()), None).unwrap();
    tell(&instance(&store), &ask("q"), &plain(), "yes").await;
    assert_eq!(hit(&b, &ask("q"), &plain()).await.tier, Tier::Shared);
}

#[tokio::test(start_paused = true)]
async fn what_one_takes_back_no_other_serves_a_second_later() {
    let tenant = "acme".into();
    for which in [
        Invalidate::All,
        Invalidate::Tag("docs"),
        Invalidate::Namespace("faq"),
        Invalidate::Tenant(&tenant),
    ] {
        let store = Moody::default();
        let within = |cache: SemanticCache| cache.in_scope(Scope::tenant_in("faq"));
        let (a, b) = (within(instance(&store)), within(instance(&store)));
        let mut options = of_tenant("acme");
        options.tags.insert("docs".into());
        // One that each has a copy of, one that only the other has: it has fetched it itself.
        tell(&a, &ask("q"), &options, "yes").await;
        tell(&b, &ask("r"), &options, "yes").await;
        hit(&b, &ask("q"), &options).await;
        pass(SECOND * 5).await;
        hit(&b, &ask("q"), &options).await;
        a.invalidate_shared(which).await.unwrap();
        miss(&a, &ask("q"), &options).await;
        miss(&a, &ask("r"), &options).await;
        pass(SECOND).await;
        for question in ["q", "r"] {
            miss(&b, &ask(question), &options).await;
            miss(&instance(&store).in_scope(Scope::tenant_in("faq")), &ask(question), &options)
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_back_stays_and_is_asked_for_once() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    for tenant in ["acme", "other"] {
        tell(&a, &ask("q"), &of_tenant(tenant), tenant).await;
        hit(&b, &ask("q"), &of_tenant(tenant)).await;
    }
    a.invalidate_shared(Invalidate::Tenant(&"acme".into())).await.unwrap();
    pass(SECOND).await;
    miss(&b, &ask("q"), &of_tenant("acme")).await;
    assert_eq!(hit(&b, &ask("q"), &of_tenant("other")).await.tier, Tier::Local);
    let asked = store.asked();
    for _ in 0..10 {
        assert_eq!(hit(&b, &ask("q"), &of_tenant("other")).await.tier, Tier::Local);
    }
    assert_eq!(store.asked(), asked, "it was found to be current a moment ago");
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_while_it_is_taken_back_is_served_to_nobody() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    let ticket = miss(&b, &ask("q"), &plain()).await;
    a.invalidate_shared(Invalidate::All).await.unwrap();
    b.store(ticket, ChatResponse::text_only("of before")).unwrap();
    settle().await;
    miss(&a, &ask("q"), &plain()).await;
    pass(SECOND).await;
    miss(&b, &ask("q"), &plain()).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_leaves_the_shared_store_whoever_says_so_and_when() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    for wait in [0, 300] {
        tell(&a, &ask("q"), &plain(), "wrong").await;
        let served = hit(&b, &ask("q"), &plain()).await;
        // The copy has left by then.
        pass(SECOND * wait).await;
        assert!(b.report_wrong(served.id));
        settle().await;
        miss(&b, &ask("q"), &plain()).await;
        miss(&instance(&store), &ask("q"), &plain()).await;
        a.invalidate(Invalidate::All);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_asked_takes_nothing_back_and_keeps_nothing_from_being_served() {
    for mood in [Mood::Hangs, Mood::Fails, Mood::Garbles] {
        let store = Moody::default();
        let a = instance(&store);
        tell(&a, &ask("q"), &plain(), "yes").await;
        pass(SECOND * 10).await;
        store.turns(mood);
        for _ in 0..20 {
            let start = evenkeel::time::now();
            assert_eq!(hit(&a, &ask("q"), &plain()).await.tier, Tier::Local);
            assert!(start.elapsed() <= 15 * MS, "{mood:?}");
            pass(SECOND * 3 / 4).await;
        }
        let ticket = miss(&a, &ask("r"), &plain()).await;
        a.store(ticket, ChatResponse::text_only("alone")).unwrap();
        hit(&a, &ask("r"), &plain()).await;
        store.turns(Mood::Well);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_while_the_store_was_away_is_fetched_again_when_it_is_back() {
    let store = Moody::of(Mood::Fails);
    let a = instance(&store);
    tell(&a, &ask("q"), &plain(), "perhaps taken back meanwhile").await;
    hit(&a, &ask("q"), &plain()).await;
    store.turns(Mood::Well);
    pass(SECOND * 20).await;
    // The breaker lets one through, and what it finds is for the next one.
    let _ = a.lookup(&ask("another"), &plain()).await;
    miss(&a, &ask("q"), &plain()).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_in_time_is_dropped_and_counted_and_nobody_waits() {
    let store = Moody::of(Mood::WritesHang);
    let a = instance(&store);
    let mut tickets = Vec::new();
    for number in 0..1_500 {
        tickets.push(miss(&a, &ask(&format!("{number}")), &plain()).await);
    }
    let start = evenkeel::time::now();
    for ticket in tickets {
        a.store(ticket, ChatResponse::text_only("yes")).unwrap();
    }
    assert_eq!(a.stats().shared_writes_dropped, 1_500 - 1_024);
    hit(&a, &ask("1499"), &plain()).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Five find out, the others are given up.
    pass(SECOND * 2).await;
    let stats = a.stats();
    assert_eq!((stats.shared_writes, stats.shared_writes_failed), (0, 1_024));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_ends_with_the_cache() {
    let store = Moody::of(Mood::WritesHang);
    let a = instance(&store);
    let answer = Arc::downgrade(&{
        let ticket = miss(&a, &ask("q"), &plain()).await;
        a.store(ticket, ChatResponse::text_only("yes")).unwrap();
        hit(&a, &ask("q"), &plain()).await.answer
    });
    settle().await;
    drop(a);
    assert!(answer.upgrade().is_some(), "it is being written");
    pass(SECOND).await;
    assert!(answer.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_says_what_it_takes_from_other_instances_and_leaves_for_them() {
    let store = Moody::default();
    let (a, b) = (instance(&store), instance(&store));
    let reader = miss(&a, &ask("q"), &with(CacheControl::ReadOnly)).await;
    a.store(reader, ChatResponse::text_only("left alone")).unwrap_err();
    settle().await;
    miss(&b, &ask("q"), &plain()).await;
    tell(&a, &ask("q"), &plain(), "first").await;
    hit(&b, &ask("q"), &with(CacheControl::ReadOnly)).await;
    tell(&a, &ask("q"), &with(CacheControl::Refresh), "second").await;
    let c = instance(&store);
    let found = hit(&c, &ask("q"), &with(CacheControl::ExactOnly)).await;
    assert_eq!(found.answer.response.text(), "second");
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_would_not_keep_it_does_not_serve_either() {
    let store = Moody::default();
    let keeps = evenkeel::cache::AdmissionPolicy::new().tool_calls(true);
    let builder = SemanticCache::builder().secret(SECRET).shared(store.clone());
    let a = builder.admission(keeps).build().unwrap();
    let ticket = miss(&a, &ask("q"), &plain()).await;
    let call = Part::ToolCall(ToolCall::new("c", "pay", "{}"));
    a.store(ticket, ChatResponse::new([call], FinishReason::ToolCalls)).unwrap();
    settle().await;
    hit(&a, &ask("q"), &plain()).await;
    miss(&instance(&store), &ask("q"), &plain()).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_another_secret_brings_no_entries_and_one_of_the_same_what_still_holds() {
    let store = Moody::default();
    let a = instance(&store);
    tell(&a, &ask("kept"), &of_tenant("acme"), "yes").await;
    tell(&a, &ask("taken back"), &of_tenant("other"), "yes").await;
    let path = std::env::temp_dir().join(format!("evenkeel-sharing-{}", std::process::id()));
    a.save(&path).unwrap();
    a.invalidate_shared(Invalidate::Tenant(&"other".into())).await.unwrap();

    let builder = || SemanticCache::builder().secret(SECRET).shared(store.clone());
    let same = builder().load(&path).unwrap();
    let other = builder().secret([8; 32]).load(&path).unwrap();
    let unshared = SemanticCache::builder().shared(store.clone()).load(&path).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(unshared.fault, SnapshotFault::Build(fault) if fault.field() == "secret"));
    assert_eq!((same.stats().entries, other.stats().entries), (2, 0));
    assert_eq!(hit(&same, &ask("kept"), &of_tenant("acme")).await.tier, Tier::Local);
    miss(&same, &ask("taken back"), &of_tenant("other")).await;
}
