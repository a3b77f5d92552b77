//! How many may wait, and for how long.

use std::time::Duration;

use evenkeel::queue::{Refused, Scope};
use evenkeel::time::now;

use crate::gates::{
    Caller, MILLI, Passed, Places, SECOND, acquire, caller, pass, place, queue, within,
};

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_its_deadline_even_if_nobody_reopens() {
    let (queue, gate) = (queue(|queue| queue), Places::new(0));
    let start = now();
    let refused = acquire(&queue, &gate, 1, within(5 * SECOND)).await.map(|_| ());
    assert_eq!(refused, Err(Refused::TimedOut { waited: 5 * SECOND }));
    assert_eq!(now(), start + 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_is_refused_at_once_whether_anybody_waits_or_not() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let late = || evenkeel::queue::Place::new(now());
    let refused = |outcome: Passed| matches!(outcome, Err(Refused::TimedOut { .. }));
    assert!(refused(caller(&queue, &gate, late()).done()));
    let _running = caller(&queue, &gate, place()).done().unwrap();
    let _waiting = caller(&queue, &gate, place()).waiting();
    assert!(refused(caller(&queue, &gate, late()).done()));
}

#[tokio::test(start_paused = true)]
async fn what_is_freed_after_a_deadline_goes_to_the_next() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut late = caller(&queue, &gate, within(SECOND)).waiting();
    let mut next = caller(&queue, &gate, place()).waiting();
    pass(2 * SECOND).await;
    drop(running);
    assert!(next.done().is_ok());
    assert!(matches!(late.done(), Err(Refused::TimedOut { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_and_the_furthest_deadline_do_not_overflow() {
    let queue = queue(|queue| queue.max_wait(Duration::MAX));
    let gate = Places::new(1);
    let forever = || evenkeel::queue::Place::new(evenkeel::time::after(now(), Duration::MAX));
    let running = caller(&queue, &gate, forever().cost(u64::MAX)).done().unwrap();
    let mut next = caller(&queue, &gate, forever().cost(u64::MAX)).waiting();
    drop(running);
    next.done().unwrap().1.settle(u64::MAX);
    assert_eq!(queue.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_says_whose_bound_it_is() {
    let queue = queue(|queue| queue.max_depth(3).max_depth_per_tenant(2));
    let gate = Places::new(0);
    let wait = |tenant: &str| caller(&queue, &gate, place().tenant(tenant));
    let _waiting = [wait("a").waiting(), wait("a").waiting()];
    let full = |mut call: Caller<Passed>| call.done().map(|_| ());
    assert_eq!(full(wait("a")), Err(Refused::Full { scope: Scope::Tenant, depth: 2 }));
    let _b = wait("b").waiting();
    let _in_place_of_a = wait("c").waiting();
    assert_eq!(full(wait("c")), Err(Refused::Full { scope: Scope::Global, depth: 3 }));
}

#[tokio::test(start_paused = true)]
async fn when_full_the_tenant_most_over_its_share_loses_its_newest_waiter() {
    let queue = queue(|queue| queue.max_depth(10));
    let gate = Places::new(0);
    let wait = |tenant: &str| caller(&queue, &gate, place().tenant(tenant)).waiting();
    let mut greedy: Vec<_> = (0..8).map(|_| wait("greedy")).collect();
    let mut polite = [wait("polite"), wait("polite")];
    let _new = wait("new");
    let refused = greedy.pop().unwrap().done().map(|_| ());
    assert_eq!(refused, Err(Refused::Full { scope: Scope::Tenant, depth: 11 }));
    assert!(greedy.iter_mut().chain(&mut polite).all(|call| call.poll().is_pending()));
    assert_eq!(queue.stats().depth, 10);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_for_the_weight() {
    let queue = queue(|queue| queue.max_depth(12).weight("heavy", 100));
    let gate = Places::new(0);
    let wait = |tenant: &str| caller(&queue, &gate, place().tenant(tenant)).waiting();
    let mut heavy: Vec<_> = (0..9).map(|_| wait("heavy")).collect();
    let mut light: Vec<_> = (0..3).map(|_| wait("light")).collect();
    // It has three times as many, and not a tenth of what its weight allows.
    heavy.push(wait("heavy"));
    assert!(matches!(light.pop().unwrap().done(), Err(Refused::Full { .. })));
    assert!(heavy.iter_mut().all(|call| call.poll().is_pending()));
}

#[tokio::test(start_paused = true)]
async fn the_newest_is_lost_whichever_class_and_lane_it_is_in() {
    let queue = queue(|queue| queue.max_depth(4));
    let gate = Places::new(0);
    let wait = |place| caller(&queue, &gate, place).waiting();
    let greedy = || place().tenant("greedy");
    let mut old = [
        wait(greedy().priority(evenkeel::Priority::Batch)),
        wait(greedy().lane("other")),
        wait(greedy()),
    ];
    let mut newest = wait(greedy().lane("third").priority(evenkeel::Priority::Interactive));
    let _new = wait(place().tenant("new"));
    assert!(matches!(newest.done(), Err(Refused::Full { .. })));
    assert!(old.iter_mut().all(|call| call.poll().is_pending()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_takes_too_long_is_refused_at_once() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    // A call takes a second: ten seconds in which somebody waits show it.
    for _ in 0..10 {
        let running = caller(&queue, &gate, place()).done().unwrap();
        let mut next = caller(&queue, &gate, place().cost(100)).waiting();
        pass(SECOND).await;
        drop(running);
        drop(next.done().unwrap());
    }
    let _running = caller(&queue, &gate, place()).done().unwrap();
    let _ahead: Vec<_> =
        (0..10).map(|_| caller(&queue, &gate, place().cost(100)).waiting()).collect();
    let refused = caller(&queue, &gate, within(8 * SECOND).cost(100)).done().map(|_| ());
    let Err(Refused::WouldMissDeadline { eta }) = refused else { panic!("{refused:?}") };
    assert!((9 * SECOND..=11 * SECOND).contains(&eta), "{eta:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_hour_does_not_look_like_a_slow_gate() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    for _ in 0..5 {
        let running = caller(&queue, &gate, place()).done().unwrap();
        let mut next = caller(&queue, &gate, place().cost(100)).waiting();
        pass(100 * MILLI).await;
        drop(running);
        drop(next.done().unwrap());
        pass(3_600 * SECOND).await;
    }
    let _running = caller(&queue, &gate, place()).done().unwrap();
    let _ahead = caller(&queue, &gate, place().cost(100)).waiting();
    let _not_refused = caller(&queue, &gate, within(10 * SECOND).cost(100)).waiting();
}
