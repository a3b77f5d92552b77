//! A storm of panics in users' code: each harms its own call at the most.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel::balance::{Candidates, Strategy, StrategyKind};
use evenkeel::cache::LexicalEmbedder;
use evenkeel::client::RetryPolicy;
use evenkeel::queue::{Gate, Passage, Place, RequestQueue};
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, after, now, sleep_until};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Chunk, ChunkStream, Embedder, Embedding, Endpoint,
    ErrorKind, Event, FinishReason, LlmClient, Observer, Provider, ProviderError, SemanticCache,
    async_trait,
};
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::doubles::seconds;

/// As many panics as a storm has.
const PANICS: u64 = 1_000;

/// Panics now and then, until the storm is over.
struct Storm {
    rng: Rng,
    share: f64,
    left: AtomicU64,
    seen: [AtomicU64; 4],
}

/// Whose code it is that panics.
#[derive(Clone, Copy)]
enum Whose {
    Provider,
    Embedder,
    Observer,
    Strategy,
}

impl Storm {
    fn new(seed: u64, share: f64) -> Arc<Self> {
        let seen = std::array::from_fn(|_| AtomicU64::new(0));
        let left = AtomicU64::new(PANICS);
        Arc::new(Self { rng: Rng::from_seed(seed), share, left, seen })
    }

    fn strikes(&self, whose: Whose) {
        let one_less = |left: u64| left.checked_sub(1);
        let strikes = self.rng.unit() < self.share
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if strikes {
            self.seen[whose as usize].fetch_add(1, Ordering::Relaxed);
            // Unwinds without the message that a panic prints.
            resume_unwind(Box::new("a bug of the user's"));
        }
    }

    fn seen(&self, whose: Whose) -> u64 {
        self.seen[whose as usize].load(Ordering::Relaxed)
    }
}

/// Panics before, while and after it answers. Of the calls that it was not struck in, all are answered.
#[derive(Clone)]
struct Struck(Arc<Storm>);

#[async_trait]
impl Provider for Struck {
    fn id(&self) -> &str {
        "struck"
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        self.0.strikes(Whose::Provider);
        sleep_until(after(now(), seconds(1))).await;
        self.0.strikes(Whose::Provider);
        Ok(ChatResponse::text_only(request.messages[0].text()))
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        self.0.strikes(Whose::Provider);
        let (text, storm) = (request.messages[0].text(), Arc::clone(&self.0));
        let chunks = [Chunk::text(0, text), Chunk::done(FinishReason::Stop)];
        let paced = stream::iter(chunks).then(move |chunk| {
            let storm = Arc::clone(&storm);
            async move {
                sleep_until(after(now(), seconds(1))).await;
                storm.strikes(Whose::Provider);
                Ok(chunk)
            }
        });
        Ok(paced.boxed())
    }
}

struct StruckEmbedder(Arc<Storm>, LexicalEmbedder);

#[async_trait]
impl Embedder for StruckEmbedder {
    fn id(&self) -> &str {
        "struck"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        self.0.strikes(Whose::Embedder);
        self.1.embed(texts).await
    }
}

struct StruckObserver(Arc<Storm>);

impl Observer for StruckObserver {
    fn on_event(&self, _event: &Event<'_>) {
        self.0.strikes(Whose::Observer);
    }
}

struct StruckStrategy(Arc<Storm>);

impl Strategy for StruckStrategy {
    fn choose(&self, _candidates: &Candidates<'_>) -> Option<usize> {
        self.0.strikes(Whose::Strategy);
        None
    }
}

fn client(storm: &Arc<Storm>) -> LlmClient {
    let balancer = evenkeel::Balancer::builder()
        .strategy(StrategyKind::custom(StruckStrategy(Arc::clone(storm))))
        .endpoint(Endpoint::new(Struck(Arc::clone(storm))).with_id("a"))
        .endpoint(Endpoint::new(Struck(Arc::clone(storm))).with_id("b"));
    let embedder = StruckEmbedder(Arc::clone(storm), LexicalEmbedder::new());
    LlmClient::builder()
        .balancer(balancer.build().unwrap())
        .cache(SemanticCache::builder().embedder(embedder).build().unwrap())
        .queue(RequestQueue::builder().build().unwrap())
        .observer(StruckObserver(Arc::clone(storm)))
        .retry(RetryPolicy::never())
        .build()
        .unwrap()
}

/// Each panic of a provider fails one call, without retries; all other calls are answered, with what
/// they asked. Panics of embedders, observers and strategies fail none.
#[tokio::test(start_paused = true)]
async fn a_thousand_panics_fail_the_calls_whose_provider_panicked_and_no_other() {
    let storm = Storm::new(1, 0.1);
    let (mut client, mut failed, mut calls) = (client(&storm), 0, 0_u64);
    while storm.left.load(Ordering::Relaxed) > 0 {
        // One after the other: nothing is embedded before there is something to be like.
        for _ in 0..5 {
            let asked = (calls..calls + 10).map(|number| ask(&client, number));
            failed += join_all(asked).await.into_iter().filter(|answered| !answered).count() as u64;
            calls += 10;
        }
        holds_nothing(&client);
        // An observer is not asked again once it has panicked: another client has another one.
        client = self::client(&storm);
    }
    let [provider, embedder, observer, strategy] =
        [Whose::Provider, Whose::Embedder, Whose::Observer, Whose::Strategy]
            .map(|whose| storm.seen(whose));
    assert_eq!(provider + embedder + observer + strategy, PANICS);
    assert_eq!(failed, provider, "of {calls} calls");
    for (seen, whose) in [(provider, "provider"), (embedder, "embedder"), (observer, "observer")] {
        assert!(seen > 20, "{seen} panics of the {whose}");
    }
    assert!(strategy > 20, "{strategy} panics of the strategy");
}

/// Whether it was answered; another failure than a panic is none of these.
async fn ask(client: &LlmClient, number: u64) -> bool {
    let question = format!("question {number}");
    let answer = if number.is_multiple_of(2) {
        client.complete(&*question).await
    } else {
        match client.stream(&*question).await {
            Ok(stream) => stream.into_completion().await,
            Err(error) => Err(error),
        }
    };
    match answer {
        Ok(done) => {
            assert_eq!(done.text(), question);
            true
        }
        Err(error) => {
            let kind = error.provider_error().map(ProviderError::kind);
            assert_eq!(kind, Some(ErrorKind::Panicked), "{error}");
            false
        }
    }
}

fn holds_nothing(client: &LlmClient) {
    assert_eq!(client.running(), 0);
    let queue = client.queue().unwrap().stats();
    assert_eq!((queue.depth, queue.running), (0, 0));
    for status in client.balancer().status(now()) {
        assert_eq!(status.in_flight, 0);
    }
}

/// One place, whose keeper has bugs.
struct StruckGate {
    storm: Arc<Storm>,
    place: Arc<tokio::sync::Semaphore>,
}

impl Gate for StruckGate {
    type Demand = ();
    type Pass = tokio::sync::OwnedSemaphorePermit;
    type Never = ();

    fn try_pass(&self, (): &(), _now: Instant) -> Passage<Self::Pass, ()> {
        self.storm.strikes(Whose::Strategy);
        match Arc::clone(&self.place).try_acquire_owned() {
            Ok(place) => Passage::Pass(place),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

/// The call that a gate panics for panics; the others pass, and none waits for it.
#[tokio::test(start_paused = true)]
async fn a_thousand_panics_of_a_gate_harm_the_calls_it_was_asked_for_and_no_other() {
    let storm = Storm::new(2, 0.1);
    let place = Arc::new(tokio::sync::Semaphore::new(1));
    let gate = Arc::new(StruckGate { storm: Arc::clone(&storm), place: Arc::clone(&place) });
    let queue = RequestQueue::builder().max_wait(seconds(600)).build().unwrap();
    let mut panicked = 0;
    while storm.left.load(Ordering::Relaxed) > 0 {
        let pass = async || {
            let line = Place::new(after(now(), seconds(600)));
            let (slot, permit) = queue.acquire(&gate, (), line).await.expect("there is time");
            sleep_until(after(now(), seconds(1))).await;
            drop((permit, slot));
        };
        let calls = (0..50).map(|_| std::panic::AssertUnwindSafe(pass()).catch_unwind());
        panicked += join_all(calls).await.into_iter().filter(Result::is_err).count() as u64;
        let stats = queue.stats();
        assert_eq!((stats.depth, stats.running, place.available_permits()), (0, 0, 1));
    }
    assert_eq!(panicked, PANICS);
}
