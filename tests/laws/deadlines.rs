//! A call ends by its deadline, whatever happens.

use std::time::Duration;

use evenkeel::client::HedgePolicy;
use evenkeel::report::Phase;
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Call, Chunk, Error, ErrorKind, FinishReason, Timeouts, time};
use futures::StreamExt as _;
use proptest::prelude::*;

use crate::doubles::{always, assert_nothing_is_held, builder_over, client_over, seconds, tried};

/// One line of a script, every kind of answer and mishap among them.
fn any_answer() -> impl Strategy<Value = Answer> {
    let text = (0u64..8, 0u64..4).prop_map(|(delay, pace)| {
        Answer::text("one two three").delay(seconds(delay)).pace(seconds(pace))
    });
    let error = (0..ErrorKind::ALL.len(), 0u64..4)
        .prop_map(|(kind, delay)| Answer::error(ErrorKind::ALL[kind]).delay(seconds(delay)));
    let mishap = (0usize..3, 0u8..4).prop_map(|(after, mishap)| {
        let answer = Answer::text("one two three").pace(seconds(1));
        match mishap {
            0 => answer.hang_after(after),
            1 => answer.cut_after(after),
            2 => answer.panic_after(after),
            _ => answer.fail_after(after, evenkeel::ProviderError::new(ErrorKind::Overloaded, "")),
        }
    });
    prop_oneof![
        text,
        error,
        mishap,
        Just(Answer::hang()),
        Just(Answer::panic()),
        (0u64..40).prop_map(|after| Answer::rate_limited(seconds(after))),
    ]
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_deadline_bounds_the_whole_call_whatever_the_script_does(
        scripts in prop::collection::vec(prop::collection::vec(any_answer(), 0..4), 2..=2),
        deadline in 0u64..20,
        hedged_after in 1u64..9,
        streaming: bool,
    ) {
        let providers: Vec<ScriptedProvider> = (0..).zip(scripts)
            .map(|(id, script)| {
                let provider = ScriptedProvider::new(format!("p{id}"));
                script.into_iter().fold(provider, ScriptedProvider::then)
            })
            .collect();
        run(async {
            let providers = [&providers[0], &providers[1]];
            let policy = HedgePolicy::after(seconds(hedged_after));
            let client = builder_over(providers).hedge(policy).build().unwrap();
            let start = time::now();
            let call = Call::from("q").deadline_in(seconds(deadline)).max_attempts(6);
            if streaming {
                if let Ok(mut stream) = client.stream(call).await {
                    while stream.next().await.is_some() {}
                }
            } else {
                let _ = client.complete(call).await;
            }
            prop_assert!(time::now() - start <= seconds(deadline));
            assert_nothing_is_held(&client, providers);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_what_the_call_was_doing_and_what_had_arrived() {
    let silent = always("silent", Answer::hang());
    let error =
        client_over([&silent]).complete(Call::from("q").deadline_in(seconds(5))).await.unwrap_err();
    let Error::Deadline { phase, elapsed, partial, trail } = error else { panic!("{error}") };
    assert_eq!((phase, elapsed, partial.is_none()), (Phase::FirstContent, seconds(5), true));
    assert_eq!(tried(&trail), ["silent"]);

    let stalled = always("stalled", Answer::text("one two").hang_after(1));
    let error = client_over([&stalled])
        .complete(Call::from("q").deadline_in(seconds(5)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Deadline { phase: Phase::Streaming, .. }), "{error}");
    assert_eq!(error.partial().unwrap().text(), "one ");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_starts_no_attempt() {
    let provider = always("p", Answer::text("hi"));
    let past = time::now();
    tokio::time::advance(seconds(1)).await;
    let error =
        client_over([&provider]).complete(Call::from("q").deadline(past)).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { phase: Phase::Waiting, .. }), "{error}");
    assert_eq!(provider.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_is_left_for_another_one() {
    let silent = always("silent", Answer::hang());
    let lively = always("lively", Answer::text("hi"));
    let limits = Timeouts::new().first_content(seconds(3));
    let client = builder_over([&silent, &lively]).timeouts(limits).build().unwrap();
    let start = time::now();
    let done = client.complete("q").await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["silent", "lively"]);
    assert_eq!(time::now() - start, seconds(3));
    assert_eq!(done.report.ttft, Some(seconds(3)), "retries count for the caller");
    assert_eq!(done.report.attempts.last().unwrap().ttft, Some(Duration::ZERO));
    assert_eq!(done.report.attempts.iter().next().unwrap().error, Some(ErrorKind::Timeout));
}

#[tokio::test(start_paused = true)]
async fn promises_are_not_content() {
    let promising = always(
        "promising",
        Answer::chunks([Chunk::Heartbeat, Chunk::Heartbeat, Chunk::text(0, "x")]).hang_after(0),
    );
    let lively = always("lively", Answer::text("hi"));
    let limits = Timeouts::new().first_content(seconds(3));
    let client = builder_over([&promising, &lively]).timeouts(limits).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["promising", "lively"]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_ends_after_the_idle_time_and_a_slow_one_does_not() {
    let limits = Timeouts::new().idle(seconds(10));
    let slow = always("slow", Answer::text("a b c d e f g h").pace(seconds(9)));
    let client = builder_over([&slow]).timeouts(limits).build().unwrap();
    assert_eq!(client.complete("q").await.unwrap().text(), "a b c d e f g h");

    let stalled = always("stalled", Answer::text("a b c").pace(seconds(1)).hang_after(2));
    let client = builder_over([&stalled]).timeouts(limits).build().unwrap();
    let start = time::now();
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(time::now() - start, seconds(12), "two chunks and the idle time");
    assert_eq!(error.provider_error().unwrap().kind(), ErrorKind::Timeout);
    assert_eq!(error.partial().unwrap().text(), "a b ");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_stream_alive() {
    let beat = || (seconds(8), Chunk::Heartbeat);
    let chunks = [
        (seconds(1), Chunk::text(0, "a")),
        beat(),
        beat(),
        beat(),
        (seconds(8), Chunk::text(0, "b")),
        (seconds(0), Chunk::done(FinishReason::Stop)),
    ];
    let provider = always("p", Answer::timed_chunks(chunks));
    let limits = Timeouts::new().idle(seconds(10));
    let client = builder_over([&provider]).timeouts(limits).build().unwrap();
    assert_eq!(client.complete("q").await.unwrap().text(), "ab");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_whole_has_only_the_total_time() {
    let whole = always("whole", Answer::text("hi").delay(seconds(50))).streaming(false);
    let limits = Timeouts::new().first_content(seconds(3)).idle(seconds(3)).total(seconds(60));
    let client = builder_over([&whole]).timeouts(limits).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.report.ttft, done.report.total), (None, seconds(50)));
    let text: String = client
        .stream("q")
        .await
        .unwrap()
        .filter_map(|c| std::future::ready(c.unwrap().as_text().map(str::to_owned)))
        .collect()
        .await;
    assert_eq!(text, "hi");
}

#[tokio::test(start_paused = true)]
async fn ttft_and_total_are_reported_apart() {
    let provider = always("p", Answer::text("a b c").delay(seconds(2)).pace(seconds(1)));
    let client = client_over([&provider]);
    let report = client.complete("q").await.unwrap().report;
    assert_eq!((report.ttft, report.total), (Some(seconds(3)), seconds(5)));

    let mut stream = client.stream("q").await.unwrap();
    assert_eq!(stream.ttft(), Some(seconds(3)));
    while stream.next().await.is_some() {}
    assert_eq!(stream.report().unwrap().total, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_when_it_is_cancelled_does_not_take_the_call_down() {
    struct Faulty;
    impl Drop for Faulty {
        fn drop(&mut self) {
            panic!("a destructor's own bug");
        }
    }
    let provider = evenkeel::provider_fn("faulty", |_, _| async {
        let _faulty = Faulty;
        std::future::pending().await
    });
    let client =
        evenkeel::LlmClient::builder().endpoint(evenkeel::Endpoint::new(provider)).build().unwrap();
    let call = || evenkeel::ChatRequest::new("m").user("q").deadline_in(seconds(1));
    assert_eq!(client.complete(call()).await.unwrap_err().label(), "deadline");
    assert_eq!(client.stream(call()).await.map(drop).unwrap_err().label(), "deadline");
}
