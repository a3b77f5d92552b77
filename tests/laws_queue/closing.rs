//! How a queue comes to its end.

use std::sync::Arc;

use evenkeel::queue::Refused;
use evenkeel::time::now;

use crate::gates::{MILLI, Places, SECOND, caller, pass, place, queue};

#[tokio::test(start_paused = true)]
async fn a_closed_queue_takes_nobody_and_serves_those_who_wait() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut waiting = caller(&queue, &gate, place()).waiting();
    queue.close();
    assert_eq!(caller(&queue, &gate, place()).done().map(|_| ()), Err(Refused::Closed));
    drop(running);
    drop(waiting.done().unwrap());
    assert_eq!(caller(&queue, &gate, place()).done().map(|_| ()), Err(Refused::Closed));
}

#[tokio::test(start_paused = true)]
async fn everything_ends_within_the_limit_of_a_drain() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let start = now();
    let _running = caller(&queue, &gate, place()).done().unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (queue, gate) = (queue.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let passed = crate::gates::acquire(&queue, &gate, 1, place()).await.map(|_| ());
                (passed, now())
            })
        })
        .collect();
    pass(MILLI).await;
    assert_eq!(queue.drain(start + 5 * SECOND).await, 20);
    for call in calls {
        assert_eq!(call.await.unwrap(), (Err(Refused::Closed), start + 5 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_counts_only_those_it_refused() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut granted = caller(&queue, &gate, place()).waiting();
    let mut refused = caller(&queue, &gate, place()).waiting();
    drop(running);
    assert_eq!(queue.drain(now() + 500 * MILLI).await, 1);
    assert!(granted.done().is_ok());
    assert_eq!(refused.done().map(|_| ()), Err(Refused::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_runs_may_wait_again_until_the_drain_is_over_and_not_after() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let (taken, mut slot) = caller(&queue, &gate, place()).done().unwrap();
    let end = now() + 5 * SECOND;
    assert_eq!(queue.drain(end).await, 0);
    let mut refused = Box::pin(slot.acquire_again(&gate, gate.want(1)));
    assert_eq!(refused.as_mut().await.map(|_| ()), Err(Refused::Closed));
    assert_eq!(now(), end);
    drop(refused);
    assert_eq!(slot.acquire_again(&gate, gate.want(1)).await.map(|_| ()), Err(Refused::Closed));
    drop(taken);
    assert!(slot.acquire_again(&gate, gate.want(1)).await.is_ok(), "what is free needs no wait");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_claims_does_not_outlive_the_drain() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut stuck = caller(&queue, &gate, place()).waiting();
    drop(running);
    queue.drain(now() + 100 * MILLI).await;
    pass(2 * SECOND).await;
    queue.reopen();
    assert_eq!(stuck.done().map(|_| ()), Err(Refused::Closed));
}

#[tokio::test(start_paused = true)]
async fn drained_is_when_nobody_waits_and_nobody_runs() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let next = tokio::spawn({
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move {
            let _held = crate::gates::acquire(&queue, &gate, 1, place()).await.unwrap();
            pass(3 * SECOND).await;
        }
    });
    pass(SECOND).await;
    let start = now();
    drop(running);
    queue.drained().await;
    assert_eq!(now(), start + 3 * SECOND);
    next.await.unwrap();
}
