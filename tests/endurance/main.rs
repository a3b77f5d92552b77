//! What only real time shows: an overload of a minute, and a mixed load of ten.
//!
//! Too long for every test run, so both are asked for by name, best on a machine that does nothing else:
//!
//! ```text
//! cargo test --release --features test-util --test endurance -- --ignored --nocapture overload
//! cargo test --release --features test-util --test endurance -- --ignored --nocapture soak
//! ENDURANCE_SECONDS=60 cargo test --release ...    # a shorter soak
//! ```
#![expect(clippy::unwrap_used, reason = "a load test")]

mod process;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::rng::Rng;
use evenkeel::testing::{Distribution, Fault, ServerLimits, SimulatedProvider, drop_after_polls};
use evenkeel::time::{Instant, after, now, sleep_until};
use evenkeel::{
    Call, ChatRequest, Endpoint, ErrorKind, Limits, LlmClient, Priority, QuotaLimiter,
    RequestQueue, SemanticCache,
};
use futures::StreamExt;
use tokio::task::JoinSet;

use crate::process::Process;
use crate::tally::Tally;

/// What the server of the overload can do: so many answers at once, each so long, and per second.
const PLACES: usize = 50;
const SERVICE: f64 = 0.1;
const CAPACITY: f64 = PLACES as f64 / SERVICE;
const TIMES: f64 = 10.0;
const DEADLINE: Duration = Duration::from_secs(2);

fn seconds(default: u64) -> Duration {
    let asked = std::env::var("ENDURANCE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(default))
}

/// Ten times what the backend can do, for a minute: nine tenths of its capacity become answers in
/// time, what is admitted ends by its deadline, memory stays bounded, and two seconds after the load
/// stops everything is as it was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute of real time: cargo test --release --features test-util --test endurance -- --ignored overload"]
async fn overload() {
    let (client, length) = (overloaded_client(), seconds(60));
    let before = Process::now();
    let (tally, in_time) = flood(&client, length).await;
    let during = Process::now();
    sleep_until(after(now(), Duration::from_secs(2))).await;

    let goodput = in_time as f64 / length.as_secs_f64();
    let p99 = tally.quantile(0.99);
    println!(
        "endurance overload: offered {:.0}/s of {CAPACITY:.0}/s, answered {goodput:.0}/s ({:.3} of \
         capacity), p99 of the answered {p99:?} of {DEADLINE:?}, {tally}, memory {:.1} -> {:.1} MiB",
        CAPACITY * TIMES,
        goodput / CAPACITY,
        before.mebibytes(),
        during.mebibytes(),
    );
    assert!(goodput >= 0.9 * CAPACITY, "{goodput}");
    // Timers fire on whole milliseconds, and the tally counts whole ones.
    assert!(p99 <= DEADLINE + Duration::from_millis(2), "{p99:?}");
    assert!(during.mebibytes() - before.mebibytes() < 128.0, "memory is bounded");
    assert_eq!(client.queue().unwrap().depth(), 0, "two seconds after the load stopped");
    let start = now();
    client.complete(ask("after", 0)).await.unwrap();
    assert!(start.elapsed().as_secs_f64() < 3.0 * SERVICE, "{:?}", start.elapsed());
}

fn overloaded_client() -> LlmClient {
    let server = SimulatedProvider::builder("server")
        .time_to_first_token(Distribution::log_normal(SERVICE, 0.01))
        .capacity(PLACES)
        .build()
        .unwrap();
    let limits = EndpointLimits::new().concurrency(PLACES as u32);
    let queue = RequestQueue::builder().max_depth(2_000).max_depth_per_tenant(2_000);
    LlmClient::builder()
        .endpoint(Endpoint::new(server).limits(limits))
        .queue(queue.build().unwrap())
        .build()
        .unwrap()
}

/// An open loop: calls arrive whether or not others have been answered. How all of them ended, and how
/// many were answered before the load stopped.
async fn flood(client: &LlmClient, length: Duration) -> (Tally, u64) {
    let (rng, start, tally) = (Rng::from_seed(1), now(), Tally::default());
    let (mut calls, mut at) = (JoinSet::new(), start);
    for number in 0.. {
        at += Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / (CAPACITY * TIMES));
        if at > start + length {
            break;
        }
        if at > now() {
            sleep_until(at).await;
        }
        let (client, tally) = (client.clone(), tally.clone());
        calls.spawn(async move {
            let answer = client.complete(ask("t", number).deadline(after(at, DEADLINE))).await;
            tally.note(&answer, at);
        });
        while calls.try_join_next().is_some() {}
    }
    let in_time = tally.answered();
    while calls.join_next().await.is_some() {}
    (tally, in_time)
}

fn ask(tenant: &str, number: u64) -> Call {
    ChatRequest::new("m").user(format!("question {number}")).max_output_tokens(16).tenant(tenant)
}

/// Ten minutes of everything: answers and streams, hits and misses, callers that leave, servers that
/// fail. Memory grows by less than a mebibyte a minute after the first, threads and files not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes of real time: cargo test --release --features test-util --test endurance -- --ignored soak"]
async fn soak() {
    let (client, length) = (Arc::new(soaked_client()), seconds(600));
    let (start, tally) = (now(), Tally::default());
    let end = after(start, length);
    let mut users = JoinSet::new();
    for user in 0..64 {
        users.spawn(use_until(end, Arc::clone(&client), Rng::from_seed(user), tally.clone()));
    }
    sleep_until(after(start, length / 5)).await;
    let warm = Process::now();
    while users.join_next().await.is_some() {}
    let over = Process::now();

    let minutes = (length * 4 / 5).as_secs_f64() / 60.0;
    let growth = (over.mebibytes() - warm.mebibytes()) / minutes;
    println!(
        "endurance soak: {length:?}, {tally}, memory {:.1} -> {:.1} MiB ({growth:.2} MiB a minute), \
         threads {} -> {}, files {} -> {}",
        warm.mebibytes(),
        over.mebibytes(),
        warm.threads,
        over.threads,
        warm.files,
        over.files,
    );
    assert!(growth < 1.0, "{growth} MiB a minute");
    assert_eq!((warm.threads, warm.files), (over.threads, over.files));
    assert_eq!(client.running(), 0);
}

fn soaked_client() -> LlmClient {
    let always = Duration::ZERO..Duration::MAX;
    let mut builder = LlmClient::builder();
    for number in 0..4 {
        let server = SimulatedProvider::builder(format!("server {number}"))
            .seed(number)
            .time_to_first_token(Distribution::log_normal(0.02, 0.8))
            .tokens_per_second(Distribution::uniform(500.0, 3_000.0))
            .output_tokens(Distribution::log_normal(30.0, 0.8))
            .limits(ServerLimits::new().requests_per_minute(30_000))
            .fault(Fault::ErrorRate { kind: ErrorKind::Server, p: 0.02 }, always.clone())
            .fault(Fault::CutStream { p: 0.02 }, always.clone());
        builder = builder.endpoint(Endpoint::new(server.build().unwrap()));
    }
    let limits = Limits::new().tokens_per_minute(100_000_000).concurrency(64);
    builder
        .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
        .queue(RequestQueue::builder().build().unwrap())
        .cache(SemanticCache::builder().max_bytes(16 << 20).build().unwrap())
        .build()
        .unwrap()
}

/// A user who asks one thing after the other, old and new, and does not always wait for the answer.
async fn use_until(end: Instant, client: Arc<LlmClient>, rng: Rng, tally: Tally) {
    while now() < end {
        let tenant = format!("tenant {}", rng.below(500));
        let call = ask(&tenant, rng.below(if rng.below(2) == 0 { 1_000 } else { u64::MAX }))
            .priority(if rng.below(4) == 0 { Priority::Batch } else { Priority::Normal })
            .deadline_in(Duration::from_secs(20));
        let polls = if rng.below(8) == 0 { rng.below(6) as usize } else { usize::MAX };
        let begun = now();
        if rng.below(2) == 0 {
            if let Some(answer) = drop_after_polls(client.complete(call), polls).await {
                tally.note(&answer, begun);
            }
        } else if let Ok(mut stream) = client.stream(call).await {
            let most = if polls == usize::MAX { usize::MAX } else { polls };
            let mut chunks = 0;
            while chunks < most && stream.next().await.is_some() {
                chunks += 1;
            }
        }
    }
}
