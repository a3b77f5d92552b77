//! Services around a client, and services as providers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::interop::tower::{CallFuture, ServiceProvider, StreamingService};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    Call, CallContext, Capabilities, ChatRequest, ChatResponse, Completion, Endpoint, Error,
    ErrorKind, LlmClient, Provider, ProviderError, time,
};
use futures::future::join;
use futures::{FutureExt as _, StreamExt as _};
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn client(provider: &ScriptedProvider) -> LlmClient {
    LlmClient::builder().endpoint(Endpoint::new(provider.clone())).build().unwrap()
}

fn cx() -> CallContext {
    CallContext::new(time::now() + 60 * SECOND)
}

fn provider<S>(service: S) -> ServiceProvider<S> {
    ServiceProvider::new("stack", service)
        .classify(|error| error.is::<Elapsed>().then_some(ErrorKind::Timeout))
}

/// A service that answers each request with the model it was asked for.
fn echo() -> impl Service<ChatRequest, Response = ChatResponse, Error = ProviderError, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(|request: ChatRequest| async move {
        Ok(ChatResponse::text_only(request.model.unwrap_or_default()))
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_answers_as_a_service() {
    let backend = ScriptedProvider::new("a").then(Answer::text("yes"));
    let mut service = client(&backend);
    let call: CallFuture<Completion> = service.ready().await.unwrap().call(Call::from("q"));
    assert_eq!(call.await.unwrap().text(), "yes");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_service_gives_the_stream_at_its_first_content() {
    let backend = ScriptedProvider::new("a").then(Answer::text("one two").pace(SECOND));
    let start = time::now();
    let service = StreamingService::new(client(&backend));
    let stream = service.oneshot(Call::from("q")).await.unwrap();
    let first = time::now() - start;
    assert_eq!(stream.into_completion().await.unwrap().text(), "one two");
    assert!(first < time::now() - start, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_client_is_ready_however_busy_and_a_closed_one_says_that_it_is_closed() {
    let backend = ScriptedProvider::new("a").forever(Answer::hang());
    let mut service = client(&backend);
    let mut busy = service.ready().await.unwrap().call(Call::from("q"));
    assert!((&mut busy).now_or_never().is_none());
    assert_eq!(service.running(), 1);
    assert!(service.ready().await.is_ok());

    let drained = service.drain(time::now() + SECOND);
    let (ended, drained) = join(busy, drained).await;
    assert!(matches!(ended, Err(Error::Closed { .. })));
    assert_eq!(drained.cut_off, 1);
    assert!(matches!(service.ready().await, Err(Error::Closed { .. })));
    let mut streaming = StreamingService::new(service);
    assert!(matches!(streaming.ready().await, Err(Error::Closed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_cancels_the_call_upstream() {
    let backend = ScriptedProvider::new("a").forever(Answer::hang());
    let client = client(&backend);
    let mut service = ServiceBuilder::new().timeout(SECOND).service(client.clone());
    let error = service.ready().await.unwrap().call(Call::from("q")).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    assert_eq!((backend.counts().started, backend.counts().open), (1, 0));
    assert_eq!(client.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_future_at_any_poll_leaves_nothing_behind() {
    let answer = Answer::text("one two three").delay(SECOND).pace(SECOND);
    let backend = ScriptedProvider::new("a").forever(answer);
    let client = client(&backend);
    let call = || client.clone().oneshot(Call::from("q"));
    let done = drop_at_every_poll(call, |polls| {
        assert_eq!((backend.counts().open, client.running()), (0, 0), "after {polls} polls");
    });
    assert_eq!(done.await.unwrap().text(), "one two three");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_leaves_nothing_behind() {
    let backend = ScriptedProvider::new("a").then(Answer::text("one two three").pace(SECOND));
    let client = client(&backend);
    let mut stream = StreamingService::new(client.clone()).oneshot(Call::from("q")).await.unwrap();
    assert!(stream.next().await.is_some());
    assert_eq!((backend.counts().open, client.running()), (1, 1));
    drop(stream);
    assert_eq!((backend.counts().open, client.running()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_around_a_client_holds() {
    let backend = ScriptedProvider::new("a").forever(Answer::text("yes").delay(SECOND));
    let service = ServiceBuilder::new().concurrency_limit(2).service(client(&backend));
    let start = time::now();
    let calls = (0..6).map(|_| service.clone().oneshot(Call::from("q")));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(time::now() - start, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_asked_for_the_backends_own_model() {
    let endpoint = Endpoint::new(provider(echo())).map_model("smart", "vendor-large-2");
    let client = LlmClient::builder().endpoint(endpoint).build().unwrap();
    let done = client.complete(ChatRequest::new("smart").user("q")).await.unwrap();
    assert_eq!(done.text(), "vendor-large-2");
}

#[tokio::test(start_paused = true)]
async fn the_providers_own_error_stands_through_layers() {
    let sdk = service_fn(|_: ChatRequest| async {
        let slow = ProviderError::new(ErrorKind::RateLimited, "slow down");
        Err::<ChatResponse, _>(slow.with_retry_after(7 * SECOND))
    });
    let stack = ServiceBuilder::new().timeout(SECOND).concurrency_limit(4).service(sdk);
    let error = provider(stack).complete(&"q".into(), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(7 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_layers_error_is_what_it_was_said_to_be_and_a_servers_otherwise() {
    let hang = service_fn(|_: ChatRequest| std::future::pending::<Result<_, ProviderError>>());
    let stack = ServiceBuilder::new().timeout(SECOND).service(hang);
    let error = provider(stack).complete(&"q".into(), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(std::error::Error::source(&error).is_some());

    let odd = service_fn(|_: ChatRequest| async { Err::<ChatResponse, BoxError>("odd".into()) });
    let error = provider(odd).complete(&"q".into(), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for() {
    let slow = service_fn(|_: ChatRequest| async {
        time::sleep_until(time::now() + SECOND).await;
        Ok::<_, ProviderError>(ChatResponse::text_only("yes"))
    });
    let stack = provider(ServiceBuilder::new().concurrency_limit(1).service(slow));
    let (request, cx, start) = ("q".into(), cx(), time::now());
    let both = join(stack.complete(&request, &cx), stack.complete(&request, &cx)).await;
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(time::now() - start, 2 * SECOND);
}

/// A service that refuses to get ready, and counts how often it was called all the same.
#[derive(Clone)]
struct NeverReady(Arc<AtomicU32>);

impl Service<ChatRequest> for NeverReady {
    type Response = ChatResponse;
    type Error = ProviderError;
    type Future = std::future::Ready<Result<ChatResponse, ProviderError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ProviderError>> {
        Poll::Ready(Err(ProviderError::new(ErrorKind::Overloaded, "full")))
    }

    fn call(&mut self, _request: ChatRequest) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(ChatResponse::text_only("never")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_get_ready_is_not_called() {
    let calls = Arc::default();
    let stack = provider(NeverReady(Arc::clone(&calls)));
    let error = stack.complete(&"q".into(), &cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_service_is_never_said_to_stream() {
    let stack = ServiceProvider::new("s", echo()).with_capabilities(Capabilities::all());
    assert_eq!(stack.capabilities(), Capabilities::all().streaming(false));
}
