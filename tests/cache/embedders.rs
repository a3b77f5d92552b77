//! Whatever an embedder does, a call goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::cache::{Lookup, SemanticCache};
use evenkeel::{CallOptions, Embedder, Embedding, ErrorKind, ProviderError, async_trait};

use crate::doubles::{Angles, ask, ask_or_store, hit, miss};

#[derive(Clone, Copy, Debug)]
enum Misdeed {
    Fails,
    Hangs,
    Panics,
    TooFew,
    Mixed,
    OtherDimensions,
}

/// Behaves for so many requests, then no more.
struct Turncoat {
    misdeed: Misdeed,
    good: AtomicUsize,
}

#[async_trait]
impl Embedder for Turncoat {
    fn id(&self) -> &str {
        "turncoat"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let plain = |dimensions| Ok(Embedding::new(vec![1.0; dimensions])?);
        let behaves =
            self.good.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if behaves.is_ok() {
            return texts.iter().map(|_| plain(3)).collect();
        }
        match self.misdeed {
            Misdeed::Fails => Err(ProviderError::new(ErrorKind::Server, "down")),
            Misdeed::Hangs => std::future::pending().await,
            Misdeed::Panics => panic!("embedder"),
            Misdeed::TooFew => Ok(Vec::new()),
            Misdeed::Mixed => [3].into_iter().chain(4..).take(texts.len() + 1).map(plain).collect(),
            Misdeed::OtherDimensions => texts.iter().map(|_| plain(4)).collect(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedder_that_misbehaves_is_a_miss_and_the_exact_tier_goes_on() {
    use Misdeed::{Fails, Hangs, Mixed, OtherDimensions, Panics, TooFew};
    for misdeed in [Fails, Hangs, Panics, TooFew, Mixed, OtherDimensions] {
        for good in 0..2 {
            let embedder = Turncoat { misdeed, good: AtomicUsize::new(good) };
            let timeout = Duration::from_millis(200);
            let cache =
                SemanticCache::builder().embedder(embedder).embed_timeout(timeout).build().unwrap();
            let options = CallOptions::new();
            ask_or_store(&cache, &ask("first"), &options, "x").await;
            if good == 1 {
                hit(&cache, &ask("second"), &options).await;
            }
            let begin = evenkeel::time::now();
            for number in 0..5 {
                let text = format!("another {number}");
                let ticket = match cache.lookup(&ask(&text), &options).await {
                    Lookup::Miss(ticket) => ticket,
                    // Vectors of a new size are as good as the old ones while there are no others.
                    Lookup::Hit(_) if good == 0 && matches!(misdeed, OtherDimensions) => continue,
                    other => panic!("{misdeed:?}: {other:?}"),
                };
                cache.store(ticket, evenkeel::ChatResponse::text_only("y")).unwrap();
                assert!(hit(&cache, &ask(&text), &options).await.is_exact(), "{misdeed:?}");
            }
            assert!(evenkeel::time::now() - begin <= 5 * timeout, "{misdeed:?}");
            hit(&cache, &ask("first"), &options).await;
        }
    }
}

/// Gives vectors of as many coordinates as it is told at the time, near one another.
#[derive(Clone)]
struct Resized(Arc<AtomicUsize>);

#[async_trait]
impl Embedder for Resized {
    fn id(&self) -> &str {
        "resized"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let plain = || Ok(Embedding::new(vec![1.0; self.0.load(Ordering::Relaxed)])?);
        texts.iter().map(|_| plain()).collect()
    }
}

fn resized() -> (Arc<AtomicUsize>, SemanticCache) {
    let dimensions = Arc::new(AtomicUsize::new(3));
    let embedder = Resized(Arc::clone(&dimensions));
    (dimensions, SemanticCache::builder().embedder(embedder).build().unwrap())
}

async fn is_similar(cache: &SemanticCache, text: &str) -> bool {
    matches!(cache.lookup(&ask(text), &CallOptions::new()).await, Lookup::Hit(hit) if !hit.is_exact())
}

#[tokio::test]
async fn an_embedder_that_has_changed_its_dimensions_for_good_is_followed() {
    let (dimensions, cache) = resized();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("first"), &options, "x").await;
    assert!(is_similar(&cache, "warm").await);
    let one_of_three = cache.stats().bytes;
    dimensions.store(300, Ordering::Relaxed);
    let mut in_vain = 0;
    while !is_similar(&cache, &format!("another {in_vain}")).await {
        in_vain += 1;
        assert!(in_vain < 20);
    }
    assert!(in_vain >= 8, "{in_vain}");
    // What was stored before is found again, and counts for its new vector and no longer for the old.
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.vectors), (1, 1));
    assert_eq!(stats.bytes - one_of_three, 297 * size_of::<f32>());
    assert!(hit(&cache, &ask("first"), &options).await.is_exact());
    cache.invalidate(evenkeel::cache::Invalidate::All);
    assert_eq!((cache.stats().bytes, cache.stats().partitions), (0, 0));
}

#[tokio::test]
async fn an_embedder_that_errs_now_and_then_keeps_its_index() {
    let (dimensions, cache) = resized();
    ask_or_store(&cache, &ask("first"), &CallOptions::new(), "x").await;
    assert!(is_similar(&cache, "warm").await);
    for round in 0..5 {
        dimensions.store(4, Ordering::Relaxed);
        for number in 0..7 {
            assert!(!is_similar(&cache, &format!("wrong {round} {number}")).await);
        }
        dimensions.store(3, Ordering::Relaxed);
        assert!(is_similar(&cache, &format!("right {round}")).await);
    }
}

#[tokio::test]
async fn what_nobody_looks_for_is_never_embedded() {
    let angles = Angles::default();
    let cache = SemanticCache::builder().embedder(angles.clone()).threshold(0.9).build().unwrap();
    let options = CallOptions::new();
    let embedded = || angles.texts.load(Ordering::Relaxed);
    for number in 0..50 {
        let unique = evenkeel::ChatRequest::new("m").system(number.to_string()).user("q");
        ask_or_store(&cache, &unique, &options, "x").await;
        hit(&cache, &unique, &options).await;
    }
    assert_eq!(embedded(), 0);
    ask_or_store(&cache, &ask("a @0"), &options, "x").await;
    assert_eq!(embedded(), 0);
    hit(&cache, &ask("b @1"), &options).await;
    assert_eq!(embedded(), 2, "the question, and the one that waited");
    hit(&cache, &ask("c @1"), &options).await;
    assert_eq!(embedded(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_is_dropped_leaves_the_waiting_entries_findable() {
    /// Lets others run before it answers.
    struct Slow(Angles);

    #[async_trait]
    impl Embedder for Slow {
        fn id(&self) -> &str {
            "slow"
        }

        async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
            tokio::task::yield_now().await;
            self.0.embed(texts).await
        }
    }

    let cache =
        SemanticCache::builder().embedder(Slow(Angles::default())).threshold(0.9).build().unwrap();
    let options = CallOptions::new();
    ask_or_store(&cache, &ask("a @0"), &options, "x").await;
    let request = ask("b @1");
    {
        let mut lookup = std::pin::pin!(cache.lookup(&request, &options));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(lookup.as_mut().poll(&mut context).is_pending());
    }
    hit(&cache, &request, &options).await;
    miss(&cache, &ask("c @90"), &options).await;
}
