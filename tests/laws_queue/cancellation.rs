//! Dropping a call anywhere leaves nothing behind and keeps nobody waiting.

use std::sync::Arc;

use evenkeel::testing::drop_at_every_poll;

use crate::gates::{Caller, MILLI, Places, SECOND, caller, pass, place, queue, within};

#[tokio::test(start_paused = true)]
async fn depth_is_right_at_once_after_a_drop() {
    let (queue, gate) = (queue(|queue| queue), Places::new(0));
    let mut waiting: Vec<_> = (0..9).map(|_| caller(&queue, &gate, place()).waiting()).collect();
    for left in (0..9).rev() {
        drop(waiting.swap_remove(left / 2));
        assert_eq!((queue.stats().depth, queue.depth()), (left, left));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_to_a_dropped_call_goes_to_the_next() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let granted = caller(&queue, &gate, place()).waiting();
    let mut next = caller(&queue, &gate, place()).waiting();
    drop(running);
    drop(granted);
    assert!(next.done().is_ok());
    assert_eq!(queue.stats().running, 0, "and it has ended too");
}

/// Dropped after every number of polls, with a neighbour who frees and takes all the time.
#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_wherever_a_call_is_dropped() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let busy = {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        tokio::spawn(async move {
            for _ in 0..200 {
                let held = crate::gates::acquire(&queue, &gate, 1, place()).await.unwrap();
                pass(7 * MILLI).await;
                drop(held);
            }
        })
    };
    tokio::task::yield_now().await;
    for _ in 0..30 {
        let make = || async {
            let (taken, mut slot) = crate::gates::acquire(&queue, &gate, 1, place()).await.unwrap();
            pass(5 * MILLI).await;
            drop(taken);
            let _again = slot.acquire_again(&gate, gate.want(1)).await.unwrap();
            pass(MILLI).await;
        };
        drop_at_every_poll(make, |_| assert!(queue.stats().depth <= 1)).await;
    }
    busy.await.unwrap();
    assert_eq!((queue.stats().depth, queue.stats().running, gate.free()), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_million_calls_that_come_and_go_leave_nothing() {
    let (queue, gate) = (queue(|queue| queue), Places::new(0));
    let _stays = caller(&queue, &gate, place().tenant("stays")).waiting();
    let rounds = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    for round in 0..rounds {
        drop(caller(&queue, &gate, within(SECOND).tenant(format!("{round}"))).waiting());
    }
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.running, stats.top_tenants.len()), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_whole_line_at_once_leaves_nothing() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let line: Vec<Caller<_>> = (0..500).map(|_| caller(&queue, &gate, place()).waiting()).collect();
    drop(running);
    drop(line);
    assert_eq!((queue.stats().depth, queue.stats().running, gate.free()), (0, 0, 1));
    assert!(caller(&queue, &gate, place()).done().is_ok());
}
