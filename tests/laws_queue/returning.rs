//! Calls that pass more than once.

use std::sync::Arc;

use evenkeel::queue::{AdaptivePolicy, Refused};

use crate::gates::{Caller, Places, SECOND, caller, pass, place, queue, within};

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_back_goes_before_those_who_have_not_passed() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut first = caller(&queue, &gate, place().tenant("a").cost(1_000)).waiting();
    let mut other = caller(&queue, &gate, place().tenant("b")).waiting();
    drop(running);
    let (taken, mut slot) = first.done().unwrap();
    drop(taken);
    queue.reopen();
    let (other_taken, _other) = other.done().unwrap();
    let mut third = caller(&queue, &gate, place().tenant("b")).waiting();
    let gate_again = Arc::clone(&gate);
    let mut again = Caller::new(async move {
        slot.acquire_again(&gate_again, gate_again.want(1)).await.map(|taken| (taken, slot))
    })
    .waiting();
    drop(other_taken);
    drop(_other);
    assert!(third.poll().is_pending());
    drop(again.done().unwrap());
    assert!(third.done().is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_needs_no_second_room_where_calls_are_limited() {
    let policy = AdaptivePolicy::default();
    let policy = {
        let mut policy = policy;
        (policy.initial, policy.max) = (1, 1);
        policy
    };
    let (queue, gate) = (queue(|queue| queue.adaptive(policy)), Places::new(1));
    let (taken, mut slot) = caller(&queue, &gate, place()).done().unwrap();
    let _waits = caller(&queue, &gate, place()).waiting();
    drop(taken);
    let gate_again = Arc::clone(&gate);
    let mut again =
        Caller::new(
            async move { slot.acquire_again(&gate_again, gate_again.want(1)).await.is_ok() },
        );
    assert!(again.done());
}

#[tokio::test(start_paused = true)]
async fn it_does_not_lose_its_place_to_others() {
    let (queue, gate) = (queue(|queue| queue.max_depth(2)), Places::new(1));
    let (_taken, mut slot) = caller(&queue, &gate, place().tenant("greedy")).done().unwrap();
    let mut older = caller(&queue, &gate, place().tenant("greedy")).waiting();
    let gate_again = Arc::clone(&gate);
    let mut again = Caller::new(async move {
        slot.acquire_again(&gate_again, gate_again.want(1)).await.map(|_| ())
    })
    .waiting();
    let _new = caller(&queue, &gate, place().tenant("new")).waiting();
    assert!(again.poll().is_pending());
    assert!(matches!(older.done(), Err(Refused::Full { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dropped_while_it_waits_again_leaves_nothing() {
    let (queue, gate) = (queue(|queue| queue), Places::new(0));
    let open = Places::new(1);
    let (taken, mut slot) = caller(&queue, &open, place()).done().unwrap();
    let again = Caller::new(async move { slot.acquire_again(&gate, gate.want(1)).await.is_ok() });
    let again = again.waiting();
    assert_eq!((queue.stats().depth, queue.stats().running), (1, 1));
    drop((taken, again));
    assert_eq!((queue.stats().depth, queue.stats().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn it_waits_no_longer_than_the_call_has() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let (_taken, mut slot) = caller(&queue, &gate, within(5 * SECOND)).done().unwrap();
    pass(2 * SECOND).await;
    let refused = slot.acquire_again(&gate, gate.want(1)).await.map(|_| ());
    assert_eq!(refused, Err(Refused::TimedOut { waited: 3 * SECOND }));
}
