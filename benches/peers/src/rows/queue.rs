//! Passing a queue, against tokio's semaphore, which is first come first served and knows neither
//! tenants nor deadlines.
//!
//! A *hand-over* is a waiter's whole way: it is spawned, lines up, is woken by the one before it, and
//! frees its place for the next.

use std::cell::RefCell;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::queue::{Gate, Passage, Place, RequestQueue, Slot};
use evenkeel::time::{Instant, now};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::{Goal, Row};
use crate::measure::{self, Effort};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "queue_enter", goal: Goal::AtMost(2.0), run: enter },
    Row { name: "queue_enter_now", goal: Goal::AtMost(2.0), run: enter_now },
    Row { name: "queue_handover_100", goal: Goal::AtMost(1.5), run: |effort| chain(100, effort) },
    Row {
        name: "queue_handover_10k",
        goal: Goal::AtMost(1.5),
        run: |effort| chain(10_000, effort),
    },
    Row { name: "queue_handover", goal: Goal::AtMost(1.5), run: |_| worse_chain() },
    // The logarithm of ten thousand over that of ten.
    Row { name: "queue_tenants", goal: Goal::AtMost(4.0), run: many_tenants_over_few },
];

thread_local! {
    /// The chains measured so far: their worse one is a row of its own.
    static CHAINS: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// One at a time, at the least cost there is: what is measured is in front of it.
struct Single(&'static AtomicBool);

struct Pass(&'static AtomicBool);

impl Single {
    /// Leaks a byte.
    fn new() -> Arc<Self> {
        Arc::new(Self(Box::leak(Box::new(AtomicBool::new(true)))))
    }
}

impl Gate for Single {
    type Demand = ();
    type Pass = Pass;
    type Never = ();

    fn try_pass(&self, (): &(), _: Instant) -> Passage<Pass, ()> {
        match self.0.compare_exchange(true, false, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Passage::Pass(Pass(self.0)),
            Err(_) => Passage::NotBefore(None),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How many times as long as a permit taken and given back it takes to pass and to leave.
fn enter(effort: Effort) -> f64 {
    let (queue, gate) = (queue(), Single::new());
    let place = Place::new(now() + Duration::from_secs(3600)).tenant("tenant");
    let ours = move || {
        let passed = at_once(black_box(&queue).acquire(&gate, (), place.clone()));
        leave(passed.expect("nobody is in front"));
    };
    measure::ratio(effort, ours, permit())
}

/// The same told the time, as by a caller that knows it already. A semaphore reads no clock.
fn enter_now(effort: Effort) -> f64 {
    let (queue, gate, now) = (queue(), Single::new(), now());
    let place = Place::new(now + Duration::from_secs(3600)).tenant("tenant");
    let ours = move || {
        let passed = at_once(black_box(&queue).acquire_at(&gate, (), place.clone(), now));
        leave(passed.expect("nobody is in front"));
    };
    measure::ratio(effort, ours, permit())
}

fn leave((slot, pass): (Slot, Pass)) {
    drop(black_box(pass));
    drop(slot);
}

/// A slot owns what it frees, and so does their owned permit.
fn permit() -> impl FnMut() {
    let semaphore = Arc::new(Semaphore::new(1));
    move || drop(black_box(at_once(Arc::clone(black_box(&semaphore)).acquire_owned())))
}

/// How many times as long a hand-over takes as one of the semaphore's, `waiters` in line.
fn chain(waiters: usize, effort: Effort) -> f64 {
    let ratio = measure::ratio(effort, our_chain(waiters, 1), their_chain(waiters));
    CHAINS.with_borrow_mut(|chains| chains.push(ratio));
    ratio
}

fn worse_chain() -> f64 {
    CHAINS.with_borrow(|chains| chains.iter().copied().fold(f64::NAN, f64::max))
}

/// How many times as long a hand-over takes among ten thousand tenants as among ten.
fn many_tenants_over_few(effort: Effort) -> f64 {
    measure::ratio(effort, our_chain(10_000, 10_000), our_chain(10_000, 10))
}

fn their_chain(waiters: usize) -> impl FnMut() {
    let runtime = runtime();
    move || {
        let semaphore = Arc::new(Semaphore::new(1));
        runtime.block_on(async {
            let first = semaphore.acquire().await.expect("it is open");
            let line = (0..waiters).map(|_| {
                let semaphore = Arc::clone(&semaphore);
                runtime.spawn(async move {
                    drop(black_box(semaphore.acquire().await.expect("it is open")));
                })
            });
            let line: Vec<_> = line.collect();
            tokio::task::yield_now().await;
            drop(first);
            for waiter in line {
                waiter.await.expect("nothing panics");
            }
        });
    }
}

fn our_chain(waiters: usize, tenants: usize) -> impl FnMut() {
    let runtime = runtime();
    let names: Vec<_> = (0..tenants).map(|tenant| TenantId::new(tenant.to_string())).collect();
    move || {
        let (queue, gate) = (queue(), Single::new());
        let place = Place::new(now() + Duration::from_secs(3600)).cost(100);
        runtime.block_on(async {
            let first = queue.acquire(&gate, (), place.clone()).await;
            let (slot, pass) = first.expect("nobody is in front");
            let line = (0..waiters).map(|waiter| {
                let (queue, gate) = (queue.clone(), Arc::clone(&gate));
                let place = place.clone().tenant(names[waiter % names.len()].clone());
                runtime.spawn(async move {
                    let passed = queue.acquire(&gate, (), place).await;
                    let (slot, pass) = passed.expect("there is time");
                    drop(black_box(pass));
                    drop(slot);
                })
            });
            let line: Vec<_> = line.collect();
            tokio::task::yield_now().await;
            drop(pass);
            drop(slot);
            for waiter in line {
                waiter.await.expect("nothing panics");
            }
        });
    }
}

fn queue() -> RequestQueue {
    RequestQueue::builder().max_depth(1_000_000).build().expect("a depth above zero")
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// What a future gives that has nothing to wait for.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}
