//! The spans of calls and attempts, as a subscriber sees them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::observe::{names, tracing::Spans};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, Price, Provider,
    ProviderError, Usage, async_trait,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// What became of one span.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// How many began before it.
    at: usize,
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    events: Vec<String>,
    closed: bool,
}

impl Seen {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// A layer that remembers every span.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<u64, Seen>>>);

impl Recorder {
    /// Records until the guard is dropped.
    fn start() -> (Self, DefaultGuard) {
        let recorder = Self::default();
        let guard = set_default(Registry::default().with(recorder.clone()));
        (recorder, guard)
    }

    /// Those of that name, in the order they began.
    fn named(&self, name: &str) -> Vec<(u64, Seen)> {
        let all = self.0.lock();
        let named = all.iter().filter(|(_, it)| it.name == name);
        let mut named: Vec<_> = named.map(|(id, it)| (*id, it.clone())).collect();
        named.sort_by_key(|(_, it)| it.at);
        named
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().values().cloned().collect()
    }
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let parent = cx.span(id).and_then(|span| span.parent().map(|it| it.id().into_u64()));
        let mut seen = Seen { name: attributes.metadata().name(), parent, ..Seen::default() };
        attributes.record(&mut Fields(&mut seen.fields));
        let mut all = self.0.lock();
        seen.at = all.len();
        assert!(all.insert(id.into_u64(), seen).is_none(), "an id is used once");
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(seen) = self.0.lock().get_mut(&id.into_u64()) {
            values.record(&mut Fields(&mut seen.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.event_span(event) else { return };
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        if let Some(seen) = self.0.lock().get_mut(&span.id().into_u64()) {
            seen.events.push(format!("{fields:?}"));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(seen) = self.0.lock().get_mut(&id.into_u64()) {
            seen.closed = true;
        }
    }
}

fn endpoint(provider: ScriptedProvider) -> Endpoint {
    Endpoint::new(provider).map_model("smart", "vendor-smart-2").price(Price::new(2, 10))
}

fn client(providers: [ScriptedProvider; 2], spans: &Spans) -> LlmClient {
    let builder = LlmClient::builder().seed(1).observer(spans.clone());
    providers.into_iter().map(endpoint).fold(builder, |it, end| it.endpoint(end)).build().unwrap()
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn answer() -> Answer {
    let response = ChatResponse::text_only("one two three")
        .with_model("vendor-smart-2-0613")
        .with_usage(Usage::counted(100, 20).with_cached_input(40));
    Answer::response(response)
}

#[tokio::test(start_paused = true)]
async fn a_call_has_a_span_and_each_of_its_attempts_one_below_it() {
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::new();
    let failing = ScriptedProvider::new("eu").forever(Answer::error(ErrorKind::Server));
    let good = ScriptedProvider::new("us").forever(answer().delay(seconds(2)));
    let client = client([failing, good], &spans);
    let request = ChatRequest::new("smart").user("q").max_output_tokens(64).temperature(0.5);
    client.complete(request).await.unwrap();

    let calls = recorder.named(names::CALL_SPAN);
    let [(id, call)] = &calls[..] else { panic!("{calls:?}") };
    for (name, value) in [
        (names::OTEL_NAME, "chat smart"),
        (names::OTEL_KIND, "client"),
        (names::OTEL_STATUS, "OK"),
        (names::OPERATION_NAME, "chat"),
        (names::PROVIDER_NAME, "us"),
        (names::REQUEST_MODEL, "smart"),
        (names::REQUEST_STREAM, "false"),
        (names::REQUEST_MAX_TOKENS, "64"),
        (names::REQUEST_TEMPERATURE, "0.5"),
        (names::RESPONSE_MODEL, "vendor-smart-2-0613"),
        (names::USAGE_INPUT, "100"),
        (names::USAGE_OUTPUT, "20"),
        (names::USAGE_CACHE_READ, "40"),
        (names::SOURCE, "endpoint"),
        (names::ENDPOINT, "us"),
        (names::ATTEMPTS, "2"),
        (names::TTFT, "2.0"),
        (names::COST, "400"),
    ] {
        assert_eq!(call.field(name), value, "{name}");
    }
    assert!(call.closed && !call.fields.contains_key(names::ERROR_TYPE));
    assert!(call.events.iter().any(|event| event.contains("retry")), "{:?}", call.events);

    let attempts = recorder.named(names::ATTEMPT_SPAN);
    assert!(attempts.iter().all(|(_, it)| it.parent == Some(*id) && it.closed));
    let [(_, failed), (_, served)] = &attempts[..] else { panic!("{attempts:?}") };
    for (span, name, value) in [
        (failed, names::PROVIDER_NAME, "eu"),
        (failed, names::OTEL_STATUS, "ERROR"),
        (failed, names::ERROR_TYPE, "server"),
        (failed, names::HTTP_STATUS, "500"),
        (served, names::OTEL_NAME, "chat vendor-smart-2"),
        (served, names::REQUEST_MODEL, "vendor-smart-2"),
        (served, names::OTEL_STATUS, "OK"),
        (served, names::ATTEMPT, "2"),
        (served, names::RESPONSE_FIRST_CHUNK, "2.0"),
    ] {
        assert_eq!(span.field(name), value, "{name}");
    }
    assert_eq!(spans.open(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn spans_end_wherever_the_call_is_dropped() {
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::new();
    let failing =
        ScriptedProvider::new("eu").forever(Answer::error(ErrorKind::Server).delay(seconds(1)));
    let slow = ScriptedProvider::new("us").forever(answer().delay(seconds(1)).pace(seconds(1)));
    let client = client([failing, slow], &spans);
    drop_at_every_poll(
        || async {
            let mut stream = client.stream(ChatRequest::new("smart").user("q")).await.unwrap();
            while let Some(chunk) = stream.next().await {
                chunk.unwrap();
            }
        },
        |polls| assert_eq!(spans.open(), (0, 0), "after {polls} polls"),
    )
    .await;
    let all = recorder.all();
    assert!(all.len() > 6 && all.iter().all(|span| span.closed), "{all:?}");
    let cancelled = |span: &&Seen| span.field(names::OUTCOME) == "cancelled";
    assert!(all.iter().filter(cancelled).count() > 1, "some were dropped while they ran");
    assert!(all.iter().filter(cancelled).all(|span| span.field(names::OTEL_STATUS).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn no_span_shows_a_prompt_an_answer_or_a_tenant() {
    const CANARY: &str = "canary-7f3a";
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::new();
    let echo = ProviderError::new(ErrorKind::Server, format!("you sent {CANARY}"));
    let failing = ScriptedProvider::new("eu").forever(Answer::fail(echo));
    let good = ScriptedProvider::new("us").forever(Answer::text(format!("answer {CANARY}")));
    let client = client([failing, good], &spans);
    let call = ChatRequest::new("smart").user(CANARY).tenant(CANARY).session(CANARY);
    client.complete(call.tag(CANARY)).await.unwrap();
    let seen = format!("{:?}", recorder.all());
    assert!(seen.contains("us") && !seen.contains(CANARY), "{seen}");
}

/// A provider that opens a span of its own where the attempt's is known.
struct Traced(Spans);

#[async_trait]
impl Provider for Traced {
    fn id(&self) -> &str {
        "traced"
    }

    async fn complete(
        &self,
        _: &ChatRequest,
        cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let attempt = self.0.attempt(cx.call, cx.attempt).unwrap();
        tracing::info_span!(parent: &attempt, "wire");
        Ok(ChatResponse::text_only("hi"))
    }
}

#[tokio::test]
async fn an_attempts_span_is_there_for_its_provider_and_a_calls_below_the_applications() {
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::new();
    let endpoint = Endpoint::new(Traced(spans.clone()));
    let client = LlmClient::builder().endpoint(endpoint).observer(spans).build().unwrap();
    let own = tracing::info_span!("application");
    let asked = own.in_scope(|| Box::pin(client.complete("q")));
    tracing::Instrument::instrument(asked, own).await.unwrap();

    let parent_of = |name: &str| recorder.named(name).pop().unwrap().1.parent;
    let id_of = |name: &str| recorder.named(name).pop().map(|(id, _)| id);
    assert_eq!(parent_of(names::CALL_SPAN), id_of("application"));
    assert_eq!(parent_of(names::ATTEMPT_SPAN), id_of(names::CALL_SPAN));
    assert_eq!(parent_of("wire"), id_of(names::ATTEMPT_SPAN));
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_have_no_span() {
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::with_most_calls(1);
    let slow = |id| ScriptedProvider::new(id).forever(answer().delay(seconds(1)));
    let client = client([slow("eu"), slow("us")], &spans);
    let ask = || client.complete(ChatRequest::new("smart").user("q"));
    let (a, b) = futures::future::join(ask(), ask()).await;
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(recorder.named(names::CALL_SPAN).len(), 1);
    assert_eq!(recorder.named(names::ATTEMPT_SPAN).len(), 1);
}
