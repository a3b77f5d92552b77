//! What is retried, where, and what is not.

use std::time::Duration;

use evenkeel::client::RetryPolicy;
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Call, Error, ErrorKind, ProviderError, time};

use crate::doubles::{
    Notebook, always, assert_nothing_is_held, builder_over, client_over, seconds, tried,
};

#[tokio::test(start_paused = true)]
async fn a_fault_is_retried_on_endpoints_that_were_not_tried() {
    let first = always("first", Answer::error(ErrorKind::Server));
    let second = always("second", Answer::error(ErrorKind::Transport));
    let third = always("third", Answer::text("hi"));
    let done = client_over([&first, &second, &third]).complete("q").await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["first", "second", "third"]);
    let kinds: Vec<_> = done.report.attempts.iter().map(|attempt| attempt.error).collect();
    assert_eq!(kinds, [Some(ErrorKind::Server), Some(ErrorKind::Transport), None]);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_its_number_and_one_idempotency_key() {
    let failing = always("failing", Answer::error(ErrorKind::Server));
    let client = client_over([&failing]);
    let _ = client.complete(Call::from("q").idempotency_key("k1")).await;
    let recorded = failing.recorded();
    let seen: Vec<_> = recorded
        .iter()
        .map(|attempt| (attempt.context.attempt, attempt.context.idempotency_key.as_deref()))
        .collect();
    assert_eq!(seen, [(1, Some("k1")), (2, Some("k1")), (3, Some("k1"))]);
}

#[tokio::test(start_paused = true)]
async fn when_all_were_tried_the_last_one_is_not_tried_again_at_once() {
    let a = always("a", Answer::error(ErrorKind::Server));
    let b = always("b", Answer::error(ErrorKind::Server));
    let client = client_over([&a, &b]);
    let error = client.complete(Call::from("q").max_attempts(6)).await.unwrap_err();
    let Error::Exhausted { trail, .. } = &error else { panic!("{error}") };
    assert_eq!(tried(trail), ["a", "b", "a", "b", "a", "b"]);
    assert_nothing_is_held(&client, [&a, &b]);
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_is_tried_again_after_a_pause_that_has_jitter() {
    let flaky = ScriptedProvider::new("flaky")
        .repeat(2, Answer::error(ErrorKind::Server))
        .forever(Answer::text("hi"));
    let start = time::now();
    let done = client_over([&flaky]).complete("q").await.unwrap();
    assert_eq!(done.report.attempts.len(), 3);
    let waited = time::now() - start;
    assert!(waited > Duration::ZERO && waited < Duration::from_millis(750), "{waited:?}");
    assert_eq!(done.report.queued, waited);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_is_not_retried_anywhere() {
    for kind in [ErrorKind::InvalidRequest, ErrorKind::ContextLength, ErrorKind::ContentFilter] {
        let strict = always("strict", Answer::error(kind));
        let other = always("other", Answer::text("hi"));
        let error = client_over([&strict, &other]).complete("q").await.unwrap_err();
        assert!(matches!(&error, Error::Refused { error, .. } if error.kind() == kind), "{error}");
        assert_eq!(other.counts().started, 0, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_endpoint_cannot_do_another_may_and_nobody_is_asked_twice() {
    for kind in [ErrorKind::Unsupported, ErrorKind::ModelNotFound] {
        let unable = always("unable", Answer::error(kind));
        let able = always("able", Answer::text("hi"));
        let done = client_over([&unable, &able]).complete("q").await.unwrap();
        assert_eq!(tried(&done.report.attempts), ["unable", "able"]);

        let error = client_over([&unable]).complete("q").await.unwrap_err();
        assert!(matches!(&error, Error::Refused { .. }), "{error}");
        assert_eq!(error.trail().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_began_before_a_rate_limit_does_not_end_it() {
    let limited = ScriptedProvider::new("limited")
        .then(Answer::text("slow").delay(seconds(5)))
        .then(Answer::rate_limited(seconds(60)))
        .forever(Answer::text("too early"));
    let client = client_over([&limited]);
    let (slow, refused) = futures::future::join(client.complete("a"), client.complete("b")).await;
    assert_eq!(slow.unwrap().text(), "slow");
    assert!(refused.is_err());
    let error = client.complete("c").await.unwrap_err();
    assert!(error.retry_after().is_some_and(|after| after > seconds(50)), "{error}");
    assert_eq!(limited.counts().started, 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_before_it_returns_a_future_fails_only_its_attempt() {
    struct Sudden;
    impl evenkeel::Provider for Sudden {
        fn id(&self) -> &str {
            "sudden"
        }

        fn complete<'a, 'b, 'c, 'd>(
            &'a self,
            _: &'b evenkeel::ChatRequest,
            _: &'c evenkeel::CallContext,
        ) -> futures::future::BoxFuture<'d, Result<evenkeel::ChatResponse, ProviderError>>
        where
            'a: 'd,
            'b: 'd,
            'c: 'd,
        {
            panic!("before any future")
        }
    }
    let builder = evenkeel::LlmClient::builder().endpoint(evenkeel::Endpoint::new(Sudden));
    let client = builder.retry(RetryPolicy::never()).build().unwrap();
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(error.provider_error().map(ProviderError::kind), Some(ErrorKind::Panicked));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_moves_the_call_on_and_rests_the_endpoint() {
    let limited = ScriptedProvider::new("limited")
        .then(Answer::rate_limited(seconds(20)))
        .forever(Answer::text("limited"));
    let free = always("free", Answer::text("free"));
    let client =
        builder_over([&limited, &free]).retry(RetryPolicy::new().budget(0.0, 0.0)).build().unwrap();

    let done = client.complete("q").await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["limited", "free"], "moving on costs no budget");
    for _ in 0..5 {
        assert_eq!(client.complete("q").await.unwrap().text(), "free");
    }
    tokio::time::advance(seconds(22)).await;
    let texts =
        [client.complete("q").await.unwrap().text(), client.complete("q").await.unwrap().text()];
    assert!(texts.contains(&"limited".to_owned()), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn when_everything_is_rate_limited_the_error_says_when_to_come_back() {
    let a = always("a", Answer::rate_limited(seconds(30)));
    let b = always("b", Answer::rate_limited(seconds(9)));
    let client = client_over([&a, &b]);
    let error = client.complete("q").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let after = error.retry_after().unwrap();
    assert!(after >= seconds(9) && after <= seconds(10), "the first to return counts: {after:?}");
    assert_eq!(tried(error.trail()), ["a", "b"]);

    let again = client.complete("q").await.unwrap_err();
    assert!(again.trail().is_empty(), "nobody is called before the time");
    assert!(again.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_leave_the_endpoint_out_until_they_may_have_changed() {
    let revoked = ScriptedProvider::new("revoked")
        .then(Answer::error(ErrorKind::Auth))
        .forever(Answer::text("revoked"));
    let good = always("good", Answer::text("good"));
    let client = client_over([&revoked, &good]);
    for _ in 0..6 {
        assert_eq!(client.complete("q").await.unwrap().text(), "good");
    }
    assert_eq!(client.balancer().status(time::now())[0].condition.label(), "disabled");
    assert_eq!(revoked.counts().started, 1);
    tokio::time::advance(seconds(601)).await;
    client.complete("q").await.unwrap();
    client.complete("q").await.unwrap();
    assert_eq!(revoked.counts().started, 2);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_retries_of_an_outage() {
    let down = always("down", Answer::error(ErrorKind::Server));
    let notebook = Notebook::default();
    let client = builder_over([&down])
        .retry(RetryPolicy::new().budget(0.1, 1.0).delays(Duration::ZERO, Duration::ZERO))
        .observer(notebook.clone())
        .build()
        .unwrap();
    for _ in 0..200 {
        assert!(client.complete("q").await.is_err());
    }
    let attempts = down.counts().started;
    assert!(attempts <= 211, "200 calls and about ten retries, not {attempts}");
    assert!(notebook.count("RetryBudgetExhausted") > 180);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_provider_fails_only_its_own_call() {
    let panicking = ScriptedProvider::new("panicking")
        .then(Answer::panic())
        .then(Answer::text("one two").panic_after(1))
        .forever(Answer::text("fine"));
    let client = builder_over([&panicking]).retry(RetryPolicy::never()).build().unwrap();
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(error.provider_error().map(ProviderError::kind), Some(ErrorKind::Panicked));
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(error.partial().map(|partial| partial.text()), Some("one ".into()));
    assert_nothing_is_held(&client, [&panicking]);
    assert_eq!(client.complete("q").await.unwrap().text(), "fine");
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_every_attempt_and_its_own_panics_harm_nobody() {
    let revoked = always("revoked", Answer::error(ErrorKind::Auth));
    let good = always("good", Answer::text("hi"));
    let notebook = Notebook::default();
    let client = builder_over([&revoked, &good]).observer(notebook.clone()).build().unwrap();
    client.complete("secret question").await.unwrap();
    assert_eq!(notebook.count("AttemptStarted"), 2);
    assert_eq!(notebook.count("AttemptEnded"), 2);
    assert_eq!(notebook.count("Retry"), 1);
    assert_eq!(notebook.count("CallEnded"), 1);
    assert_eq!(notebook.count("EndpointState"), 1);
    assert!(!notebook.lines().concat().contains("secret"));

    struct Clumsy;
    impl evenkeel::Observer for Clumsy {
        fn on_event(&self, _: &evenkeel::Event<'_>) {
            panic!("the observer's own bug");
        }
    }
    let steady = always("steady", Answer::text("hi"));
    let client = builder_over([&steady]).observer(Clumsy).build().unwrap();
    assert_eq!(client.complete("q").await.unwrap().text(), "hi");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_well_formed_names_the_field() {
    let provider = always("p", Answer::text("hi"));
    let client = client_over([&provider]);
    let empty = client.complete(evenkeel::ChatRequest::new("m")).await.unwrap_err();
    assert!(empty.to_string().contains("request.messages"), "{empty}");
    let none = client.complete(Call::from("q").max_attempts(0)).await.unwrap_err();
    assert!(none.to_string().contains("options.max_attempts"), "{none}");
    assert_eq!(provider.counts().started, 0);
}

/// An endpoint that fails fast must not look fast, or it would draw the traffic.
#[tokio::test(start_paused = true)]
async fn a_failure_counts_as_slow_as_the_time_it_was_given() {
    let failing = always("failing", Answer::error(ErrorKind::Server));
    let limits = evenkeel::Timeouts::new().first_content(seconds(40));
    let client = builder_over([&failing]).timeouts(limits).build().unwrap();
    let _ = client.complete(Call::from("q").max_attempts(1)).await;
    let status = &client.balancer().status(time::now())[0];
    assert_eq!(status.ttft, Some(seconds(40)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cannot_be_made_is_not_paid_for() {
    let busy =
        Answer::fail(ProviderError::new(ErrorKind::Overloaded, "").with_retry_after(seconds(60)));
    let provider = ScriptedProvider::new("only")
        .repeat(10, busy)
        .then(Answer::error(ErrorKind::Server))
        .forever(Answer::text("hi"));
    let client = builder_over([&provider])
        .retry(RetryPolicy::new().budget(0.0, 1e-6).delays(Duration::ZERO, Duration::ZERO))
        .build()
        .unwrap();
    for _ in 0..10 {
        // There is no other endpoint, and this one asked to be left alone.
        let error = client.complete("q").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        tokio::time::advance(seconds(400)).await;
    }
    let done = client.complete("q").await.unwrap();
    assert_eq!(done.report.attempts.len(), 2, "the ten retries are still there");
}
