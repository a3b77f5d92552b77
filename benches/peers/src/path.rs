//! Where the time of a call goes: what each mechanism adds, by leaving it out.
//!
//! ```text
//! cargo bench --bench ratios -- --path             # prints it
//! cargo bench --bench ratios -- --path --record    # keeps it, and draws it for the guide
//! ```
//!
//! A provider that answers at once, a client over three endpoints, and every call asks something new. Times
//! are CPU time of the thread, medians over rounds in which all cases take turns.

mod drawing;
mod record;

use std::hint::black_box;
use std::time::Duration;

use evenkeel::{Call, ChatRequest, LlmClient};
use tokio::runtime::{Builder, Runtime};

use crate::alloc::{allocations_of, asked_bytes, live_bytes};
use crate::instantaneous::Question;
use crate::measure::{Effort, times};
use crate::rows::complete::{self, ALL, Mechanisms};
use crate::rows::stream;
use record::Figure;

/// Prompts in bytes.
const PROMPTS: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Streams that are open at once.
const OPEN: usize = 1_000;

/// What a client has in each case. The flights come with the cache.
const CASES: [(&str, Mechanisms); 5] = [
    ("all", ALL),
    ("without quota", Mechanisms { quota: false, ..ALL }),
    ("without queue", Mechanisms { queue: false, ..ALL }),
    ("without cache and flights", Mechanisms { cache: false, ..ALL }),
    ("balancer alone", Mechanisms { quota: false, queue: false, cache: false }),
];

pub(crate) fn run(effort: Effort, keep: bool) {
    let mut figures = Vec::new();
    PROMPTS.iter().for_each(|&prompt| calls(effort, prompt, &mut figures));
    tasks(effort, &mut figures);
    streams(effort, &mut figures);
    sizes(&mut figures);
    let rate = complete::calls_per_second();
    figures.push(Figure::new("calls a second on two threads", "all", 1_000, rate, "calls/s"));
    figures.iter().for_each(|figure| println!("{figure}"));
    if keep {
        record::keep(&figures);
    }
}

/// One call at a time: time, allocations and bytes allocated.
fn calls(effort: Effort, prompt: usize, figures: &mut Vec<Figure>) {
    let mut works: Vec<Box<dyn FnMut()>> = vec![Box::new(complete::bare(prompt))];
    works.extend(CASES.map(|(_, on)| Box::new(complete::whole(prompt, on)) as Box<dyn FnMut()>));
    let names = std::iter::once("bare provider").chain(CASES.map(|(name, _)| name));
    let taken = times(effort, &mut works);
    for ((name, work), time) in names.zip(&mut works).zip(taken) {
        let before = asked_bytes();
        // Tables that grow now and then are in it with their part.
        let allocations = allocations_of(|| (0..1_000).for_each(|_| work()));
        let bytes = (asked_bytes() - before) as f64 / 1e3;
        figures.push(Figure::new("complete", name, prompt, time, "ns"));
        figures.push(Figure::new("allocations", name, prompt, allocations as f64 / 1e3, "a call"));
        figures.push(Figure::new("bytes allocated", name, prompt, bytes, "a call"));
    }
}

/// A thousand tasks at once, a call each.
fn tasks(effort: Effort, figures: &mut Vec<Figure>) {
    let mut works: Vec<Box<dyn FnMut()>> = vec![Box::new(complete::tasks_bare(runtime()))];
    let whole = |(_, on)| Box::new(complete::tasks_whole(runtime(), on)) as Box<dyn FnMut()>;
    works.extend(CASES.map(whole));
    let names = std::iter::once("bare provider").chain(CASES.map(|(name, _)| name));
    for (name, time) in names.zip(times(effort, &mut works)) {
        figures.push(Figure::new("complete in 1000 tasks", name, 1_000, time / 1e3, "ns"));
    }
}

/// What chunks cost over the provider's own, and what comes before the first.
fn streams(effort: Effort, figures: &mut Vec<Figure>) {
    let mut chunk = |name, ns| figures.push(Figure::new("chunk over bare", name, 1_000, ns, "ns"));
    chunk("plain", stream::chunk(effort, false, 0, |builder| builder));
    chunk("idle timer", stream::chunk(effort, true, 0, |builder| builder));
    chunk("may be followed", stream::chunk(effort, true, 0, stream::cached));
    chunk("1 follower", stream::chunk(effort, true, 1, stream::cached));
    chunk("3 followers", stream::chunk(effort, true, 3, stream::cached));
    chunk("10 followers", stream::chunk(effort, true, 10, stream::cached));
    let first = stream::first(effort) * 1e3;
    figures.push(Figure::new("stream of one word over bare", "all", 1_000, first, "ns"));
}

/// What a call that has not begun takes, and a stream whose first chunk has arrived.
fn sizes(figures: &mut Vec<Figure>) {
    let client = complete::client(ALL);
    let request = || ChatRequest::new("model").user("?");
    let (whole, stream) = (client.complete(request()), client.stream(request()));
    let sizes = [("complete", size_of_val(&whole)), ("stream", size_of_val(&stream))];
    for (name, bytes) in sizes {
        figures.push(Figure::new("future", name, 0, bytes as f64, "bytes"));
    }
    for (name, on) in [CASES[0], CASES[4]] {
        let bytes = open_stream(&complete::client(on));
        figures.push(Figure::new("open stream", name, 1_000, bytes, "bytes"));
    }
}

fn open_stream(client: &LlmClient) -> f64 {
    let runtime = runtime();
    let mut questions: Vec<_> =
        (0..OPEN as u32).map(|number| Question::numbered(1_000, number)).collect();
    let mut open = |question: &mut Question| {
        let call = Call::from(question.next()).tenant("acme").deadline_in(Duration::from_secs(60));
        runtime.block_on(client.stream(call)).expect("it answers")
    };
    // What is made once, for the first call, is no stream's.
    let first: Vec<_> = questions.iter_mut().map(&mut open).collect();
    drop(black_box(first));
    let before = live_bytes();
    let streams: Vec<_> = questions.iter_mut().map(&mut open).collect();
    let bytes = (live_bytes() - before) as f64 / OPEN as f64;
    drop(black_box(streams));
    bytes
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}
