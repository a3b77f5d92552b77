//! Looks into the cache, and what they wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::cache::shared::{
    CacheStore, MemoryCacheStore, MemoryVectorIndex, SharedAnswer, SharedEntry, SharedKey,
    VectorIndex,
};
use evenkeel::cache::{
    Grey, Invalidate, LexicalEmbedder, Lookup, Replay, SemanticCache, StoredAnswer, Verification,
    Verifier, VerifyWhen,
};
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};
use evenkeel::time::now;
use evenkeel::{
    CallOptions, ChatRequest, ChatResponse, Embedder, Embedding, ProviderError, async_trait,
};
use futures::StreamExt as _;

use crate::stores::{Mood, Moody, settle};
use crate::{SECOND, pass};

/// How many questions are being embedded or verified.
#[derive(Clone, Default)]
struct Work(Arc<AtomicUsize>);

struct Working(Work);

impl Work {
    fn begins(&self) -> Working {
        self.0.fetch_add(1, Ordering::Relaxed);
        Working(self.clone())
    }

    fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Two coordinates, nearly the same for all; takes 50 ms.
#[async_trait]
impl Embedder for Work {
    fn id(&self) -> &str {
        "slow"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let _working = self.begins();
        pass(SECOND / 20).await;
        let vector = |text: &&str| Embedding::new(vec![1.0, text.len() as f32 / 10.0]);
        texts.iter().map(|text| Ok(vector(text)?)).collect()
    }
}

/// Approves after half a second.
#[async_trait]
impl Verifier for Work {
    async fn approve(&self, _pair: &Grey<'_>) -> Result<bool, ProviderError> {
        let _working = self.begins();
        pass(SECOND / 2).await;
        Ok(true)
    }
}

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new("m").user(text)
}

/// With one entry, whose neighbours are shown to the verifier.
fn verified(work: &Work, when: VerifyWhen) -> SemanticCache {
    let verification = Verification::new().from(0.5).when(when);
    let cache = SemanticCache::builder().embedder(work.clone()).threshold(0.9999);
    cache.verifier(work.clone(), verification).build().unwrap()
}

async fn store(cache: &SemanticCache, text: &str, answer: &str) {
    let looked = cache.lookup(&ask(text), &CallOptions::new()).await;
    let Lookup::Miss(ticket) = looked else { panic!("{looked:?}") };
    cache.store(ticket, ChatResponse::text_only(answer)).unwrap();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_leaves_nothing_wherever_it_is_dropped() {
    let work = Work::default();
    let cache = verified(&work, VerifyWhen::Now);
    store(&cache, "a", "x").await;
    pass(SECOND).await;
    let (options, request) = (CallOptions::new(), ask("bbb"));
    let found = drop_at_every_poll(
        || cache.lookup(&request, &options),
        |polls| {
            assert_eq!(work.open(), 0, "somebody embeds or verifies after {polls} polls");
            assert!(cache.stats().entries <= 2, "after {polls} polls");
        },
    );
    assert!(matches!(found.await, Lookup::Hit(_)));
}

#[tokio::test(start_paused = true)]
async fn verifying_what_waits_leaves_nothing_wherever_it_is_dropped() {
    let work = Work::default();
    let cache = verified(&work, VerifyWhen::Later);
    store(&cache, "a", "x").await;
    for text in ["bbb", "cccc"] {
        let looked = cache.lookup(&ask(text), &CallOptions::new()).await;
        assert!(matches!(looked, Lookup::Miss(_)), "{looked:?}");
    }
    let approved = drop_at_every_poll(
        || cache.verify_waiting(),
        |polls| assert_eq!(work.open(), 0, "somebody verifies after {polls} polls"),
    );
    assert!(approved.await <= 2);
    assert_eq!(cache.verify_waiting().await, 0, "nothing waits twice");
}

fn instance(store: &Moody) -> SemanticCache {
    SemanticCache::builder().secret([7; 32]).shared(store.clone()).build().unwrap()
}

/// The lead among instances is back soon after whoever had it, or had asked for it, is gone: long
/// before its lease ends.
#[tokio::test(start_paused = true)]
async fn a_look_at_all_instances_gives_its_lead_back_wherever_it_is_dropped() {
    let store = Moody::of(Mood::TakesItsTime);
    for polls in 0.. {
        let (here, there) = (instance(&store), instance(&store));
        let request = ask(&format!("q{polls}"));
        let looks = async |cache: SemanticCache, wait: Duration| {
            let Lookup::Miss(mut ticket) = cache.probe(&request, &CallOptions::new(), now()) else {
                panic!("nothing is stored")
            };
            let found = cache.search_fleet(&mut ticket, now() + wait).await;
            assert!(found.is_none(), "nothing was stored");
            ticket
        };
        let left = drop_after_polls(looks(here, 60 * SECOND), polls).await.is_some();
        let before = now();
        drop(looks(there, 60 * SECOND).await);
        assert!(now() - before < SECOND, "it waited {:?} after {polls} polls", now() - before);
        pass(SECOND).await;
        if left {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn taking_back_may_be_given_up_and_done_again() {
    let store = Moody::of(Mood::TakesItsTime);
    let (here, there) = (instance(&store), instance(&store));
    self::store(&here, "q", "x").await;
    pass(SECOND).await;
    assert!(matches!(there.lookup(&ask("q"), &CallOptions::new()).await, Lookup::Hit(_)));
    let taken = drop_at_every_poll(|| here.invalidate_shared(Invalidate::All), |_| {});
    taken.await.unwrap();
    pass(SECOND).await;
    for cache in [here, there] {
        assert!(matches!(cache.lookup(&ask("q"), &CallOptions::new()).await, Lookup::Miss(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_ends_wherever_it_is_dropped() {
    let answer = Arc::new(StoredAnswer::new(ChatResponse::text_only("x".repeat(50))));
    for replay in [Replay::Burst, Replay::Paced { first: SECOND, between: SECOND }] {
        let play = || replay.stream(&answer).count();
        let chunks = drop_at_every_poll(play, |_| assert_eq!(Arc::strong_count(&answer), 1));
        assert!(chunks.await > 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedder_may_be_dropped_anywhere() {
    let work = Arc::new(Work::default());
    let embed = || work.embed(&["a", "b"]);
    let vectors = drop_at_every_poll(embed, |_| assert_eq!(work.open(), 0)).await.unwrap();
    assert_eq!(vectors.len(), 2);
    let lexical = LexicalEmbedder::new();
    let vectors = drop_at_every_poll(|| lexical.embed(&["two words"]), |_| {}).await.unwrap();
    assert_eq!(vectors, lexical.embed(&["two words"]).await.unwrap());
}

fn shared_answer() -> SharedAnswer {
    SharedAnswer::new(1, Vec::new(), StoredAnswer::new(ChatResponse::text_only("x")), 60 * SECOND)
}

/// It answers at its first poll: dropped before, it has done nothing.
#[tokio::test(start_paused = true)]
async fn a_store_of_answers_is_whole_wherever_it_is_dropped() {
    let memory = MemoryCacheStore::default();
    let store = Arc::new(memory.clone());
    let (key, answer) = (SharedKey::new(1, 2), shared_answer());
    assert!(drop_after_polls(store.put(&key, &answer), 0).await.is_none());
    assert_eq!(memory.get(&key).await.unwrap(), None, "nobody asked");
    drop_at_every_poll(|| store.put(&key, &answer), |_| {}).await.unwrap();
    let read = drop_at_every_poll(|| store.get(&key), |_| {}).await.unwrap();
    assert_eq!(read.unwrap().answer.response.text(), "x");
    drop_at_every_poll(|| store.remove(&key), |_| {}).await.unwrap();
    assert_eq!(memory.get(&key).await.unwrap(), None);
    assert_eq!(drop_at_every_poll(|| store.advance(5), |_| {}).await.unwrap(), 1, "once");
    assert_eq!(drop_at_every_poll(|| store.epochs(&[5]), |_| {}).await.unwrap(), [1]);
    assert!(drop_at_every_poll(|| store.try_lead(&key, 1, SECOND), |_| {}).await.unwrap());
    assert!(drop_at_every_poll(|| store.renew(&key, 1, SECOND), |_| {}).await.unwrap());
    drop_at_every_poll(|| store.release(&key, 1), |_| {}).await.unwrap();
    assert!(memory.try_lead(&key, 2, SECOND).await.unwrap(), "the lead is back");
}

/// As above.
#[tokio::test(start_paused = true)]
async fn an_index_is_whole_wherever_it_is_dropped() {
    let memory = MemoryVectorIndex::default();
    let index = Arc::new(memory.clone());
    let vector = Embedding::new(vec![1.0, 0.0]).unwrap();
    let entry = SharedEntry::new((1, 2), "q", vector.clone(), shared_answer());
    assert!(drop_after_polls(index.insert(&entry), 0).await.is_none());
    assert_eq!(memory.nearest(1, &vector, 0.9).await.unwrap(), [], "nobody asked");
    drop_at_every_poll(|| index.insert(&entry), |_| {}).await.unwrap();
    let near = drop_at_every_poll(|| index.nearest(1, &vector, 0.9), |_| {}).await.unwrap();
    assert_eq!(near.len(), 1);
    drop_at_every_poll(|| index.remove(1, 2), |_| {}).await.unwrap();
    assert_eq!(memory.nearest(1, &vector, 0.9).await.unwrap(), []);
    memory.insert(&entry).await.unwrap();
    pass(61 * SECOND).await;
    let cleaned = drop_at_every_poll(|| index.clean_up(), |_| {}).await.unwrap();
    assert_eq!((cleaned, memory.clean_up().await.unwrap()), (1, 0));
}
