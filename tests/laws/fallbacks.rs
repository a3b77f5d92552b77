//! Another model where a call cannot be served with its own.

use evenkeel::client::{Fallback, FallbackOn, LlmClientBuilder, RetryPolicy};
use evenkeel::report::{Phase, Trail};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{Call, ChatRequest, Endpoint, Error, ErrorKind, LlmClient, ProviderError, time};

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds, tried};

const REASONS: [FallbackOn; 3] =
    [FallbackOn::ContextLength, FallbackOn::ContentFilter, FallbackOn::Unavailable];

/// A client whose providers each serve the model of their own name, and no other.
fn one_model_each<const N: usize>(providers: [&ScriptedProvider; N]) -> LlmClientBuilder {
    let builder = LlmClient::builder().seed(1).retry(RetryPolicy::new().budget(1.0, 100.0));
    providers.into_iter().fold(builder, |builder, provider| {
        let model = evenkeel::Provider::id(provider).to_owned();
        builder.endpoint(Endpoint::new(provider.clone()).model(model))
    })
}

fn ask(model: &str) -> Call {
    ChatRequest::new(model).user("q").into()
}

fn answers(id: &str) -> ScriptedProvider {
    always(id, Answer::text(id))
}

fn fails(id: &str, kind: ErrorKind) -> ScriptedProvider {
    always(id, Answer::error(kind))
}

fn models(trail: &Trail) -> Vec<Option<&str>> {
    trail.iter().map(|attempt| attempt.fallback.as_deref()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_the_model_cannot_serve_is_served_by_its_fallback() {
    for (kind, why) in [
        (ErrorKind::ContextLength, "context_length"),
        (ErrorKind::ContentFilter, "content_filter"),
        (ErrorKind::Server, "unavailable"),
        (ErrorKind::RateLimited, "unavailable"),
        (ErrorKind::Auth, "unavailable"),
        (ErrorKind::ModelNotFound, "unavailable"),
        (ErrorKind::Unsupported, "unavailable"),
    ] {
        let (a, b) = (fails("a", kind), answers("b"));
        let notebook = Notebook::default();
        let client = one_model_each([&a, &b])
            .fallback(Fallback::new("a").to("b"))
            .observer(notebook.clone())
            .build()
            .unwrap();
        let report = client.complete(ask("a")).await.unwrap().report;
        assert_eq!(report.fell_back_to.as_deref(), Some("b"), "{kind}");
        assert_eq!(report.attempts.last().unwrap().fallback.as_deref(), Some("b"));
        assert_eq!(report.attempts.iter().next().unwrap().error, Some(kind), "the trail spans all");
        let told = format!(r#"Fallback {{ call: 1, from: "a", to: "b", why: "{why}" }}"#);
        assert!(notebook.lines().contains(&told), "{told}");
        assert_nothing_is_held(&client, [&a, &b]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_free_endpoint_is_left_at_once() {
    let (a, b) = (always("a", Answer::rate_limited(seconds(60))), answers("b"));
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    client.complete(ask("a")).await.unwrap();
    let report = client.complete(ask("a")).await.unwrap().report;
    assert_eq!(tried(&report.attempts), ["b"]);
    assert_eq!((report.queued, a.counts().started), (seconds(0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_the_models_endpoints_cannot_take_goes_to_one_that_can() {
    use evenkeel::{Capabilities, Tool};
    let a = answers("a").with_capabilities(Capabilities::text_only());
    let b = answers("b");
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    let request = ChatRequest::new("a").user("q").tool(Tool::new("t", serde_json::json!({})));
    assert_eq!(client.complete(request).await.unwrap().text(), "b");
}

#[tokio::test(start_paused = true)]
async fn without_a_chain_for_its_model_a_call_stays_with_it() {
    let (a, b) = (fails("a", ErrorKind::ContextLength), answers("b"));
    let client = one_model_each([&a, &b]).fallback(Fallback::new("b").to("a")).build().unwrap();
    let error = client.complete(ask("a")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(b.counts().started, 0);

    let report = client.complete(ask("b")).await.unwrap().report;
    assert_eq!(report.fell_back_to, None);
    assert_eq!(models(&report.attempts), [None]);
}

#[tokio::test(start_paused = true)]
async fn each_reason_can_be_chosen_alone() {
    for chosen in REASONS {
        for (kind, reason) in [
            (ErrorKind::ContextLength, FallbackOn::ContextLength),
            (ErrorKind::ContentFilter, FallbackOn::ContentFilter),
            (ErrorKind::Server, FallbackOn::Unavailable),
        ] {
            let (a, b) = (fails("a", kind), answers("b"));
            let chain = Fallback::new("a").to("b").on(chosen);
            let client = one_model_each([&a, &b]).fallback(chain).build().unwrap();
            let done = client.complete(ask("a")).await;
            assert_eq!(done.is_ok(), chosen == reason, "{kind} with {chosen:?} alone");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reasons_add_up() {
    let a = ScriptedProvider::new("a")
        .then(Answer::error(ErrorKind::ContextLength))
        .then(Answer::error(ErrorKind::ContentFilter))
        .forever(Answer::error(ErrorKind::Server));
    let b = answers("b");
    let chain =
        Fallback::new("a").to("b").on(FallbackOn::ContextLength).on(FallbackOn::ContentFilter);
    let client = one_model_each([&a, &b]).fallback(chain).build().unwrap();
    assert!(client.complete(ask("a")).await.is_ok());
    assert!(client.complete(ask("a")).await.is_ok());
    let error = client.complete(ask("a")).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_at_fault_falls_back_nowhere() {
    let (a, b) = (fails("a", ErrorKind::InvalidRequest), answers("b"));
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    let error = client.complete(ask("a")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(b.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn the_chain_is_followed_in_order_and_to_its_end_once() {
    let providers = ["a", "b", "c"].map(|id| fails(id, ErrorKind::ContextLength));
    let [a, b, c] = &providers;
    let chain = Fallback::new("a").to("c").to("b");
    let client = one_model_each([a, b, c]).fallback(chain).build().unwrap();
    let error = client.complete(ask("a")).await.unwrap_err();
    let Error::Refused { endpoint, trail, .. } = &error else { panic!("{error}") };
    assert_eq!((endpoint.as_str(), tried(trail)), ("b", ["a", "c", "b"].map(str::to_owned).into()));
    assert_eq!(models(trail), [None, Some("c"), Some("b")]);

    b.become_forever(Answer::text("b"));
    let report = client.complete(ask("a")).await.unwrap().report;
    assert_eq!(report.fell_back_to.as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_fallbacks_own_chain_is_not_followed() {
    let (a, b, c) =
        (fails("a", ErrorKind::ContextLength), fails("b", ErrorKind::ContextLength), answers("c"));
    let client = one_model_each([&a, &b, &c])
        .fallback(Fallback::new("a").to("b"))
        .fallback(Fallback::new("b").to("a").to("c"))
        .build()
        .unwrap();
    assert!(client.complete(ask("a")).await.is_err());
    assert_eq!(c.counts().started, 0);
    assert_eq!(client.complete(ask("b")).await.unwrap().text(), "c");
}

#[tokio::test(start_paused = true)]
async fn each_model_has_all_its_attempts_and_the_numbers_go_on() {
    let a = fails("a", ErrorKind::Server);
    let b = ScriptedProvider::new("b")
        .repeat(2, Answer::error(ErrorKind::Server))
        .forever(Answer::text("b"));
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    let report = client.complete(ask("a").max_attempts(3)).await.unwrap().report;
    assert_eq!(tried(&report.attempts), ["a", "a", "a", "b", "b", "b"]);
    let numbers: Vec<_> = b.recorded().iter().map(|attempt| attempt.context.attempt).collect();
    assert_eq!(numbers, [4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn falling_back_costs_no_retry_budget() {
    let (a, b) = (fails("a", ErrorKind::Server), answers("b"));
    let client = one_model_each([&a, &b])
        .retry(RetryPolicy::new().budget(0.0, 0.0))
        .fallback(Fallback::new("a").to("b"))
        .build()
        .unwrap();
    let report = client.complete(ask("a")).await.unwrap().report;
    assert_eq!(tried(&report.attempts), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refused_one_model_is_asked_for_the_other_by_its_name() {
    let mapped = ScriptedProvider::new("mapped")
        .then(Answer::error(ErrorKind::ContextLength))
        .forever(Answer::text("hi"));
    let client = LlmClient::builder()
        .endpoint(
            Endpoint::new(mapped.clone()).map_model("short", "up-1").map_model("long", "up-2"),
        )
        .fallback(Fallback::new("short").to("long"))
        .build()
        .unwrap();
    client.complete(ask("short")).await.unwrap();
    let asked_for = |provider: &ScriptedProvider| -> Vec<_> {
        let recorded = provider.recorded().into_iter();
        recorded
            .map(|attempt| attempt.context.model(&attempt.request).unwrap().to_owned())
            .collect()
    };
    assert_eq!(asked_for(&mapped), ["up-1", "up-2"]);

    let any = ScriptedProvider::new("any")
        .then(Answer::error(ErrorKind::ContextLength))
        .forever(Answer::text("hi"));
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(any.clone()))
        .fallback(Fallback::new("short").to("long"))
        .build()
        .unwrap();
    client.complete(ask("short")).await.unwrap();
    assert_eq!(asked_for(&any), ["short", "long"]);
}

#[tokio::test(start_paused = true)]
async fn one_deadline_bounds_the_whole_chain() {
    let a = always("a", Answer::error(ErrorKind::ContextLength).delay(seconds(3)));
    let b = always("b", Answer::hang());
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    let start = time::now();
    let error = client.complete(ask("a").deadline_in(seconds(5))).await.unwrap_err();
    assert_eq!(time::now() - start, seconds(5));
    assert!(matches!(error, Error::Deadline { phase: Phase::FirstContent, .. }), "{error}");
    assert_eq!(tried(error.trail()), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_falls_back_before_content_only() {
    let filtered = || ProviderError::new(ErrorKind::ContentFilter, "in band");
    let a = ScriptedProvider::new("a")
        .then(Answer::text("one two").fail_after(0, filtered()))
        .forever(Answer::text("one two").fail_after(1, filtered()));
    let b = answers("b");
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    let done = client.stream(ask("a")).await.unwrap().into_completion().await.unwrap();
    assert_eq!((done.text(), done.report.fell_back_to.as_deref()), ("b".into(), Some("b")));

    let error = client.stream(ask("a")).await.unwrap().into_completion().await.unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
    assert_eq!((error.partial().unwrap().text(), b.counts().started), ("one ".into(), 1));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_chain_names_its_last_model_and_the_last_failure() {
    let a = fails("a", ErrorKind::Server);
    let b = ScriptedProvider::new("b").forever(Answer::rate_limited(seconds(60)));
    let client = one_model_each([&a, &b]).fallback(Fallback::new("a").to("b")).build().unwrap();
    assert!(client.complete(ask("b")).await.is_err());
    let error = client.complete(ask("a").max_attempts(1)).await.unwrap_err();
    let Error::Unavailable(unavailable) = &error else { panic!("{error}") };
    assert_eq!(unavailable.model.as_deref(), Some("b"));
    assert_eq!(unavailable.last.as_ref().map(ProviderError::kind), Some(ErrorKind::Server));
    assert_eq!(tried(error.trail()), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_that_falls_back_at_every_poll_leaves_nothing() {
    let a = always("a", Answer::error(ErrorKind::ContextLength).delay(seconds(1)));
    let b = always("b", Answer::text("one two").delay(seconds(1)).pace(seconds(1)));
    let notebook = Notebook::default();
    let client = one_model_each([&a, &b])
        .fallback(Fallback::new("a").to("b"))
        .observer(notebook.clone())
        .build()
        .unwrap();
    let done = drop_at_every_poll(
        || client.complete(ask("a")),
        |_| assert_nothing_is_held(&client, [&a, &b]),
    )
    .await;
    assert_eq!(done.unwrap().text(), "one two");
    assert!(notebook.count("Fallback") > 2);
    assert_eq!(notebook.count("AttemptStarted"), notebook.count("AttemptEnded"));
}

#[test]
fn a_chain_that_cannot_be_followed_is_refused_with_the_name_of_the_field() {
    let fails = |chains: &[Fallback]| {
        let (a, b) = (answers("a"), answers("b"));
        let builder = chains
            .iter()
            .fold(one_model_each([&a, &b]), |builder, chain| builder.fallback(chain.clone()));
        builder.build().unwrap_err().field().to_owned()
    };
    let chain = Fallback::new;
    assert_eq!(fails(&[chain("a").to("b").to("a")]), "fallbacks[0].to[1]");
    assert_eq!(fails(&[chain("a").to("a")]), "fallbacks[0].to[0]");
    assert_eq!(fails(&[chain("a").to("b").to("b")]), "fallbacks[0].to[1]");
    assert_eq!(fails(&[chain("a")]), "fallbacks[0].to");
    assert_eq!(fails(&[chain("a").to("b"), chain("x").to("b")]), "fallbacks[1].model");
    assert_eq!(fails(&[chain("a").to("b").to("x")]), "fallbacks[0].to[1]");
    assert_eq!(fails(&[chain("a").to("b"), chain("a").to("b")]), "fallbacks[1].model");
}
