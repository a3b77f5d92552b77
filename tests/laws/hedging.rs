//! A second attempt beside a slow one: when there is one, which of them wins, what it costs.

use std::cell::RefCell;
use std::time::Duration;

use evenkeel::client::{HedgePolicy, LlmClientBuilder, RetryPolicy};
use evenkeel::report::{AttemptReport, Phase, Trail};
use evenkeel::rng::Rng;
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{Call, ChatRequest, Endpoint, Error, ErrorKind, LlmClient, time};
use futures::StreamExt as _;

use crate::doubles::{
    Notebook, always, assert_nothing_is_held, builder_over, client_over, seconds, tried,
};

/// Hedges after two seconds. The providers are asked in order.
fn hedging<const N: usize>(providers: [&ScriptedProvider; N]) -> LlmClientBuilder {
    builder_over(providers).hedge(HedgePolicy::after(seconds(2)))
}

fn answers(id: &str, after: u64) -> ScriptedProvider {
    always(id, Answer::text(id).delay(seconds(after)))
}

fn fails(id: &str, kind: ErrorKind, after: u64) -> ScriptedProvider {
    always(id, Answer::error(kind).delay(seconds(after)))
}

fn hedges(trail: &Trail) -> Vec<bool> {
    trail.iter().map(|attempt| attempt.hedge).collect()
}

#[tokio::test(start_paused = true)]
async fn hedging_is_off_unless_it_is_asked_for() {
    let (slow, quick) = (answers("slow", 30), answers("quick", 0));
    let client = client_over([&slow, &quick]);
    assert_eq!(client.complete(Call::from("q").hedge(true)).await.unwrap().text(), "slow");
    assert_eq!(quick.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn the_second_attempt_wins_where_it_shows_content_first() {
    let (slow, quick) = (answers("slow", 30), answers("quick", 1));
    let notebook = Notebook::default();
    let client = hedging([&slow, &quick]).observer(notebook.clone()).build().unwrap();
    let done = client.complete("q").await.unwrap();
    let report = &done.report;
    assert_eq!((done.text(), report.total), ("quick".into(), seconds(3)));
    assert_eq!(report.ttft, Some(seconds(3)), "the caller waited from the start");

    assert_eq!(tried(&report.attempts), ["slow", "quick"]);
    assert_eq!(hedges(&report.attempts), [false, true]);
    let times = |attempt: &AttemptReport| (attempt.started, attempt.elapsed, attempt.error);
    let times: Vec<_> = report.attempts.iter().map(times).collect();
    assert_eq!(times, [(seconds(0), seconds(3), None), (seconds(2), seconds(1), None)]);

    assert_eq!(slow.counts().cancelled, 1);
    assert_nothing_is_held(&client, [&slow, &quick]);
    let told = notebook.lines();
    assert!(
        told.contains(&r#"Hedge { call: 1, endpoint: "quick", after: 2s }"#.into()),
        "{told:?}"
    );
    let won = r#"HedgeEnded { call: 1, endpoint: "quick", outcome: "won" }"#;
    assert!(told.contains(&won.into()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_wins_where_it_shows_content_first() {
    let (steady, late) = (answers("steady", 3), answers("late", 30));
    let notebook = Notebook::default();
    let client = hedging([&steady, &late]).observer(notebook.clone()).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("steady".into(), seconds(3)));
    assert_eq!(tried(&done.report.attempts), ["late", "steady"], "what served the call is last");
    assert_eq!(hedges(&done.report.attempts), [true, false]);
    assert_eq!(late.counts().cancelled, 1);
    let lost = r#"HedgeEnded { call: 1, endpoint: "late", outcome: "lost" }"#;
    assert!(notebook.lines().contains(&lost.into()));
}

#[tokio::test(start_paused = true)]
async fn the_losers_body_is_closed_and_its_lease_given_back_before_the_winner_streams() {
    let slow = always("slow", Answer::text("one two").delay(seconds(30)));
    let quick = always("quick", Answer::text("one two").pace(seconds(1)));
    let client = hedging([&slow, &quick]).build().unwrap();
    let mut stream = client.stream("q").await.unwrap();
    assert_eq!(stream.endpoint().unwrap().as_str(), "quick");
    assert_eq!((slow.counts().open, quick.counts().open), (0, 1));
    let status = client.balancer().status(time::now());
    assert_eq!((status[0].in_flight, status[1].in_flight), (0, 1));
    while stream.next().await.is_some() {}
    assert_eq!(hedges(&stream.report().unwrap().attempts), [false, true]);
    assert_nothing_is_held(&client, [&slow, &quick]);
}

#[tokio::test(start_paused = true)]
async fn losing_says_nothing_of_an_endpoints_health() {
    let (slow, quick) = (always("slow", Answer::hang()), answers("quick", 0));
    let client = hedging([&slow, &quick]).build().unwrap();
    for _ in 0..20 {
        client.complete("q").await.unwrap();
    }
    assert_eq!(client.balancer().status(time::now())[0].condition.label(), "eligible");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_after_content() {
    let slow = always("slow", Answer::text("one two three").delay(seconds(1)).pace(seconds(9)));
    let quick = answers("quick", 0);
    let policy = HedgePolicy::after(seconds(11));
    let client = builder_over([&slow, &quick]).hedge(policy).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("one two three".into(), seconds(28)));
    assert_eq!(quick.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn promises_do_not_put_a_hedge_off() {
    use evenkeel::Chunk;
    let beats = (0..20).map(|_| (seconds(1), Chunk::Heartbeat));
    let promising = always("promising", Answer::timed_chunks(beats));
    let quick = answers("quick", 0);
    let done = hedging([&promising, &quick]).build().unwrap().complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("quick".into(), seconds(2)));
}

#[tokio::test(start_paused = true)]
async fn where_one_of_two_fails_the_other_goes_on() {
    let (failing, good) = (fails("failing", ErrorKind::Server, 3), answers("good", 4));
    let client = hedging([&failing, &good]).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("good".into(), seconds(6)));
    assert_eq!(tried(&done.report.attempts), ["failing", "good"]);
    assert_eq!((failing.counts().started, good.counts().started), (1, 1));

    let (good, failing) = (answers("good", 5), fails("failing", ErrorKind::InvalidRequest, 1));
    let notebook = Notebook::default();
    let client = hedging([&good, &failing]).observer(notebook.clone()).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("good".into(), seconds(5)));
    let failed = r#"HedgeEnded { call: 1, endpoint: "failing", outcome: "failed" }"#;
    assert!(notebook.lines().contains(&failed.into()));
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_the_call_is_retried_on_what_neither_used_and_not_hedged_again() {
    let first = fails("first", ErrorKind::Server, 3);
    let second = fails("second", ErrorKind::Server, 3);
    let third = answers("third", 9);
    let fourth = answers("fourth", 0);
    let client = hedging([&first, &second, &third, &fourth]).build().unwrap();
    let done = client.complete(Call::from("q").max_attempts(6)).await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["first", "second", "third"]);
    assert_eq!(hedges(&done.report.attempts), [false, true, false]);
    assert_eq!(done.report.total, seconds(5 + 9));
    assert_eq!(fourth.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn where_both_fail_the_requests_own_fault_decides() {
    for (first, second) in [
        (ErrorKind::InvalidRequest, ErrorKind::Server),
        (ErrorKind::Server, ErrorKind::InvalidRequest),
    ] {
        let providers = [fails("first", first, 3), fails("second", second, 3), answers("x", 0)];
        let [first, second, third] = &providers;
        let client = hedging([first, second, third]).build().unwrap();
        let error = client.complete("q").await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(tried(error.trail()), ["first", "second"]);
        assert_eq!(third.counts().started, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_endpoint_that_refused() {
    let strict = fails("strict", ErrorKind::InvalidRequest, 3);
    let broken = fails("broken", ErrorKind::Server, 9);
    let error = hedging([&strict, &broken]).build().unwrap().complete("q").await.unwrap_err();
    let Error::Refused { endpoint, error, .. } = error else { panic!("{error}") };
    assert_eq!((endpoint.as_str(), error.kind()), ("strict", ErrorKind::InvalidRequest));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_counts_as_an_attempt() {
    let (first, second) = (fails("first", ErrorKind::Server, 3), answers("second", 1));
    let client = hedging([&first, &second]).build().unwrap();
    assert!(client.complete(Call::from("q").max_attempts(1)).await.is_err());
    assert_eq!(second.counts().started, 0);

    let (first, second) =
        (fails("first", ErrorKind::Server, 3), fails("second", ErrorKind::Server, 3));
    let third = answers("third", 0);
    let client = hedging([&first, &second, &third]).build().unwrap();
    let error = client.complete(Call::from("q").max_attempts(2)).await.unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    assert_eq!(third.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_hedges_once() {
    let silent = [0, 1, 2].map(|id| always(&format!("silent-{id}"), Answer::hang()));
    let client = hedging([&silent[0], &silent[1], &silent[2]]).build().unwrap();
    let error = client.complete(Call::from("q").deadline_in(seconds(60))).await.unwrap_err();
    assert_eq!(tried(error.trail()), ["silent-0", "silent-1"]);
    assert_eq!(silent[2].counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn without_another_endpoint_that_is_free_there_is_no_hedge() {
    let alone = answers("alone", 9);
    let notebook = Notebook::default();
    let client = hedging([&alone]).observer(notebook.clone()).build().unwrap();
    assert_eq!(client.complete("q").await.unwrap().report.attempts.len(), 1);

    let limited = always("limited", Answer::rate_limited(seconds(100)));
    let slow = answers("slow", 9);
    let client = hedging([&limited, &slow]).observer(notebook.clone()).build().unwrap();
    client.complete("q").await.unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.report.attempts.len(), done.report.total), (1, seconds(9)));
    assert_eq!(notebook.count("Hedge"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_the_call_has_tried_is_no_hedge() {
    let failing = fails("failing", ErrorKind::Server, 0);
    let slow = answers("slow", 9);
    let done = hedging([&failing, &slow]).build().unwrap().complete("q").await.unwrap();
    assert_eq!(tried(&done.report.attempts), ["failing", "slow"]);
    assert_eq!(failing.counts().started, 1);
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_bounds_hedges() {
    let (a, b) = (answers("a", 10), answers("b", 10));
    let notebook = Notebook::default();
    let client = hedging([&a, &b])
        .retry(RetryPolicy::new().budget(0.1, 0.0))
        .observer(notebook.clone())
        .build()
        .unwrap();
    for _ in 0..200 {
        client.complete("q").await.unwrap();
    }
    let hedges = notebook.count("Hedge {");
    assert!((15..=20).contains(&hedges), "a tenth of the successes, not {hedges}");
    assert_eq!(a.counts().started + b.counts().started, 200 + hedges as u64);
    assert_eq!(notebook.count("RetryBudgetExhausted"), 200 - hedges);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_cannot_be_costs_no_budget() {
    let alone = answers("alone", 9);
    let retry = RetryPolicy::new().budget(1.0, 0.0);
    let client = hedging([&alone]).retry(retry).build().unwrap();
    client.complete("q").await.unwrap();
    alone.become_forever(Answer::error(ErrorKind::Server).delay(seconds(9)));
    let error = client.complete("q").await.unwrap_err();
    assert_eq!(error.trail().len(), 2, "the one retry that was earned is still there");
}

#[tokio::test(start_paused = true)]
async fn a_call_can_decline() {
    let (slow, quick) = (answers("slow", 9), answers("quick", 0));
    let client = hedging([&slow, &quick]).build().unwrap();
    assert_eq!(client.complete(Call::from("q").hedge(false)).await.unwrap().text(), "slow");
    assert_eq!(quick.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn both_attempts_carry_one_idempotency_key_and_numbers_of_their_own() {
    let (slow, quick) = (answers("slow", 9), answers("quick", 0));
    let client = hedging([&slow, &quick]).build().unwrap();
    client.complete(Call::from("q").idempotency_key("k1")).await.unwrap();
    let seen = [&slow, &quick].map(|provider| {
        let context = provider.recorded()[0].context.clone();
        (context.attempt, context.idempotency_key.as_deref().map(str::to_owned))
    });
    assert_eq!(seen, [(1, Some("k1".into())), (2, Some("k1".into()))]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_both() {
    let (a, b) = (always("a", Answer::hang()), always("b", Answer::hang()));
    let notebook = Notebook::default();
    let client = hedging([&a, &b]).observer(notebook.clone()).build().unwrap();
    let start = time::now();
    let error = client.complete(Call::from("q").deadline_in(seconds(5))).await.unwrap_err();
    assert_eq!(time::now() - start, seconds(5));
    assert!(matches!(error, Error::Deadline { phase: Phase::FirstContent, .. }), "{error}");
    assert_eq!(error.trail().len(), 2);
    assert_eq!(notebook.count(r#"HedgeEnded { call: 1, endpoint: "b", outcome: "cancelled" }"#), 1);
    assert_nothing_is_held(&client, [&a, &b]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_both() {
    let (a, b) = (always("a", Answer::hang()), always("b", Answer::hang()));
    let client = hedging([&a, &b]).build().unwrap();
    let grace = time::now() + seconds(5);
    let (done, drained) = futures::future::join(client.complete("q"), client.drain(grace)).await;
    assert_eq!((drained.cut_off, time::now()), (1, grace));
    let error = done.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert_eq!(tried(error.trail()), ["a", "b"]);
    assert_nothing_is_held(&client, [&a, &b]);
}

/// What may happen while two attempts run: one of them wins, late or early, or fails.
fn eventful() -> [[ScriptedProvider; 2]; 4] {
    let words = |id, after| always(id, Answer::text("one two").delay(after).pace(seconds(1)));
    [
        [words("slow", seconds(4)), words("slower", seconds(4))],
        [always("silent", Answer::hang()), words("quick", seconds(1))],
        [fails("failing", ErrorKind::Server, 3), words("slow", seconds(3))],
        [words("slow", seconds(4)), fails("failing", ErrorKind::Server, 1)],
    ]
}

async fn whole(client: LlmClient) -> String {
    client.complete("q").await.unwrap().text()
}

async fn streamed(client: LlmClient) -> String {
    let stream = client.stream("q").await.unwrap();
    let words = stream.map(|chunk| chunk.unwrap().as_text().unwrap_or_default().to_owned());
    words.collect().await
}

/// Makes calls over two providers and drops them at every poll, each on a client of its own.
async fn drop_calls_at_every_poll<F: Future<Output = String>>(
    [first, second]: [&ScriptedProvider; 2],
    call: impl Fn(LlmClient) -> F,
) {
    let notebook = Notebook::default();
    let client = RefCell::new(None);
    let make = || {
        let new = hedging([first, second]).observer(notebook.clone()).build().unwrap();
        call(client.borrow_mut().insert(new).clone())
    };
    let after_each = |_| {
        let client = client.borrow_mut().take().unwrap();
        assert_nothing_is_held(&client, [first, second]);
    };
    assert_eq!(drop_at_every_poll(make, after_each).await, "one two");
    assert!(notebook.count("Hedge {") > 2, "some were dropped with a hedge in flight");
    assert_eq!(notebook.count("Hedge {"), notebook.count("HedgeEnded"));
    assert_eq!(notebook.count("AttemptStarted"), notebook.count("AttemptEnded"));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_hedged_call_at_every_poll_leaves_nothing() {
    for [first, second] in &eventful() {
        drop_calls_at_every_poll([first, second], whole).await;
        drop_calls_at_every_poll([first, second], streamed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_whole_is_hedged_after_a_fixed_delay() {
    let slow = answers("slow", 30).streaming(false);
    let quick = answers("quick", 1).streaming(false);
    let client = hedging([&slow, &quick]).build().unwrap();
    let done = client.complete("q").await.unwrap();
    assert_eq!((done.text(), done.report.total), ("quick".into(), seconds(3)));
    assert_eq!(slow.counts().cancelled, 1);

    let client = hedging([&slow, &quick]).build().unwrap();
    assert_eq!(streamed(client).await, "quick", "a replayed answer is hedged as well");
}

fn learning(providers: [&ScriptedProvider; 2], quantile: f64) -> LlmClientBuilder {
    let [main, spare] = providers.map(|provider| Endpoint::new(provider.clone()));
    LlmClient::builder()
        .endpoint(main)
        .endpoint(spare.tier(1))
        .retry(RetryPolicy::new().budget(1.0, 100.0))
        .hedge(HedgePolicy::after_ttft_quantile(quantile))
}

#[tokio::test(start_paused = true)]
async fn a_learned_delay_acts_only_after_enough_samples() {
    let main = ScriptedProvider::new("main")
        .repeat(31, Answer::text("main").delay(seconds(1)))
        .forever(Answer::text("main").delay(seconds(50)));
    let spare = answers("spare", 0);
    let client = learning([&main, &spare], 0.5).build().unwrap();
    for _ in 0..32 {
        assert_eq!(client.complete("q").await.unwrap().text(), "main");
    }
    let start = time::now();
    assert_eq!(client.complete("q").await.unwrap().text(), "spare");
    let waited = time::now() - start;
    assert!(waited >= seconds(1) && waited <= Duration::from_millis(1_125), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn whole_answers_teach_no_delay_and_are_not_hedged_after_a_learned_one() {
    let main = answers("main", 1).streaming(false);
    let spare = answers("spare", 0);
    let client = learning([&main, &spare], 0.5).build().unwrap();
    for _ in 0..40 {
        client.complete("q").await.unwrap();
    }
    main.become_forever(Answer::text("main").delay(seconds(50)));
    assert_eq!(client.complete("q").await.unwrap().text(), "main");
    assert_eq!(spare.counts().started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_for_the_raw_answer_is_not_hedged_after_a_learned_delay() {
    let main = answers("main", 1);
    let client = learning([&main, &answers("spare", 0)], 0.5).build().unwrap();
    for _ in 0..40 {
        client.complete("q").await.unwrap();
    }
    main.become_forever(Answer::text("main").delay(seconds(50)));
    assert_eq!(client.complete(Call::from("q").keep_raw()).await.unwrap().text(), "main");
    assert_eq!(client.complete("q").await.unwrap().text(), "spare", "though others are");
}

#[tokio::test(start_paused = true)]
async fn a_replayed_answer_teaches_no_delay() {
    let whole = answers("whole", 1).streaming(false);
    let [slow, quick] = [answers("slow", 9), answers("quick", 0)];
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(whole).model("whole"))
        .endpoint(Endpoint::new(slow).model("live"))
        .endpoint(Endpoint::new(quick).model("live").tier(1))
        .hedge(HedgePolicy::after_ttft_quantile(0.5))
        .build()
        .unwrap();
    for _ in 0..40 {
        let stream = client.stream(ChatRequest::new("whole").user("q")).await.unwrap();
        stream.into_completion().await.unwrap();
    }
    let done = client.complete(ChatRequest::new("live").user("q")).await.unwrap();
    assert_eq!(done.text(), "slow");
}

/// How many of 2000 calls are hedged once 2000 others have taught the client, while attempts take
/// anything from 100 ms to a second to their first content, and hedges nothing.
async fn hedged_of_2000(quantile: f64) -> u64 {
    let rng = Rng::from_seed(1);
    let main = (0..4_000).fold(ScriptedProvider::new("main"), |script, _| {
        let delay = Duration::from_millis(100 + rng.below(900));
        script.then(Answer::text("main").delay(delay))
    });
    let spare = answers("spare", 0);
    let client = learning([&main, &spare], quantile).build().unwrap();
    let mut taught = 0;
    for call in 0..4_000 {
        if call == 2_000 {
            taught = spare.counts().started;
        }
        client.complete("q").await.unwrap();
    }
    spare.counts().started - taught
}

/// Attempts that lose have no TTFT, and those that win are quick. If the first were not counted or
/// the second were, every hedge would make the next one come sooner.
#[tokio::test(start_paused = true)]
async fn a_learned_delay_hedges_the_share_it_names_and_hedging_does_not_shrink_it() {
    let few = hedged_of_2000(0.9).await;
    assert!((80..=220).contains(&few), "about a tenth of the calls, not {few}");
    let many = hedged_of_2000(0.3).await;
    assert!((1_150..=1_420).contains(&many), "about seven tenths of the calls, not {many}");
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_with_the_name_of_the_field() {
    let provider = answers("p", 0);
    for policy in [HedgePolicy::after(Duration::ZERO), HedgePolicy::after_ttft_quantile(1.5)] {
        let error = builder_over([&provider]).hedge(policy).build().unwrap_err();
        assert_eq!(error.field(), "hedge.delay");
    }
}
