//! Limits on the calls that run at once.

use evenkeel::queue::AdaptivePolicy;

use crate::gates::{MILLI, Places, SECOND, caller, pass, place, queue};

fn at_first(initial: usize, max: usize) -> AdaptivePolicy {
    let mut policy = AdaptivePolicy::default();
    (policy.initial, policy.max) = (initial, max);
    policy
}

#[tokio::test(start_paused = true)]
async fn what_is_granted_and_not_claimed_yet_counts_as_running() {
    let queue = queue(|queue| queue.adaptive(at_first(2, 2)));
    let gate = Places::new(100);
    let running = [caller(&queue, &gate, place()).done(), caller(&queue, &gate, place()).done()];
    let mut waiting: Vec<_> = (0..10).map(|_| caller(&queue, &gate, place()).waiting()).collect();
    drop(running);
    let passed: Vec<_> = waiting
        .iter_mut()
        .filter_map(|call| match call.poll() {
            std::task::Poll::Ready(passed) => Some(passed.unwrap()),
            std::task::Poll::Pending => None,
        })
        .collect();
    assert_eq!((passed.len(), queue.stats().running), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn when_the_limit_rises_those_who_wait_pass() {
    let queue = queue(|queue| queue.adaptive(at_first(4, 100)));
    let gate = Places::new(100);
    let running: Vec<_> = (0..4).map(|_| caller(&queue, &gate, place()).done().unwrap()).collect();
    let mut waiting = caller(&queue, &gate, place()).waiting();
    for _ in 0..200 {
        running[0].1.first_content(100 * MILLI);
        if queue.stats().concurrency_limit > Some(4) {
            break;
        }
        pass(50 * MILLI).await;
    }
    assert!(waiting.done().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_gate_refuses_takes_no_room_from_others() {
    let queue = queue(|queue| queue.adaptive(at_first(1, 1)));
    let gate = Places::new(0);
    let mut refused = caller(&queue, &gate, crate::gates::within(SECOND)).waiting();
    assert_eq!(queue.stats().running, 0);
    pass(2 * SECOND).await;
    assert!(refused.done().is_err());
    assert!(caller(&queue, &Places::new(1), place()).done().is_ok());
}
