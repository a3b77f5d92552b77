//! What the cache keeps when it is full, against caches for anything: least recently used, S3-FIFO's
//! relative in quick_cache, and W-TinyLFU in moka. All get the same questions in the same order.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use evenkeel::cache::{Lookup, SemanticCache};
use evenkeel::rng::Rng;
use evenkeel::{CallOptions, ChatRequest, ChatResponse};

use super::{Goal, Row};

/// In points of the hit ratio: ours less the best of the others', on the trace where that is least.
pub(crate) const ROWS: &[Row] =
    &[Row { name: "cache_hit_ratio", goal: Goal::AtLeast(-2.0), run: |_| ours_less_best() }];

/// How steeply the popularity of questions falls, and how many of them the cache has room for.
const TRACES: [(f64, usize); 6] =
    [(0.7, 200), (0.7, 2_000), (0.9, 200), (0.9, 2_000), (1.1, 200), (1.1, 2_000)];

const QUESTIONS: usize = 20_000;
const ASKED: usize = 200_000;

fn ours_less_best() -> f64 {
    let points = TRACES.map(|(exponent, room)| {
        let trace = zipf(exponent);
        let best = [lru(&trace, room), quick_cache(&trace, room), moka(&trace, room)];
        100.0 * (ours(&trace, room) - best.into_iter().fold(0.0, f64::max))
    });
    points.into_iter().fold(f64::INFINITY, f64::min)
}

/// Questions by their rank, the most popular one 0.
fn zipf(exponent: f64) -> Vec<u32> {
    let mut sum = 0.0;
    let weights = (1..=QUESTIONS).map(|rank| {
        sum += (rank as f64).powf(-exponent);
        sum
    });
    let upto: Vec<f64> = weights.collect();
    let rng = Rng::from_seed(7);
    let draw = |drawn: f64| upto.partition_point(|&weight| weight < drawn) as u32;
    (0..ASKED).map(|_| draw(rng.unit() * sum)).collect()
}

/// The part of a trace for which `asked` says that it was there.
fn hit_ratio(trace: &[u32], mut asked: impl FnMut(u32) -> bool) -> f64 {
    let hits = trace.iter().filter(|&&question| asked(question)).count();
    hits as f64 / trace.len() as f64
}

fn ours(trace: &[u32], room: usize) -> f64 {
    let cache = SemanticCache::builder().max_entries(room).build().expect("room for some");
    let options = CallOptions::new();
    hit_ratio(trace, |question| {
        let request = ChatRequest::new("model").user(question.to_string());
        match at_once(cache.lookup(&request, &options)) {
            Lookup::Miss(ticket) => {
                let kept = cache.store(ticket, ChatResponse::text_only("an answer"));
                kept.expect("such answers are kept");
                false
            }
            _ => true,
        }
    })
}

fn lru(trace: &[u32], room: usize) -> f64 {
    let mut cache = lru::LruCache::new(NonZeroUsize::new(room).expect("room for some"));
    hit_ratio(trace, |question| {
        let there = cache.get(&question).is_some();
        if !there {
            cache.put(question, ());
        }
        there
    })
}

fn quick_cache(trace: &[u32], room: usize) -> f64 {
    let mut cache = quick_cache::unsync::Cache::new(room);
    hit_ratio(trace, |question| {
        let there = cache.get(&question).is_some();
        if !there {
            cache.insert(question, ());
        }
        there
    })
}

fn moka(trace: &[u32], room: usize) -> f64 {
    let cache = moka::sync::Cache::new(room as u64);
    hit_ratio(trace, |question| {
        let there = cache.get(&question).is_some();
        if !there {
            cache.insert(question, ());
        }
        // It puts its housekeeping off, and may hold more than it should meanwhile.
        cache.run_pending_tasks();
        there
    })
}

/// What a future gives that has nothing to wait for.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}
