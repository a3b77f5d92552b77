//! A client with everything in it, and the books that must balance whenever nobody calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::cache::LexicalEmbedder;
use evenkeel::client::{HedgePolicy, LlmClientBuilder, RetryPolicy};
use evenkeel::quota::{Budget, Dimension, Period};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    Call, ChatRequest, Endpoint, ErrorKind, Event, Limits, LlmClient, Observer, QuotaLimiter,
    RequestQueue, SemanticCache, TenantId, Timeouts,
};

use crate::SECOND;

/// Input tokens of every request, as the providers count them.
const INPUT: u64 = 100;

pub(crate) const WORDS: &str = "one two three four";

/// What the answer comes to at the most, counted or estimated.
const OUTPUT: u64 = 5;

/// One endpoint that fails after a second, and one that takes its time and has one place.
pub(crate) struct House {
    pub(crate) client: LlmClient,
    failing: ScriptedProvider,
    slow: ScriptedProvider,
    told: Arc<Told>,
}

/// What the client says of itself.
#[derive(Default)]
struct Told {
    calls: [AtomicU64; 2],
    attempts: [AtomicU64; 2],
    charged: AtomicU64,
}

struct Listener(Arc<Told>);

impl Observer for Listener {
    fn on_event(&self, event: &Event<'_>) {
        let (counter, by) = match event {
            Event::CallStarted { .. } => (&self.0.calls[0], 1),
            Event::CallEnded { .. } => (&self.0.calls[1], 1),
            Event::AttemptStarted { .. } => (&self.0.attempts[0], 1),
            Event::AttemptEnded { .. } => (&self.0.attempts[1], 1),
            Event::QuotaSettled { charged, .. } => (&self.0.charged, *charged),
            _ => return,
        };
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn hedging() -> Self {
        Self::with(|builder| builder.hedge(HedgePolicy::after(Duration::from_millis(300))))
    }

    pub(crate) fn with(more: impl FnOnce(LlmClientBuilder) -> LlmClientBuilder) -> Self {
        let provider = |id, answer| ScriptedProvider::new(id).input_tokens(INPUT).forever(answer);
        let failing = provider("failing", Answer::error(ErrorKind::Server).delay(SECOND));
        let slow = provider("slow", Answer::text(WORDS).delay(SECOND).pace(SECOND));
        let told = Arc::<Told>::default();
        let ledger = Budget::new(Dimension::Tokens, u64::MAX, Period::Month);
        let limits = Limits::new().budget(ledger).concurrency(4);
        let one = EndpointLimits::new().concurrency(1);
        let builder = LlmClient::builder()
            .endpoint(Endpoint::new(failing.clone()))
            .endpoint(Endpoint::new(slow.clone()).limits(one))
            .retry(RetryPolicy::new().budget(1.0, 100.0))
            .timeouts(Timeouts::new().total(600 * SECOND))
            .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
            .queue(RequestQueue::builder().build().unwrap())
            .cache(SemanticCache::builder().embedder(LexicalEmbedder::new()).build().unwrap())
            .observer(Listener(Arc::clone(&told)))
            .seed(1);
        Self { client: more(builder).build().unwrap(), failing, slow, told }
    }

    /// Nothing is held and nobody works; each call and each attempt that began has ended; and the
    /// account says what attempts used: the input of each that was not refused, and no more output
    /// than there was.
    #[track_caller]
    pub(crate) fn balances(&self, polls: usize) {
        self.holds_nothing(polls);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for [began, ended] in [&self.told.calls, &self.told.attempts] {
            assert_eq!(read(began), read(ended), "after {polls} polls");
        }
        let (failing, slow) = (self.failing.counts(), self.slow.counts());
        let paid = slow.started + failing.cancelled;
        let charged = self.usage().map_or(0, |usage| usage.budgets[0].1);
        let used = INPUT * paid..=INPUT * paid + OUTPUT * slow.started;
        assert!(used.contains(&charged), "{charged}, not {used:?} after {polls} polls");
        assert_eq!(charged, read(&self.told.charged), "after {polls} polls");
    }

    #[track_caller]
    fn holds_nothing(&self, polls: usize) {
        assert_eq!(self.client.running(), 0, "a place after {polls} polls");
        let queue = self.client.queue().unwrap().stats();
        assert_eq!((queue.depth, queue.running), (0, 0), "a slot after {polls} polls");
        for status in self.client.balancer().status(evenkeel::time::now()) {
            assert_eq!(status.in_flight, 0, "a lease on {} after {polls} polls", status.id);
        }
        for provider in [&self.failing, &self.slow] {
            assert_eq!(provider.counts().open, 0, "a body after {polls} polls");
        }
        let running = self.usage().map_or(0, |usage| usage.running);
        assert_eq!(running, 0, "a tenant's place after {polls} polls");
    }

    fn usage(&self) -> Option<evenkeel::quota::TenantUsage> {
        self.client.quota().unwrap().usage(&TenantId::new("acme"))
    }
}

pub(crate) fn ask(question: &str) -> Call {
    ChatRequest::new("m").user(question).max_output_tokens(OUTPUT).tenant("acme")
}
