//! A stream is committed at its first content and complete at its terminal event.

use evenkeel::balance::{Balancer, HealthPolicy};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{
    Chunk, Endpoint, Error, ErrorKind, FinishReason, LlmClient, Part, ProviderError, ToolCall,
    Usage,
};
use futures::StreamExt as _;

use crate::doubles::{always, assert_nothing_is_held, client_over, seconds, tried};

fn overloaded() -> ProviderError {
    ProviderError::new(ErrorKind::Overloaded, "in band")
}

#[tokio::test(start_paused = true)]
async fn an_error_event_before_content_is_retried_elsewhere() {
    let accepting = always("accepting", Answer::text("never seen").fail_after(0, overloaded()));
    let good = always("good", Answer::text("hi"));
    let client = client_over([&accepting, &good]);
    let done = client.stream("q").await.unwrap().into_completion().await.unwrap();
    assert_eq!(done.text(), "hi");
    assert_eq!(tried(&done.report.attempts), ["accepting", "good"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_event_after_content_is_not_retried_and_carries_the_partial_answer() {
    let breaking = always("breaking", Answer::text("one two three").fail_after(2, overloaded()));
    let good = always("good", Answer::text("hi"));
    let client = client_over([&breaking, &good]);
    let mut stream = client.stream("q").await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        items.push(item);
    }
    let error = items.pop().unwrap().unwrap_err();
    assert!(items.iter().all(Result::is_ok), "the error comes last, and once");
    let Error::Interrupted(interrupted) = &error else { panic!("{error}") };
    assert_eq!(interrupted.endpoint.as_str(), "breaking");
    assert_eq!(interrupted.error.kind(), ErrorKind::Overloaded);
    assert_eq!(interrupted.partial.text(), "one two ");
    assert_eq!(good.counts().started, 0);
    assert!(stream.next().await.is_none(), "a stream that failed has ended");
    assert_nothing_is_held(&client, [&breaking, &good]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_an_error_and_never_a_success() {
    let cut = always("cut", Answer::text("one two three").cut_after(2));
    let client = client_over([&cut]);
    let error = client.complete("q").await.unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
    assert_eq!(error.partial().unwrap().text(), "one two ");
    assert_eq!(error.provider_error().unwrap().kind(), ErrorKind::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_before_content_is_retried() {
    let empty = ScriptedProvider::new("empty")
        .then(Answer::text("x").cut_after(0))
        .forever(Answer::text("hi"));
    let done = client_over([&empty]).complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.attempts.len()), ("hi".into(), 2));
}

#[tokio::test(start_paused = true)]
async fn reasoning_and_tool_calls_commit_as_text_does() {
    let delta = ToolCall::new("c1", "find", "{");
    let chunks = [Chunk::ToolCall { index: 0, delta }, Chunk::done(FinishReason::ToolCalls)];
    let calling = always("calling", Answer::chunks(chunks).fail_after(1, overloaded()));
    let other = always("other", Answer::text("hi"));
    let error = client_over([&calling, &other]).complete("q").await.unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_is_still_an_answer() {
    let usage = Chunk::Usage(Usage::counted(5, 40).with_reasoning(40));
    let chunks = [usage, Chunk::done(FinishReason::Length)];
    let client_provider = always("p", Answer::chunks(chunks));
    let client = client_over([&client_provider]);
    let done = client.complete("q").await.unwrap();
    assert_eq!(done.response.finish, FinishReason::Length);
    assert_eq!(done.response.usage.reasoning_tokens, Some(40));
    assert_eq!(done.report.ttft, None);
}

#[tokio::test(start_paused = true)]
async fn complete_and_stream_give_the_same_answer() {
    let chunks = || {
        [
            Chunk::text(0, "look"),
            Chunk::text(0, "ing"),
            Chunk::ToolCall { index: 1, delta: ToolCall::new("c", "find", "{\"q\":") },
            Chunk::ToolCall { index: 1, delta: ToolCall::new("", "", "1}") },
            Chunk::Usage(Usage::counted(3, 4)),
            Chunk::done(FinishReason::ToolCalls),
        ]
    };
    let provider = always("p", Answer::chunks(chunks()));
    let client = client_over([&provider]);
    let whole = client.complete("q").await.unwrap().response;
    let streamed = client.stream("q").await.unwrap().into_completion().await.unwrap().response;
    assert_eq!(whole, streamed);
    assert_eq!(
        whole.content,
        [Part::text("looking"), Part::ToolCall(ToolCall::new("c", "find", "{\"q\":1}"))]
    );
    let handed_out: Vec<_> = client.stream("q").await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(handed_out, chunks(), "every chunk once and in order");
}

#[tokio::test(start_paused = true)]
async fn a_faulty_stream_takes_its_endpoint_out() {
    let breaking = always("breaking", Answer::text("one two").cut_after(1));
    let good = always("good", Answer::text("hi"));
    let balancer = Balancer::builder()
        .endpoint(Endpoint::new(breaking))
        .endpoint(Endpoint::new(good))
        .health(HealthPolicy::any_recent_error());
    let client = LlmClient::builder().balancer(balancer.build().unwrap()).build().unwrap();
    let _ = client.complete("q").await;
    for _ in 0..5 {
        assert_eq!(client.complete("q").await.unwrap().text(), "hi");
    }
    tokio::time::advance(seconds(31)).await;
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        outcomes.push(client.complete("q").await.is_ok());
    }
    assert!(outcomes.contains(&false), "it is tried again after its recovery time");
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_its_bound_is_refused() {
    let mut bounds = evenkeel::chunk::ResponseBounds::default();
    bounds.bytes = 100;
    let flood = always("flood", Answer::text("word ".repeat(100)));
    let client = crate::doubles::builder_over([&flood]).response_bounds(bounds).build().unwrap();
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(error.provider_error().unwrap().kind(), ErrorKind::Malformed);
    assert!(error.partial().unwrap().text().len() <= 100);
    assert_nothing_is_held(&client, [&flood]);
}

#[tokio::test]
async fn a_stream_that_is_always_ready_does_not_outrun_its_deadline() {
    struct Endless;
    #[evenkeel::async_trait]
    impl evenkeel::Provider for Endless {
        fn id(&self) -> &str {
            "endless"
        }

        async fn complete(
            &self,
            _: &evenkeel::ChatRequest,
            _: &evenkeel::CallContext,
        ) -> Result<evenkeel::ChatResponse, ProviderError> {
            unreachable!("it streams")
        }

        async fn stream(
            &self,
            _: &evenkeel::ChatRequest,
            _: &evenkeel::CallContext,
        ) -> Result<evenkeel::ChunkStream, ProviderError> {
            let first = futures::stream::iter([Ok(Chunk::text(0, "x"))]);
            Ok(first.chain(futures::stream::repeat_with(|| Ok(Chunk::Heartbeat))).boxed())
        }

        fn capabilities(&self) -> evenkeel::Capabilities {
            evenkeel::Capabilities::all()
        }
    }
    let client = LlmClient::builder().endpoint(Endpoint::new(Endless)).build().unwrap();
    let call = evenkeel::Call::from("q").deadline_in(std::time::Duration::from_millis(20));
    let error = client.complete(call).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_does_not_look_like_a_call_that_waits_for_content() {
    use evenkeel::balance::StrategyKind;
    let chatty = ScriptedProvider::new("chatty")
        .then(Answer::text("hi").delay(seconds(1)))
        .then(Answer::text("one two").hang_after(1))
        .forever(Answer::text("hi").delay(seconds(1)));
    let other = always("other", Answer::text("hi").delay(seconds(1)));
    let balancer = Balancer::builder()
        .endpoint(Endpoint::new(chatty.clone()).weight(10))
        .endpoint(Endpoint::new(other.clone()))
        .strategy(StrategyKind::Adaptive);
    let client = LlmClient::builder().balancer(balancer.build().unwrap()).build().unwrap();
    client.complete("q").await.unwrap();
    let stream = client.stream("q").await.unwrap();
    tokio::time::advance(seconds(50)).await;
    let before = other.counts().started;
    client.complete("q").await.unwrap();
    assert_eq!(other.counts().started, before, "two calls on ten times the weight");
    drop(stream);
}
