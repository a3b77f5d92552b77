//! A client that is shut down under load: what fits the grace is given whole, the rest is told why not.

use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::rng::Rng;
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{CompletionStream, Endpoint, Error, LlmClient, QuotaLimiter, RequestQueue, time};
use futures::future::{join, join_all};
use futures::{FutureExt as _, StreamExt as _, stream};

use crate::doubles::{assert_nothing_is_held, seconds};

const STREAMS: u64 = 500;
const GRACE: Duration = seconds(30);

/// The words of an answer, each another.
fn words(number: u64, count: u64) -> Vec<String> {
    (0..count).map(|word| format!("{number}.{word} ")).collect()
}

/// How each stream ended, and how much of it was heard.
struct Heard {
    text: String,
    error: Option<Error>,
}

async fn read(mut stream: CompletionStream) -> Heard {
    let mut heard = Heard { text: String::new(), error: None };
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => heard.text.push_str(chunk.as_text().unwrap_or_default()),
            Err(error) => heard.error = Some(error),
        }
    }
    heard
}

/// A client whose answers are scripted one by one: number `n` has as many words as `count` says, one a
/// second.
fn client(count: impl Fn(u64) -> u64) -> (LlmClient, ScriptedProvider) {
    let answer = |number| Answer::text(words(number, count(number)).concat()).pace(seconds(1));
    let script = ScriptedProvider::new("p");
    let provider = (0..STREAMS).fold(script, |script, number| script.then(answer(number)));
    let limits = evenkeel::Limits::new().concurrency(STREAMS as u32);
    let places = EndpointLimits::new().concurrency(STREAMS as u32);
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.clone()).limits(places))
        .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
        .queue(RequestQueue::builder().build().unwrap())
        .build()
        .unwrap();
    (client, provider)
}

async fn open_all(client: &LlmClient) -> Vec<CompletionStream> {
    let open = async |_| client.stream(evenkeel::Call::from("q").tenant("acme")).await.unwrap();
    stream::iter(0..STREAMS).then(open).collect().await
}

/// Shuts down while all streams are open; the first word of each has come.
async fn shut_down(client: &LlmClient, streams: Vec<CompletionStream>) -> (usize, Vec<Heard>) {
    assert_eq!(client.running(), STREAMS as usize);
    assert!(client.health().ready);
    let draining = async {
        let drain = client.drain(time::now() + GRACE);
        let mut drain = std::pin::pin!(drain);
        assert!(drain.as_mut().now_or_never().is_none());
        let health = client.health();
        assert!(!health.ready && health.draining, "not ready from the first poll on");
        let refused = client.complete("one more").await;
        assert!(matches!(refused, Err(Error::Closed { .. })));
        drain.await.cut_off
    };
    join(draining, join_all(streams.into_iter().map(read))).await
}

#[track_caller]
fn nothing_is_left(client: &LlmClient, provider: &ScriptedProvider) {
    assert_nothing_is_held(client, [provider]);
    let queue = client.queue().unwrap().stats();
    assert_eq!((queue.depth, queue.running), (0, 0));
    let usage = client.quota().unwrap().usage(&"acme".into());
    assert_eq!(usage.map_or(0, |usage| usage.running), 0);
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0, "tasks of the client's go on");
}

#[tokio::test(start_paused = true)]
async fn five_hundred_streams_that_fit_the_grace_lose_nothing() {
    let rng = Rng::from_seed(1);
    let counts: Vec<u64> = (0..STREAMS).map(|_| 2 + rng.below(GRACE.as_secs() - 2)).collect();
    let (client, provider) = client(|number| counts[number as usize]);
    // Ages of streams differ: the longest has its last word in the last second of the grace.
    let streams = open_all(&client).await;
    let (cut_off, heard) = shut_down(&client, streams).await;
    assert_eq!(cut_off, 0);
    for (number, heard) in (0..).zip(heard) {
        assert!(heard.error.is_none(), "{number}: {:?}", heard.error);
        let all = words(number, counts[number as usize]).concat();
        assert_eq!(heard.text.trim_end(), all.trim_end(), "{number}");
    }
    nothing_is_left(&client, &provider);
}

/// Half of them go on beyond the grace: they end at it, with what they had and why.
#[tokio::test(start_paused = true)]
async fn streams_that_do_not_fit_the_grace_end_at_it_and_say_why() {
    let long = |number: u64| number % 2 == 1;
    // So long that none of them ends by itself, however late it was opened.
    let (client, provider) = client(|number| if long(number) { 600 } else { 5 });
    let streams = open_all(&client).await;
    let running = streams.iter().filter(|stream| stream.report().is_none()).count();
    assert_eq!(running, STREAMS as usize);
    let end = time::now() + GRACE;
    let (cut_off, heard) = shut_down(&client, streams).await;
    assert_eq!((cut_off, time::now()), (STREAMS as usize / 2, end), "not a moment later");
    for (number, heard) in (0..).zip(heard) {
        let all = words(number, if long(number) { 600 } else { 5 }).concat();
        assert!(all.starts_with(&heard.text), "{number}: {}", heard.text);
        let whole = heard.text.trim_end() == all.trim_end();
        assert_eq!(whole, !long(number), "{number}: {}", heard.text);
        let closed = matches!(heard.error, Some(Error::Closed { .. }));
        assert_eq!(closed, long(number), "{number}: {:?}", heard.error);
    }
    nothing_is_left(&client, &provider);
}
