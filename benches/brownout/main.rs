//! A brown-out, with and without evenkeel: the data and the drawing of the README's picture.
//!
//! ```text
//! cargo bench --bench brownout --features test-util                        # prints the data
//! cargo bench --bench brownout --features test-util -- --draw FILE.svg     # and draws them
//! ```
//!
//! Three simulated servers on a paused clock; one of them answers twelve times as slowly and fails a
//! fifth of its attempts for two minutes of five. The same arrivals meet a client as one writes it
//! around an SDK (turns, two retries elsewhere, back-off) and an `LlmClient`. The same seed gives the
//! same picture on every machine.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

mod drawing;

use std::cell::Cell;
use std::time::Duration;

use evenkeel::balance::{Balancer, StrategyKind};
use evenkeel::rng::Rng;
use evenkeel::testing::{Distribution, Fault, SimulatedProvider};
use evenkeel::time::{after, now, sleep_until, until};
use evenkeel::{CallContext, ChatRequest, Endpoint, ErrorKind, LlmClient, Provider};
use futures::future::join_all;

const SEED: u64 = 7;
const LENGTH: Duration = Duration::from_secs(300);
const SICK: std::ops::Range<Duration> = Duration::from_secs(90)..Duration::from_secs(210);
const CALLS_PER_SECOND: f64 = 8.0;
/// Both give a call so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// One point of the drawing.
const BIN: Duration = Duration::from_secs(10);

/// How one call ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Duration,
    took: Duration,
    answered: bool,
}

/// What the calls that arrived within one bin came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) failed_pct: f64,
}

fn main() {
    let file = std::env::args().skip_while(|argument| argument != "--draw").nth(1);
    let runs = [("bare", run(bare)), ("evenkeel", run(with_evenkeel))];
    println!("client,second,median_s,p95_s,failed_pct");
    for (name, points) in &runs {
        for Point { at, median, p95, failed_pct } in points {
            println!("{name},{at},{median:.2},{p95:.2},{failed_pct:.1}");
        }
    }
    if let Some(file) = file {
        let [(_, bare), (_, evenkeel)] = &runs;
        let sick = (SICK.start.as_secs_f64(), SICK.end.as_secs_f64());
        std::fs::write(&file, drawing::draw(bare, evenkeel, sick, LENGTH.as_secs_f64())).unwrap();
        eprintln!("drawn to {file}");
    }
}

fn run<F: Future<Output = Vec<Ended>>>(
    client: impl FnOnce(Vec<SimulatedProvider>) -> F,
) -> Vec<Point> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let ended = runtime.block_on(async { client(servers()).await });
    let bins = (LENGTH.as_secs() / BIN.as_secs()) as usize;
    (0..bins).map(|bin| point(bin, &ended)).collect()
}

fn point(bin: usize, ended: &[Ended]) -> Point {
    let from = BIN * bin as u32;
    let within = |it: &&Ended| (from..from + BIN).contains(&it.at);
    let all: Vec<_> = ended.iter().filter(within).collect();
    let mut took: Vec<_> = all.iter().map(|it| it.took.as_secs_f64()).collect();
    took.sort_by(f64::total_cmp);
    let quantile = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let failed = all.iter().filter(|it| !it.answered).count();
    Point {
        at: from.as_secs_f64(),
        median: quantile(0.5),
        p95: quantile(0.95),
        failed_pct: 100.0 * failed as f64 / all.len() as f64,
    }
}

fn servers() -> Vec<SimulatedProvider> {
    let server = |number: u64| {
        let server = SimulatedProvider::builder(format!("server {number}"))
            .seed(SEED + number)
            .time_to_first_token(Distribution::log_normal(0.4, 0.4))
            .tokens_per_second(Distribution::uniform(40.0, 80.0))
            .output_tokens(Distribution::log_normal(60.0, 0.4));
        let server = match number {
            0 => server
                .fault(Fault::Slow { factor: 12.0 }, SICK)
                .fault(Fault::ErrorRate { kind: ErrorKind::Server, p: 0.2 }, SICK),
            _ => server,
        };
        server.build().unwrap()
    };
    (0..3).map(server).collect()
}

/// Calls arrive whether or not the ones before were answered.
async fn arrive<F: Future<Output = bool>>(call: impl Fn(usize) -> F) -> Vec<Ended> {
    let (rng, start) = (Rng::from_seed(SEED), now());
    let mut offset = Duration::ZERO;
    let mut calls = Vec::new();
    while offset < LENGTH {
        let (at, answer) = (offset, call(calls.len()));
        calls.push(async move {
            sleep_until(after(start, at)).await;
            let answered = until(after(now(), PATIENCE), answer).await.unwrap_or(false);
            Ended { at, took: start.elapsed() - at, answered }
        });
        offset += Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / CALLS_PER_SECOND);
    }
    join_all(calls).await
}

fn question() -> ChatRequest {
    ChatRequest::new("m").user("What is a brown-out?")
}

/// In turns, with two retries, each at the next server after a pause.
async fn bare(servers: Vec<SimulatedProvider>) -> Vec<Ended> {
    let (next, servers) = (Cell::new(0), &servers);
    arrive(|_| {
        let next = &next;
        async move {
            for attempt in 0..3u32 {
                let server = &servers[next.get() % servers.len()];
                next.set(next.get() + 1);
                let cx = CallContext::new(after(now(), PATIENCE));
                if server.complete(&question(), &cx).await.is_ok() {
                    return true;
                }
                sleep_until(after(now(), Duration::from_millis(500) * 2u32.pow(attempt))).await;
            }
            false
        }
    })
    .await
}

async fn with_evenkeel(servers: Vec<SimulatedProvider>) -> Vec<Ended> {
    let mut balancer = Balancer::builder().strategy(StrategyKind::Adaptive).seed(SEED);
    for server in servers {
        balancer = balancer.endpoint(Endpoint::new(server));
    }
    let client = LlmClient::builder().balancer(balancer.build().unwrap()).seed(SEED);
    let client = client.build().unwrap();
    let client = &client;
    arrive(|_| async move { client.complete(question()).await.is_ok() }).await
}
