//! Never more than allowed, and what is found is what is there.

use std::collections::HashMap;
use std::time::Duration;

use evenkeel::cache::{Decision, Invalidate, Lookup, SemanticCache};
use evenkeel::{CallOptions, ChatResponse};
use proptest::prelude::*;

use crate::doubles::{Angles, Table, ask, ask_or_store, hit, miss, of_tenant};

#[derive(Debug, Clone)]
enum Step {
    Ask { tenant: u8, question: u8, bytes: usize },
    Similar { tenant: u8, question: u8 },
    Wait(u64),
    Tag(u8),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4, 0u8..40, 0usize..3_000)
            .prop_map(|(tenant, question, bytes)| Step::Ask { tenant, question, bytes }),
        3 => (0u8..4, 0u8..40).prop_map(|(tenant, question)| Step::Similar { tenant, question }),
        1 => (1u64..20).prop_map(Step::Wait),
        1 => (0u8..4).prop_map(Step::Tag),
        1 => Just(Step::Expire),
    ]
}

async fn take(cache: &SemanticCache, step: &Step) {
    match step {
        Step::Ask { tenant, question, bytes } => {
            let mut options = of_tenant(&tenant.to_string());
            options.tags.insert(tenant.to_string().into());
            let text = format!("{question} @{}", u32::from(*question) * 4);
            ask_or_store(cache, &ask(&text), &options, &"x".repeat(bytes + 1)).await;
        }
        Step::Similar { tenant, question } => {
            let text = format!("similar @{}", u32::from(*question) * 4 + 1);
            let _ = cache.lookup(&ask(&text), &of_tenant(&tenant.to_string())).await;
        }
        Step::Wait(seconds) => tokio::time::advance(Duration::from_secs(*seconds)).await,
        Step::Tag(tag) => {
            cache.invalidate(Invalidate::Tag(&tag.to_string()));
        }
        Step::Expire => {
            cache.remove_expired();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bounds_hold_after_every_operation(
        steps in prop::collection::vec(step(), 1..120),
        entries in 1usize..30,
        bytes in 1_000usize..60_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cache = SemanticCache::builder()
                .embedder(Angles::default())
                .threshold(0.9)
                .max_entries(entries)
                .max_bytes(bytes)
                .max_share(0.4)
                .ttl(Duration::from_secs(30))
                .build()
                .unwrap();
            for step in &steps {
                take(&cache, step).await;
                let stats = cache.stats();
                prop_assert!(stats.entries <= entries && stats.bytes <= bytes, "{stats:?}");
                prop_assert!(stats.vectors <= stats.entries, "{stats:?}");
                prop_assert!(stats.partitions <= stats.entries, "{stats:?}");
            }
            cache.invalidate(Invalidate::All);
            let stats = cache.stats();
            prop_assert_eq!((stats.entries, stats.bytes, stats.vectors, stats.partitions), (0, 0, 0, 0));
            Ok(())
        })?;
    }

    /// The nearest stored question that is still valid is served, and no other.
    #[test]
    fn the_index_finds_what_a_scan_finds(
        vectors in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 5), 2..60),
        waits in prop::collection::vec(0u64..8, 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let table = Table::default();
            let ttl = 40;
            let cache = SemanticCache::builder()
                .embedder(table.clone())
                .threshold(0.8)
                .ttl(Duration::from_secs(ttl))
                .build()
                .unwrap();
            let (mut stored, mut second) = (HashMap::<String, (Vec<f32>, u64)>::new(), 0);
            for (number, (vector, wait)) in vectors.iter().zip(waits).enumerate() {
                if vector.iter().all(|x| x.abs() < 1e-3) {
                    continue;
                }
                tokio::time::advance(Duration::from_secs(wait)).await;
                second += wait;
                let name = format!("question {number}");
                table.0.lock().insert(name.clone(), vector.clone());
                stored.retain(|_, (_, since)| *since + ttl > second);
                let best = stored.values().map(|(other, _)| cosine(vector, other)).fold(-1.0, f32::max);
                match cache.lookup(&ask(&name), &CallOptions::new()).await {
                    Lookup::Hit(found) => {
                        prop_assert!((found.similarity() - best).abs() < 1e-4 && best > 0.799);
                        let served = found.answer.response.text();
                        prop_assert!(stored.contains_key(&served), "{served} has expired");
                    }
                    Lookup::Miss(ticket) => {
                        prop_assert!(best < 0.801, "missed {best}");
                        cache.store(ticket, ChatResponse::text_only(&name)).unwrap();
                        stored.insert(name, (vector.clone(), second));
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            Ok(())
        })?;
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_served_by_neither_tier() {
    let cache = SemanticCache::builder()
        .embedder(Angles::default())
        .threshold(0.9)
        .ttl(Duration::from_secs(10))
        .build()
        .unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("a @0"), &options, "stored").await;
    tokio::time::advance(Duration::from_millis(9_999)).await;
    hit(&cache, &ask("a @0"), &options).await;
    hit(&cache, &ask("b @1"), &options).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    miss(&cache, &ask("b @1"), &options).await;
    miss(&cache, &ask("a @0"), &options).await;
}

#[tokio::test]
async fn a_flooder_gives_way_to_others() {
    let cache = SemanticCache::builder().max_entries(100).max_share(0.5).build().unwrap();
    for number in 0..50 {
        ask_or_store(&cache, &ask(&number.to_string()), &of_tenant("polite"), "x").await;
    }
    for number in 0..5_000 {
        ask_or_store(&cache, &ask(&number.to_string()), &of_tenant("flooder"), "x").await;
    }
    for number in 0..50 {
        hit(&cache, &ask(&number.to_string()), &of_tenant("polite")).await;
    }
    assert_eq!(cache.stats().entries, 100);
}

#[tokio::test]
async fn an_answer_that_can_never_fit_is_refused_and_displaces_nobody() {
    let cache = SemanticCache::builder().max_bytes(4_000).build().unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("small"), &options, "x").await;
    let ticket = miss(&cache, &ask("large"), &options).await;
    let large = ChatResponse::text_only("x".repeat(5_000));
    assert_eq!(cache.store(ticket, large), Err(evenkeel::cache::NotStored::TooLarge));
    hit(&cache, &ask("small"), &options).await;
}

/// Zipf with exponent 1 over 20,000 questions, room for 500.
#[tokio::test]
async fn eviction_keeps_more_of_a_skewed_trace_than_lru() {
    let (questions, room, calls) = (20_000_u32, 500, 60_000);
    let mut sum = 0.0;
    let weights = (1..=questions).map(|rank| {
        sum += 1.0 / f64::from(rank);
        sum
    });
    let weights: Vec<f64> = weights.collect();
    let rng = evenkeel::rng::Rng::from_seed(11);
    let cache = SemanticCache::builder().max_entries(room).build().unwrap();
    let (mut lru, mut lru_hits) = (std::collections::VecDeque::new(), 0);
    for _ in 0..calls {
        let draw = rng.unit() * sum;
        let question = weights.partition_point(|&weight| weight < draw);
        ask_or_store(&cache, &ask(&question.to_string()), &CallOptions::new(), "x").await;
        match lru.iter().position(|&held| held == question) {
            Some(at) => {
                lru.remove(at);
                lru_hits += 1;
            }
            None if lru.len() == room => {
                lru.pop_front();
            }
            None => {}
        }
        lru.push_back(question);
    }
    let hits = cache.stats().exact_hits;
    assert!(hits as f64 > 1.1 * f64::from(lru_hits), "{hits} against {lru_hits}");
}

#[tokio::test(start_paused = true)]
async fn the_words_that_are_kept_for_comparison_count() {
    let grown_by = async |decision| {
        let cache = SemanticCache::builder()
            .embedder(Angles::default())
            .decision(decision)
            .build()
            .unwrap();
        let options = CallOptions::new();
        ask_or_store(&cache, &ask("some words of a stored question @0"), &options, "a").await;
        let before = cache.stats().bytes;
        let _ = cache.lookup(&ask("far @90"), &options).await;
        cache.stats().bytes - before
    };
    let vector = grown_by(Decision::Threshold(0.9)).await;
    let with_words = grown_by(Decision::tiered()).await;
    assert!(with_words > vector + 7 * 16, "{with_words} bytes beside {vector}");
}
