//! What a tenant is charged, through the whole client: the last column of the table of outcomes, and
//! what stands before a call is sent.

use std::time::Duration;

use evenkeel::client::{Fallback, RetryPolicy};
use evenkeel::quota::{Denied, Dimension, Estimate, Limit, Limits, QuotaLimiter};
use evenkeel::testing::{Answer, ScriptedProvider, drop_at_every_poll};
use evenkeel::{
    Call, ChatRequest, ChatResponse, Chunk, Cost, Endpoint, Error, ErrorKind, LlmClient, Price,
    TenantId, Timeouts, Usage, time,
};
use futures::StreamExt as _;

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds};

/// So slow that nothing comes back during a test.
const AGE: Duration = Duration::from_secs(86_400 * 10_000);

/// What a tenant has at the start.
const ALLOWANCE: u64 = 10_000;

/// Input tokens of every request, as the provider counts them.
const INPUT: u64 = 100;

/// The most output tokens of every request.
const OUTPUT: u64 = 50;

/// A client over `provider` alone, whose tenants have an allowance of tokens and one of requests.
fn client_over(provider: &ScriptedProvider) -> LlmClient {
    let quota =
        QuotaLimiter::builder()
            .per_tenant(
                Limits::new()
                    .limit(Limit::new(Dimension::Tokens, ALLOWANCE, AGE))
                    .limit(Limit::new(Dimension::Requests, ALLOWANCE, AGE)),
            )
            .build()
            .unwrap();
    LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone().input_tokens(INPUT)))
        .retry(RetryPolicy::never())
        .timeouts(Timeouts::new().first_content(seconds(20)).idle(seconds(10)))
        .quota(quota)
        .seed(1)
        .build()
        .unwrap()
}

fn question() -> Call {
    ChatRequest::new("m").user("q").max_output_tokens(OUTPUT).tenant("acme")
}

fn counted(input: u64, output: u64) -> Answer {
    Answer::response(ChatResponse::text_only("hi").with_usage(Usage::counted(input, output)))
}

/// Tokens and requests that "acme" was charged for. A thousand years of refill round to nothing.
fn charged(client: &LlmClient) -> (u64, u64) {
    let usage = client.quota().unwrap().usage(&TenantId::new("acme")).expect("its quota was used");
    assert_eq!(usage.running, 0);
    let [(_, tokens), (_, requests)] = usage.available[..] else { panic!("{usage:?}") };
    (ALLOWANCE - tokens, ALLOWANCE - requests)
}

/// What a call is charged for whose only attempt gets `answer`.
async fn charge_of(answer: Answer) -> (u64, u64) {
    let provider = always("only", answer);
    let client = client_over(&provider);
    let _ = client.complete(question().deadline_in(seconds(60))).await;
    assert_nothing_is_held(&client, [&provider]);
    assert_eq!(provider.counts().started, 1, "nothing was sent");
    charged(&client)
}

#[tokio::test(start_paused = true)]
async fn a_success_is_charged_what_the_server_counted() {
    assert_eq!(charge_of(counted(90, 7)).await, (97, 1));
    assert_eq!(charge_of(counted(90, 7_000)).await, (7_090, 1), "also beyond the reservation");
}

#[tokio::test(start_paused = true)]
async fn a_success_nobody_counted_is_charged_its_input_and_what_was_received() {
    assert_eq!(charge_of(Answer::text("eight by")).await, (INPUT + 2, 1));
    let whole = always("only", Answer::text("eight by")).streaming(false);
    let client = client_over(&whole);
    client.complete(question()).await.unwrap();
    assert_eq!(charged(&client), (INPUT + 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_used_nothing_is_given_back() {
    for kind in [
        ErrorKind::RateLimited,
        ErrorKind::QuotaExhausted,
        ErrorKind::Auth,
        ErrorKind::Overloaded,
        ErrorKind::Server,
        ErrorKind::Transport,
        ErrorKind::ModelNotFound,
        ErrorKind::InvalidRequest,
        ErrorKind::ContextLength,
        ErrorKind::ContentFilter,
    ] {
        assert_eq!(charge_of(Answer::error(kind)).await, (0, 0), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_charged_its_input() {
    assert_eq!(charge_of(Answer::hang()).await, (INPUT, 1));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_off_is_charged_its_input_and_what_was_streamed() {
    let words = Answer::text("four more words here");
    assert_eq!(charge_of(words.clone().cut_after(4)).await, (INPUT + 5, 1));
    assert_eq!(charge_of(words.hang_after(2)).await, (INPUT + 3, 1), "ten bytes arrived");
}

#[tokio::test(start_paused = true)]
async fn malformed_answers_and_panics_are_charged_their_input() {
    assert_eq!(charge_of(Answer::error(ErrorKind::Malformed)).await, (INPUT, 1));
    assert_eq!(charge_of(Answer::panic()).await, (INPUT, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_passes_is_charged_its_input() {
    let provider = always("only", Answer::text("late").delay(seconds(15)));
    let client = client_over(&provider);
    let error = client.complete(question().deadline_in(seconds(5))).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert_eq!(charged(&client), (INPUT, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_charged_its_input_and_what_was_streamed() {
    let provider = always("only", Answer::text("four more words here").pace(seconds(1)));
    let client = client_over(&provider);
    let mut stream = client.stream(question()).await.unwrap();
    while stream.next().await.unwrap().unwrap().as_text() != Some("more ") {}
    drop(stream);
    assert_eq!(charged(&client), (INPUT + 3, 1), "ten bytes arrived");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_has_counted_when_the_caller_leaves_stands() {
    let mut input = Usage::new();
    input.input_tokens = Some(80);
    let chunks = [Chunk::Usage(input), Chunk::text(0, "eight by"), Chunk::text(0, "never")];
    let paced = chunks.map(|chunk| (seconds(1), chunk));
    let client = client_over(&always("only", Answer::timed_chunks(paced)));
    let mut stream = client.stream(question()).await.unwrap();
    while stream.next().await.unwrap().unwrap().as_text().is_none() {}
    drop(stream);
    assert_eq!(charged(&client), (80 + 2, 1));
}

#[tokio::test(start_paused = true)]
async fn charges_of_several_attempts_add_up() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::error(ErrorKind::Malformed))
        .then(Answer::error(ErrorKind::Server))
        .then(counted(90, 7));
    let quota =
        QuotaLimiter::builder()
            .per_tenant(
                Limits::new()
                    .limit(Limit::new(Dimension::Tokens, ALLOWANCE, AGE))
                    .limit(Limit::new(Dimension::Requests, ALLOWANCE, AGE)),
            )
            .build()
            .unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone().input_tokens(INPUT)))
        .retry(RetryPolicy::new().budget(1.0, 100.0))
        .quota(quota)
        .build()
        .unwrap();
    client.complete(question()).await.unwrap();
    assert_eq!(charged(&client), (INPUT + 97, 1), "one call, however many attempts");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_reservation_at_any_poll() {
    let provider = always("only", Answer::text("one two").delay(seconds(1)).pace(seconds(1)));
    let mut left_behind = Vec::new();
    drop_at_every_poll(
        || {
            let client = client_over(&provider);
            left_behind.push(client.clone());
            async move { client.complete(question()).await.map(drop) }
        },
        |_| {},
    )
    .await
    .unwrap();
    for client in &left_behind[1..] {
        let (tokens, requests) = charged(client);
        assert!(requests <= 1 && tokens <= INPUT + 2, "{tokens} tokens, {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_shows_while_it_streams() {
    let words = "word ".repeat(400);
    let provider = always("only", Answer::text(words).pace(Duration::from_millis(10)));
    let client = client_over(&provider);
    let mut stream = client.stream(question()).await.unwrap();
    let mut received = 0;
    while received < 1_600 {
        received += stream.next().await.unwrap().unwrap().bytes();
    }
    let usage = client.quota().unwrap().usage(&TenantId::new("acme")).unwrap();
    let used = ALLOWANCE - usage.available[0].1;
    // 400 tokens by then; it is counted in steps.
    assert!((INPUT + 300..=INPUT + 400).contains(&used), "{used}");
}

#[tokio::test(start_paused = true)]
async fn a_denied_call_sends_nothing_and_says_exactly_when_it_fits() {
    let provider = always("only", counted(INPUT, OUTPUT));
    let notebook = Notebook::default();
    let quota = QuotaLimiter::builder()
        .per_tenant(Limits::new().tokens_per_minute(INPUT + OUTPUT))
        .build()
        .unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone().input_tokens(INPUT)))
        .quota(quota)
        .observer(notebook.clone())
        .build()
        .unwrap();
    client.complete(question()).await.unwrap();
    let error = client.complete(question()).await.unwrap_err();
    assert_eq!(error.label(), "quota");
    assert!(error.to_string().contains("acme"), "{error}");
    assert_eq!(provider.counts().started, 1);
    assert_eq!(notebook.count("QuotaDenied"), 1);
    let Error::Quota(over) = &error else { panic!("{error}") };
    assert_eq!((&*over.level, over.limit), ("tenant", "tokens"));
    assert!(over.denial().downcast_ref::<Denied>().is_some());

    let wait = error.retry_after().expect("it fits later");
    tokio::time::advance(wait - Duration::from_nanos(1)).await;
    let early = client.complete(question()).await.unwrap_err();
    assert_eq!(early.retry_after(), Some(Duration::from_nanos(1)));
    tokio::time::advance(Duration::from_nanos(1)).await;
    client.complete(question()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_fits_is_another_error() {
    let provider = always("only", Answer::text("hi"));
    let client = client_over(&provider);
    let endless = ChatRequest::new("m").user("q").max_output_tokens(ALLOWANCE).tenant("acme");
    let error = client.complete(endless).await.unwrap_err();
    assert!(matches!(error, Error::LargerThanQuota(_)), "{error}");
    assert_eq!((error.retry_after(), provider.counts().started), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn one_tenant_cannot_use_up_anothers_quota() {
    let provider = always("only", counted(INPUT, ALLOWANCE));
    let client = client_over(&provider);
    client.complete(question()).await.unwrap();
    assert!(matches!(client.complete(question()).await, Err(Error::Quota(_))));
    client.complete(question().tenant("polite")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_against_the_keys_it_names() {
    let provider = always("only", counted(INPUT, OUTPUT));
    let quota = QuotaLimiter::builder()
        .per_key("project", Limits::new().limit(Limit::new(Dimension::Requests, 1, AGE)))
        .build()
        .unwrap();
    let endpoint = Endpoint::new(provider.clone());
    let client = LlmClient::builder().endpoint(endpoint).quota(quota).build().unwrap();
    let of = |project: &str| question().quota_key("project", project.to_owned());
    client.complete(of("billing")).await.unwrap();
    client.complete(of("search")).await.unwrap();
    let error = client.complete(of("billing")).await.unwrap_err();
    let Error::Quota(over) = &error else { panic!("{error}") };
    assert_eq!((&*over.level, over.limit), ("project", "requests"));
}

#[tokio::test(start_paused = true)]
async fn where_a_limit_lets_calls_wait_they_go_through_in_order_when_they_fit() {
    let provider = always("only", counted(INPUT, OUTPUT));
    let minute = Limit::new(Dimension::Tokens, INPUT + OUTPUT, seconds(60)).wait();
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().limit(minute)).build().unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone().input_tokens(INPUT)))
        .quota(quota)
        .build()
        .unwrap();
    let start = time::now();
    let calls = (0..3).map(|_| async {
        let done = client.complete(question()).await.unwrap();
        (done.report.queued.as_secs(), start.elapsed().as_secs())
    });
    assert_eq!(futures::future::join_all(calls).await, [(0, 0), (60, 60), (120, 120)]);
    let error = client.complete(question().deadline_in(seconds(30))).await.unwrap_err();
    assert_eq!(error.label(), "quota", "it would wait for longer than it has");
}

#[tokio::test(start_paused = true)]
async fn money_is_reserved_at_the_dearest_price_and_settled_at_the_servers() {
    let cheap = always("cheap", counted(INPUT, OUTPUT));
    let dear = always("dear", Answer::rate_limited(seconds(3_600)));
    let budget = Limit::new(Dimension::Cost, 100_100, AGE);
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().limit(budget)).build().unwrap();
    let endpoint = |provider: &ScriptedProvider, price| {
        Endpoint::new(provider.clone().input_tokens(INPUT)).price(price)
    };
    let client = LlmClient::builder()
        .endpoint(endpoint(&dear, Price::new(500, 1_000)))
        .endpoint(endpoint(&cheap, Price::new(1, 2)))
        .quota(quota)
        .build()
        .unwrap();
    let done = client.complete(question()).await.unwrap();
    assert_eq!(done.report.attempts.len(), 2);
    assert_eq!(done.report.cost, Some(Cost::from_nano_dollars(INPUT + 2 * OUTPUT)));
    let usage = client.quota().unwrap().usage(&TenantId::new("acme")).unwrap();
    assert_eq!(usage.available[0].1, 100_100 - INPUT - 2 * OUTPUT);
    // The dear one is out of service, but may be back before the call has its turn.
    let error = client.complete(question()).await.unwrap_err();
    assert_eq!(error.label(), "quota", "99,900 are left, 100,000 may be needed");
}

#[tokio::test(start_paused = true)]
async fn estimates_follow_what_calls_really_use() {
    let provider = always("only", counted(INPUT, 20));
    let quota = QuotaLimiter::builder()
        .per_tenant(Limits::new().limit(Limit::new(Dimension::OutputTokens, ALLOWANCE, AGE)))
        .estimate(Estimate::Expected)
        .build()
        .unwrap();
    let client =
        LlmClient::builder().endpoint(Endpoint::new(provider)).quota(quota).build().unwrap();
    let request = ChatRequest::new("m").user("q");
    for _ in 0..3 {
        client.complete(request.clone().tenant("acme")).await.unwrap();
    }
    let whose = evenkeel::quota::Whose::new(None, Some("m"), &[]);
    let unknown = client.quota().unwrap().estimate(&request, None, &whose, None);
    let tenant = TenantId::new("acme");
    let whose = evenkeel::quota::Whose::new(Some(&tenant), Some("m"), &[]);
    let known = client.quota().unwrap().estimate(&request, None, &whose, None);
    assert_eq!((unknown.output_tokens, known.output_tokens), (1_024, 25));
}

#[tokio::test(start_paused = true)]
async fn what_is_charged_afterwards_is_estimated_like_anything_else_where_nobody_counts() {
    let provider = always("only", Answer::error(ErrorKind::Malformed));
    let limits = Limits::new().limit(Limit::new(Dimension::Tokens, ALLOWANCE, AGE));
    let quota =
        QuotaLimiter::builder().per_tenant(limits).estimate(Estimate::PostPaid).build().unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider))
        .retry(RetryPolicy::never())
        .quota(quota)
        .build()
        .unwrap();
    let call = ChatRequest::new("m").user("x".repeat(400)).tenant("acme");
    assert!(client.complete(call).await.is_err());
    let usage = client.quota().unwrap().usage(&TenantId::new("acme")).unwrap();
    assert_eq!(ALLOWANCE - usage.available[0].1, 104, "a quarter of the bytes, and four a message");
}

#[tokio::test(start_paused = true)]
async fn money_is_reserved_for_the_dearest_model_that_may_take_over() {
    let small = always("small", Answer::error(ErrorKind::ContextLength));
    let large = always("large", counted(INPUT, OUTPUT));
    let budget = Limit::new(Dimension::Cost, 1_000, AGE);
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().limit(budget)).build().unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(small.input_tokens(INPUT)).model("m").price(Price::new(1, 1)))
        .endpoint(Endpoint::new(large).model("spare").price(Price::new(10, 10)))
        .fallback(Fallback::new("m").to("spare"))
        .quota(quota)
        .build()
        .unwrap();
    let error = client.complete(question()).await.unwrap_err();
    assert!(matches!(error, Error::LargerThanQuota(_)), "1,500 may be needed of 1,000: {error}");
}
