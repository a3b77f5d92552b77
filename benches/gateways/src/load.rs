//! Callers that each ask again as soon as they are answered.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::candidate::Candidate;
use crate::clock;
use crate::figures::quantile;
use crate::http::{Connection, post};
use crate::question::{KEY, Questions};

/// How long a server may take to answer for the first time: one of them needs most of a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// What one candidate did under one load.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Requests that were answered.
    pub requests: u64,
    /// CPU time of the candidate a request, in microseconds.
    pub cpu: f64,
    /// The median time to the whole answer, in microseconds.
    pub p50: f64,
    /// What one answer in a hundred exceeds.
    pub p99: f64,
}

/// A runtime of one thread, as all callers here have.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime needs no more than files")
}

/// Waits until `candidate` answers.
///
/// # Panics
/// When it does not in the end, with what it said last.
pub fn await_first_answer(candidate: &Candidate) {
    let end = Instant::now() + PATIENCE;
    let request = request(candidate, &mut Questions::new());
    runtime().block_on(async {
        while let Err(error) = Connection::to(candidate.port).ask(&request).await {
            assert!(Instant::now() < end, "{} does not answer: {error}", candidate.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

/// Has `connections` callers ask `candidate` for as long as `time`.
///
/// # Panics
/// When a request is not answered with 200: a figure of failures is none.
pub fn run(candidate: &Candidate, connections: u32, time: Duration) -> Outcome {
    let before = clock::of_tree(candidate.process);
    let mut latencies = runtime().block_on(all_callers(candidate, connections, time));
    let cpu = clock::of_tree(candidate.process) - before;
    latencies.sort_by(f64::total_cmp);
    Outcome {
        requests: latencies.len() as u64,
        cpu: cpu.as_secs_f64() * 1e6 / latencies.len() as f64,
        p50: quantile(&latencies, 0.5),
        p99: quantile(&latencies, 0.99),
    }
}

async fn all_callers(candidate: &Candidate, connections: u32, time: Duration) -> Vec<f64> {
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        callers.spawn(caller(candidate.clone(), end));
    }
    callers.join_all().await.into_iter().flatten().collect()
}

/// The times to its answers, in microseconds.
async fn caller(candidate: Candidate, end: Instant) -> Vec<f64> {
    let mut connection = Connection::to(candidate.port);
    let mut questions = Questions::new();
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let request = request(&candidate, &mut questions);
        let start = Instant::now();
        if let Err(error) = connection.ask(&request).await {
            panic!("{} failed: {error}", candidate.name);
        }
        latencies.push(start.elapsed().as_secs_f64() * 1e6);
    }
    latencies
}

fn request(candidate: &Candidate, questions: &mut Questions) -> Vec<u8> {
    let headers = format!("authorization: Bearer {KEY}\r\n{}", candidate.headers);
    post("/v1/chat/completions", &headers, &questions.body())
}
