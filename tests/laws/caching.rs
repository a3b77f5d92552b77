//! Answers that are used again, and answers that calls share, through the whole client.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::{HitId, LexicalEmbedder, Scope, SemanticCache};
use evenkeel::client::{LlmClientBuilder, RetryPolicy};
use evenkeel::quota::{Dimension, Limit, Limits, QuotaLimiter};
use evenkeel::testing::{Answer, ScriptedProvider, drop_after_polls};
use evenkeel::{
    CacheControl, Call, ChatRequest, ChatResponse, Completion, Cost, Endpoint, Error, ErrorKind,
    FinishReason, HitPace, LlmClient, Part, Price, ServedBy, TenantId, Usage, time,
};
use futures::StreamExt as _;
use futures::future::{join, join_all};

use crate::doubles::{Notebook, always, assert_nothing_is_held, seconds};

fn builder_over(provider: &ScriptedProvider) -> LlmClientBuilder {
    LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()).price(Price::new(1, 2)))
        .cache(SemanticCache::builder().build().unwrap())
        .seed(1)
}

fn client_over(provider: &ScriptedProvider) -> LlmClient {
    builder_over(provider).build().unwrap()
}

fn question() -> Call {
    ChatRequest::new("m").user("What is Rust ownership?").tenant("acme")
}

fn slow(words: &str) -> Answer {
    Answer::text(words).delay(seconds(1)).pace(seconds(1))
}

fn served_by(done: &Completion) -> ServedBy {
    done.report.served_by.clone()
}

async fn text_of(client: &LlmClient, call: Call) -> String {
    let mut stream = client.stream(call).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text.push_str(chunk.unwrap().as_text().unwrap_or_default());
    }
    text
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_asked_once_and_streams_and_whole_answers_serve_one_another() {
    let provider = always("only", slow("one two three"));
    let client = client_over(&provider);
    assert_eq!(text_of(&client, question()).await, "one two three");
    let start = time::now();
    let done = client.complete(question()).await.unwrap();
    assert_eq!((done.text(), served_by(&done)), ("one two three".into(), ServedBy::ExactHit));
    assert_eq!((done.report.cost, done.report.attempts.len()), (Some(Cost::default()), 0));
    assert_eq!(text_of(&client, question()).await, "one two three");
    assert_eq!((provider.counts().started, start.elapsed()), (1, Duration::ZERO));

    let other = ChatRequest::new("m").user("And what is a lifetime?").tenant("acme");
    client.complete(other.clone()).await.unwrap();
    let mut stream = client.stream(other).await.unwrap();
    while stream.next().await.is_some() {}
    assert_eq!(stream.report().unwrap().served_by, ServedBy::ExactHit);
    assert_eq!(provider.counts().started, 2);
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_another_tenants_answer_or_the_answer_to_another_request() {
    let provider = always("only", Answer::text("hi"));
    let client = client_over(&provider);
    let request = || ChatRequest::new("m").user("What is Rust ownership?");
    let calls: [Call; 7] = [
        question(),
        question().tenant("other"),
        request().into(),
        ChatRequest::new("n").user("What is Rust ownership?").tenant("acme"),
        ChatRequest::new("m").system("Be brief.").user("What is Rust ownership?").tenant("acme"),
        request().max_output_tokens(5).tenant("acme"),
        ChatRequest::new("m").user("What is rust ownership?").tenant("acme"),
    ];
    for call in calls {
        let done = client.complete(call).await.unwrap();
        assert_eq!(served_by(&done), ServedBy::Endpoint("only".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_ask_the_same_at_once_make_one_upstream_call() {
    let provider = always("only", slow("one two three"));
    let client = client_over(&provider);
    let whole = (0..500).map(|_| async { client.complete(question()).await.unwrap() });
    let streams = (0..500).map(|_| text_of(&client, question()));
    let (whole, texts) = join(join_all(whole), join_all(streams)).await;
    assert_eq!(provider.counts().started, 1);
    assert!(whole.iter().map(Completion::text).chain(texts).all(|text| text == "one two three"));
    let led = whole.iter().filter(|done| served_by(done) == ServedBy::Endpoint("only".into()));
    assert_eq!(led.count(), 1);
    assert_eq!(whole.iter().filter(|d| served_by(d) == ServedBy::Coalesced).count(), 499);
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_receives_the_answer_from_its_start() {
    let provider = always("only", slow("one two three"));
    let client = client_over(&provider);
    let mut first = client.stream(question()).await.unwrap();
    while first.next().await.unwrap().unwrap().as_text() != Some("two ") {}
    let start = time::now();
    let late = async { (text_of(&client, question()).await, start.elapsed()) };
    let (late, rest) = join(late, first.collect::<Vec<_>>()).await;
    assert_eq!(late, ("one two three".into(), seconds(1)));
    assert!(rest.into_iter().all(|chunk| chunk.is_ok()));
    assert_eq!(provider.counts().started, 1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_nothing_from_the_others_whenever_it_leaves() {
    let words = "one two three";
    // After one poll it would leave before the other one has come.
    for polls in 2..9 {
        let provider = always("only", slow(words));
        let client = client_over(&provider);
        let leader = Box::pin(text_of(&client, question()));
        let follower = text_of(&client, question());
        let (_, text) = join(drop_after_polls(leader, polls), follower).await;
        assert_eq!((&*text, provider.counts().started), (words, 1), "left after {polls} polls");
        assert_nothing_is_held(&client, [&provider]);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_last_one_leaves_the_upstream_call_ends() {
    let provider = always("only", slow("one two three"));
    let client = client_over(&provider);
    let first = client.stream(question()).await.unwrap();
    let second = client.stream(question()).await.unwrap();
    drop(first);
    assert_eq!(provider.counts().open, 1);
    drop(second);
    assert_nothing_is_held(&client, [&provider]);
    // What was cut short is not kept.
    client.complete(question()).await.unwrap();
    assert_eq!(provider.counts().started, 2);
}

#[tokio::test(start_paused = true)]
async fn each_keeps_its_own_deadline() {
    let provider = always("only", slow("one two three"));
    let client = client_over(&provider);
    let hasty = async {
        let start = time::now();
        let error = client.complete(question().deadline_in(seconds(2))).await.unwrap_err();
        assert_eq!((error.label(), start.elapsed()), ("deadline", seconds(2)));
    };
    let patient = async { client.complete(question()).await.unwrap().text() };
    let ((), text) = join(hasty, patient).await;
    assert_eq!((&*text, provider.counts().started), ("one two three", 1));
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_everybodys_and_nobodys_afterwards() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::error(ErrorKind::InvalidRequest).delay(seconds(1)))
        .forever(Answer::text("hi"));
    let client = client_over(&provider);
    let (a, b) = join(client.complete(question()), client.complete(question())).await;
    assert!(matches!((a, b), (Err(Error::Refused { .. }), Err(Error::Refused { .. }))));
    assert_eq!(client.complete(question()).await.unwrap().text(), "hi");
    assert_eq!(provider.counts().started, 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_quota_does_not_keep_others_from_the_answer() {
    let provider = always("only", slow("one"));
    let limits = Limits::new().limit(Limit::new(Dimension::Requests, 1, seconds(3_600)));
    let quota = QuotaLimiter::builder().per_tenant(limits).build().unwrap();
    let cache = SemanticCache::builder().scope(Scope::namespace("all")).build().unwrap();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()))
        .quota(quota)
        .cache(cache)
        .build()
        .unwrap();
    let of = |text: &str, tenant: &str| {
        client.complete(ChatRequest::new("m").user(text.to_owned()).tenant(tenant.to_owned()))
    };
    of("something else", "poor").await.unwrap();
    let (poor, rich) = join(of("q", "poor"), of("q", "rich")).await;
    assert_eq!(poor.unwrap_err().label(), "quota");
    assert_eq!(rich.unwrap().text(), "one");
}

#[tokio::test(start_paused = true)]
async fn hits_and_followers_cost_no_tokens_and_count_as_requests_only_where_they_are_to() {
    for counted in [false, true] {
        let answer = ChatResponse::text_only("hi").with_usage(Usage::counted(10, 5));
        let provider = always("only", Answer::response(answer).delay(seconds(1)));
        let age = seconds(86_400 * 10_000);
        let limit = |dimension| Limit::new(dimension, 1_000_000, age);
        let limits =
            Limits::new().limit(limit(Dimension::Tokens)).limit(limit(Dimension::Requests));
        let quota = QuotaLimiter::builder().per_tenant(limits).build().unwrap();
        let client =
            builder_over(&provider).quota(quota).count_cache_hits(counted).build().unwrap();
        let (one, two) = join(client.complete(question()), client.complete(question())).await;
        let hit = client.complete(question()).await.unwrap();
        assert_eq!(served_by(&hit), ServedBy::ExactHit);
        one.and(two).unwrap();
        let usage = client.quota().unwrap().usage(&TenantId::new("acme")).unwrap();
        let used: Vec<u64> = usage.available.iter().map(|(_, left)| 1_000_000 - left).collect();
        assert_eq!(used, [15, 1 + u64::from(counted)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_says_what_it_may_take_from_the_cache() {
    let provider = ScriptedProvider::new("only")
        .then(Answer::text("first"))
        .then(Answer::text("second"))
        .then(Answer::text("third"))
        .forever(Answer::text("later"));
    let client = client_over(&provider);
    let ask = async |control| {
        let done = client.complete(question().cache(control)).await.unwrap();
        done.text()
    };
    assert_eq!(ask(CacheControl::ReadOnly).await, "first");
    assert_eq!(ask(CacheControl::Default).await, "second", "a reader leaves nothing");
    assert_eq!(ask(CacheControl::Bypass).await, "third");
    assert_eq!(ask(CacheControl::ExactOnly).await, "second");
    assert_eq!(ask(CacheControl::Refresh).await, "later");
    assert_eq!(ask(CacheControl::Default).await, "later");
    assert_eq!(provider.counts().started, 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_asks_for_a_fresh_answer_takes_nobody_elses() {
    let provider = always("only", slow("one"));
    let client = client_over(&provider);
    let refresh = || client.complete(question().cache(CacheControl::Refresh));
    let (a, (b, c)) = join(client.complete(question()), join(refresh(), refresh())).await;
    a.and(b).and(c).unwrap();
    assert_eq!(provider.counts().started, 3);
}

#[tokio::test(start_paused = true)]
async fn no_partial_answer_is_kept() {
    let cut = ChatResponse::new([Part::text("half an ans")], FinishReason::Length);
    let provider = ScriptedProvider::new("only")
        .then(Answer::response(cut))
        .then(Answer::text("broken off here").cut_after(2))
        .forever(Answer::text("whole"));
    let client = builder_over(&provider).retry(RetryPolicy::never()).build().unwrap();
    assert_eq!(client.complete(question()).await.unwrap().text(), "half an ans");
    assert!(matches!(client.complete(question()).await, Err(Error::Interrupted(_))));
    assert_eq!(client.complete(question()).await.unwrap().text(), "whole");
    assert_eq!(client.cache().unwrap().stats().entries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_much_alike_is_answered_until_somebody_says_it_was_wrong() {
    let provider = always("only", Answer::text("each value has one owner"));
    let cache = SemanticCache::builder()
        .embedder(LexicalEmbedder::default())
        .threshold(0.6)
        .build()
        .unwrap();
    let notebook = Notebook::default();
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()))
        .cache(cache)
        .observer(notebook.clone())
        .build()
        .unwrap();
    let ask = async |text: &str| {
        client.complete(ChatRequest::new("m").user(text.to_owned())).await.unwrap()
    };
    ask("Please explain to me how ownership works in Rust").await;
    let alike = ask("Please explain how ownership works in Rust").await;
    let ServedBy::SemanticHit { similarity } = served_by(&alike) else { panic!("{alike:?}") };
    assert!((0.6..1.0).contains(&similarity), "{similarity}");
    assert_eq!(notebook.count("Cache { call: 2, outcome: \"semantic_hit\""), 1);

    let hit: HitId = alike.report.hit.unwrap().to_string().parse().unwrap();
    assert!(client.cache().unwrap().report_wrong(hit));
    let again = ask("Please explain how ownership works in Rust").await;
    assert_eq!(served_by(&again), ServedBy::Endpoint("only".into()));
}

/// Some 70 bytes, fetched in a second and eleven more.
fn a_long_answer() -> Answer {
    slow("Each value has one owner and is dropped when that owner goes out of scope")
}

fn at_its_pace() -> Call {
    question().hit_pace(HitPace::AsFetched)
}

#[tokio::test(start_paused = true)]
async fn a_paced_hit_begins_at_once_and_takes_as_long_as_the_answer_took() {
    let provider = always("only", a_long_answer());
    let client = builder_over(&provider).hit_pace(HitPace::AsFetched).build().unwrap();
    let fetched = client.complete(question()).await.unwrap();
    let took = fetched.report.total - fetched.report.ttft.unwrap();

    let start = time::now();
    let mut stream = client.stream(question()).await.unwrap();
    assert_eq!(stream.ttft(), Some(Duration::ZERO));
    let (mut text, mut times) = (String::new(), Vec::new());
    while let Some(chunk) = stream.next().await {
        if let Some(piece) = chunk.unwrap().as_text() {
            text.push_str(piece);
            times.push(start.elapsed());
        }
    }
    assert_eq!((text, times[0]), (fetched.text(), Duration::ZERO));
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert!((took / 2..=took).contains(times.last().unwrap()), "{times:?} of {took:?}");
    assert_eq!(stream.report().unwrap().served_by, ServedBy::ExactHit);

    let start = time::now();
    text_of(&client, question().hit_pace(HitPace::AtOnce)).await;
    client.complete(question()).await.unwrap();
    assert_eq!((start.elapsed(), provider.counts().started), (Duration::ZERO, 1));
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn a_paced_hit_is_fast_enough_for_its_deadline() {
    let provider = always("only", a_long_answer());
    let client = client_over(&provider);
    let fetched = client.complete(question()).await.unwrap();
    let start = time::now();
    assert_eq!(text_of(&client, at_its_pace().deadline_in(seconds(2))).await, fetched.text());
    assert!((seconds(1)..seconds(2)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_paced_hit_ends_with_its_stream_and_with_its_client() {
    let provider = always("only", a_long_answer());
    let client = client_over(&provider);
    client.complete(question()).await.unwrap();
    let mut left = client.stream(at_its_pace()).await.unwrap();
    assert_eq!((left.next().await.unwrap().is_ok(), client.running()), (true, 1));
    drop(left);
    assert_nothing_is_held(&client, [&provider]);

    let stream = client.stream(at_its_pace()).await.unwrap();
    let drain = client.drain(time::now() + seconds(1));
    let (ended, drained) = join(stream.into_completion(), drain).await;
    assert_eq!((ended.unwrap_err().label(), drained.cut_off), ("closed", 1));
    assert_nothing_is_held(&client, [&provider]);
}

#[tokio::test(start_paused = true)]
async fn a_similar_hit_is_paced_as_well() {
    let provider = always("only", a_long_answer());
    let cache = SemanticCache::builder().embedder(LexicalEmbedder::new()).threshold(0.6);
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()))
        .cache(cache.build().unwrap())
        .hit_pace(HitPace::AsFetched)
        .build()
        .unwrap();
    let ask = |text: &str| ChatRequest::new("m").user(text);
    client.complete(ask("Please explain to me how ownership works in Rust")).await.unwrap();
    let start = time::now();
    let stream = client.stream(ask("Please explain how ownership works in Rust")).await.unwrap();
    assert_eq!((stream.ttft(), start.elapsed()), (Some(Duration::ZERO), Duration::ZERO));
    let done = stream.into_completion().await.unwrap();
    assert!(matches!(served_by(&done), ServedBy::SemanticHit { .. }));
    assert!(start.elapsed() > seconds(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn all_who_are_given_an_answer_share_it_and_may_have_their_own() {
    let provider = always("only", slow("one two"));
    let client = client_over(&provider);
    let (first, same_time) = join(client.complete(question()), client.complete(question())).await;
    let (first, same_time) = (first.unwrap(), same_time.unwrap());
    let hits =
        [client.complete(question()).await.unwrap(), client.complete(question()).await.unwrap()];
    assert!(Arc::ptr_eq(&first.response, &same_time.response));
    assert!(Arc::ptr_eq(&hits[0].response, &hits[1].response));
    let [mine, others] = hits;
    let mut mine = mine.into_response();
    mine.content.clear();
    assert_eq!(others.text(), "one two");
}

#[tokio::test(start_paused = true)]
async fn draining_the_client_ends_those_who_share_an_answer() {
    let provider = always("only", Answer::hang());
    let client = client_over(&provider);
    let drain = async { client.drain(time::now() + seconds(5)).await.cut_off };
    let ((a, b), cut_off) =
        join(join(client.complete(question()), client.complete(question())), drain).await;
    assert_eq!((a.unwrap_err().label(), b.unwrap_err().label()), ("closed", "closed"));
    assert_eq!(cut_off, 2);
    assert_nothing_is_held(&client, [&provider]);
    assert_eq!(client.complete(question()).await.unwrap_err().label(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_shares_an_answer_tells_of_its_end_once() {
    let provider = always("only", slow("one two"));
    let notebook = Notebook::default();
    let client = builder_over(&provider).observer(notebook.clone()).build().unwrap();
    let calls = (0..3).map(|_| client.complete(question()));
    join_all(calls).await;
    drop(client.stream(question()).await.unwrap());
    assert_eq!(notebook.count("CallEnded"), 4);
    let lines = notebook.lines();
    let ended = lines.iter().filter(|line| line.starts_with("CallEnded"));
    assert_eq!(ended.filter(|line| line.contains("outcome: \"success\"")).count(), 3);
    assert_eq!(notebook.count("AttemptStarted"), 1);
}
