//! A whole call, against the bare provider call that it ends in: the exact cache is asked and has
//! nothing, quota and queue let it pass, an endpoint is chosen, and the answer is stored.
//!
//! Each call asks something new, on both sides. What the cache keeps of it is the answer and a hash, and
//! it is full, so that something leaves each time.

use std::hint::black_box;
use std::sync::Arc;

use evenkeel::cache::SemanticCache;
use evenkeel::client::LlmClientBuilder;
use evenkeel::{Call, Endpoint, Limits, LlmClient, Provider, QuotaLimiter, RequestQueue, TenantId};
use tokio::runtime::{Builder, Runtime};

use super::{Goal, Row};
use crate::clock::process_cpu;
use crate::instantaneous::{Instantaneous, Question, context};
use crate::measure::{self, Effort};

/// Values are microseconds a call, at the prompt length in the name; for a thousand tasks at once, the part
/// of the bare calls of the same time that ours come to; and thousands of calls a second.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "complete_1kB_us", goal: Goal::AtMost(5.25), run: |effort| added(1_000, effort) },
    Row {
        name: "complete_100kB_us",
        goal: Goal::AtMost(30.0),
        run: |effort| added(100_000, effort),
    },
    Row { name: "complete_tasks_1000", goal: Goal::AtLeast(0.25), run: tasks },
    Row {
        name: "complete_calls_per_s",
        goal: Goal::AtLeast(300_000.0),
        run: |_| calls_per_second(),
    },
];

/// Which mechanisms a client has.
#[derive(Clone, Copy)]
pub(crate) struct Mechanisms {
    pub(crate) quota: bool,
    pub(crate) queue: bool,
    /// The exact cache, and with it the flights.
    pub(crate) cache: bool,
}

pub(crate) const ALL: Mechanisms = Mechanisms { quota: true, queue: true, cache: true };

fn added(prompt: usize, effort: Effort) -> f64 {
    measure::added(effort, bare(prompt), whole(prompt, ALL)) / 1e3
}

/// Asks a provider.
pub(crate) fn bare(prompt: usize) -> impl FnMut() {
    let (runtime, mut question) = (runtime(), Question::new(prompt));
    let (provider, cx): (Arc<dyn Provider>, _) =
        (Arc::new(Instantaneous::whole("bare")), context());
    move || {
        let request = question.next();
        drop(black_box(runtime.block_on(provider.complete(&request, &cx))));
    }
}

/// Asks a client, whose cache is full.
pub(crate) fn whole(prompt: usize, on: Mechanisms) -> impl FnMut() {
    let (runtime, client) = (runtime(), client(on));
    let (mut question, tenant) = (Question::new(prompt), TenantId::new("acme"));
    let mut ask = move || {
        let call = Call::from(question.next()).tenant(tenant.clone());
        drop(black_box(runtime.block_on(client.complete(call)).expect("somebody answers")));
    };
    // From here on something has to leave.
    (0..CACHED).for_each(|_| ask());
    ask
}

/// How many answers the cache holds.
pub(crate) const CACHED: usize = 2_000;

/// A client over three endpoints.
pub(crate) fn client(on: Mechanisms) -> LlmClient {
    let mut builder = LlmClient::builder();
    if on.quota {
        builder = builder.quota(quota());
    }
    if on.queue {
        builder = builder.queue(RequestQueue::builder().build().expect("defaults"));
    }
    if on.cache {
        builder = builder.cache(cache());
    }
    endpoints(builder).build().expect("three endpoints with weights")
}

fn endpoints(builder: LlmClientBuilder) -> LlmClientBuilder {
    builder
        .endpoint(Endpoint::new(Instantaneous::whole("a")).weight(3))
        .endpoint(Endpoint::new(Instantaneous::whole("b")))
        .endpoint(Endpoint::new(Instantaneous::whole("c")))
}

fn quota() -> QuotaLimiter {
    let limits = Limits::new().requests_per_minute(1 << 30).tokens_per_minute(1 << 40);
    QuotaLimiter::builder().per_tenant(limits).build().expect("limits above zero")
}

fn cache() -> SemanticCache {
    SemanticCache::builder().max_entries(CACHED).build().expect("room for some")
}

/// Tasks that call at once.
const TASKS: u32 = 1_000;

fn tasks(effort: Effort) -> f64 {
    measure::ratio(effort, tasks_bare(runtime()), tasks_whole(runtime(), ALL))
}

/// A thousand tasks, each of which asks a provider.
pub(crate) fn tasks_bare(runtime: Runtime) -> impl FnMut() {
    let mut questions = questions();
    let (provider, cx): (Arc<dyn Provider>, _) =
        (Arc::new(Instantaneous::whole("bare")), Arc::new(context()));
    move || {
        let tasks: Vec<_> = (questions.iter_mut())
            .map(|question| {
                let (provider, cx, request) =
                    (Arc::clone(&provider), Arc::clone(&cx), question.next());
                runtime.spawn(async move {
                    drop(black_box(provider.complete(&request, &cx).await));
                })
            })
            .collect();
        join(&runtime, tasks);
    }
}

/// A thousand tasks, each of which asks a client.
pub(crate) fn tasks_whole(runtime: Runtime, on: Mechanisms) -> impl FnMut() {
    let (mut questions, client, tenant) = (questions(), client(on), TenantId::new("acme"));
    let mut ask = move || {
        let tasks: Vec<_> = (questions.iter_mut())
            .map(|question| {
                let call = Call::from(question.next()).tenant(tenant.clone());
                let client = client.clone();
                runtime.spawn(async move {
                    drop(black_box(client.complete(call).await.expect("somebody answers")));
                })
            })
            .collect();
        join(&runtime, tasks);
    };
    (0..=CACHED / TASKS as usize).for_each(|_| ask());
    ask
}

fn questions() -> Vec<Question> {
    (0..TASKS).map(|number| Question::numbered(1_000, number)).collect()
}

fn join(runtime: &Runtime, tasks: Vec<tokio::task::JoinHandle<()>>) {
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("it does not panic");
        }
    });
}

/// How many calls two threads make in a second of their CPU time each, the tasks' making included.
pub(crate) fn calls_per_second() -> f64 {
    const THREADS: usize = 2;
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_time().build();
    let mut ask = tasks_whole(runtime.expect("a runtime"), ALL);
    let rates = (0..21).map(|_| {
        const RUNS: u32 = 50;
        let before = process_cpu();
        (0..RUNS).for_each(|_| ask());
        let seconds = (process_cpu() - before).as_secs_f64();
        f64::from(RUNS * TASKS) / seconds * THREADS as f64
    });
    measure::median(rates.collect())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
