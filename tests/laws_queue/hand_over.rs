//! What is freed reaches whoever's turn it is, whatever the others do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use evenkeel::Priority;
use evenkeel::queue::{Passage, Refused};
use evenkeel::time::now;

use crate::gates::{Caller, MILLI, Places, SECOND, caller, gate, pass, place, queue, within};

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_claims_goes_to_the_next_within_a_second() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let _stuck = caller(&queue, &gate, place()).waiting();
    let next = tokio::spawn({
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move { crate::gates::acquire(&queue, &gate, 1, place()).await.map(|_| now()) }
    });
    pass(MILLI).await;
    let freed = now();
    drop(running);
    let passed = next.await.unwrap().unwrap();
    assert!(passed >= freed + SECOND && passed <= freed + SECOND + 60 * MILLI);
}

/// Those who look after the timer are not those who were granted something, and nothing else
/// happens that would wake them.
#[tokio::test(start_paused = true)]
async fn whoever_holds_the_timer_learns_of_a_grant_to_another_class() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let batch = || {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        let place = place().priority(Priority::Batch);
        tokio::spawn(
            async move { crate::gates::acquire(&queue, &gate, 1, place).await.map(|_| now()) },
        )
    };
    let waiting = [batch(), batch(), batch()];
    pass(MILLI).await;
    let _stuck = caller(&queue, &gate, place().priority(Priority::Interactive)).waiting();
    pass(MILLI).await;
    let freed = now();
    drop(running);
    for passed in waiting {
        assert!(passed.await.unwrap().unwrap() <= freed + SECOND + 60 * MILLI);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_missed_its_grant_is_served_when_it_shows_up() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = caller(&queue, &gate, place()).done().unwrap();
    let mut late = caller(&queue, &gate, place()).waiting();
    drop(running);
    pass(2 * SECOND).await;
    // Somebody else comes, and with it the grant is taken back and given to the other.
    let mut other = caller(&queue, &gate, place());
    drop(other.done().unwrap());
    assert!(late.poll().is_pending(), "it has shown up, and is woken with what it gets");
    assert!(late.done().is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_the_holder_of_the_timer_is_dropped_another_has_it() {
    let opens = now() + 10 * SECOND;
    let (queue, gate) = (
        queue(|queue| queue),
        gate(move |_, now| match now < opens {
            true => Passage::NotBefore(Some(opens)),
            false => Passage::Pass(()),
        }),
    );
    let wait = || {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move { queue.acquire(&gate, 1, place()).await.map(|_| now()) }
    };
    let mut tasks: Vec<_> = (0..5).map(|_| tokio::spawn(wait())).collect();
    pass(SECOND).await;
    let last = tasks.remove(2);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(last.await.unwrap().unwrap() <= opens + 60 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn when_the_holder_of_the_timer_is_not_polled_the_backup_rings() {
    let opens = now() + 10 * SECOND;
    let (queue, gate) = (
        queue(|queue| queue),
        gate(move |_, now| match now < opens {
            true => Passage::NotBefore(Some(opens)),
            false => Passage::Pass(()),
        }),
    );
    let stuck = |queue: &evenkeel::RequestQueue| {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        Caller::new(async move { queue.acquire(&gate, 1, place()).await.is_ok() }).waiting()
    };
    let _stuck = stuck(&queue);
    let awake = tokio::spawn({
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move { queue.acquire(&gate, 1, place()).await.map(|_| now()) }
    });
    // One passes at first: the stuck one is granted it, and the other has it a second later.
    assert!(awake.await.unwrap().unwrap() <= opens + SECOND + 200 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_panics_does_so_at_the_call_it_was_asked_for() {
    let broken = Arc::new(AtomicBool::new(false));
    let queue = queue(|queue| queue);
    let gate = {
        let broken = Arc::clone(&broken);
        gate(move |demand, _| match demand {
            0 => Passage::Pass(()),
            _ if !broken.load(Ordering::SeqCst) => Passage::NotBefore(None),
            1 => panic!("the gate is broken"),
            _ => Passage::Pass(()),
        })
    };
    let call = |demand| {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        Caller::new(
            async move { queue.acquire(&gate, demand, place()).await.map(|(slot, ())| slot) },
        )
    };
    let running = call(0).done().unwrap();
    let (mut first, mut second) = (call(1).waiting(), call(2).waiting());
    broken.store(true, Ordering::SeqCst);
    drop(running);
    assert!(second.done().is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| first.poll().is_ready())).is_err());
    drop((first, second));
    assert_eq!((queue.stats().depth, queue.stats().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_reopens_the_queue_when_it_is_asked_is_not_asked_for_ever() {
    let queue = queue(|queue| queue);
    let asked = Arc::new(AtomicUsize::new(0));
    let gate = {
        let (queue, asked) = (queue.clone(), Arc::clone(&asked));
        gate(move |_, _| {
            asked.fetch_add(1, Ordering::SeqCst);
            queue.reopen();
            Passage::NotBefore(None)
        })
    };
    let refused = queue.acquire(&gate, 1, within(SECOND)).await.map(|_| ());
    assert!(matches!(refused, Err(Refused::TimedOut { .. })), "{refused:?}");
    assert!(asked.load(Ordering::SeqCst) < 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_opens_now_and_refuses_is_asked_again_and_not_all_the_time() {
    let (start, queue) = (now(), queue(|queue| queue));
    let asked = Arc::new(AtomicUsize::new(0));
    let gate = {
        let asked = Arc::clone(&asked);
        gate(move |_, now| {
            asked.fetch_add(1, Ordering::SeqCst);
            match now < start + SECOND {
                true => Passage::NotBefore(Some(start)),
                false => Passage::Pass(()),
            }
        })
    };
    drop(queue.acquire(&gate, 1, place()).await.unwrap());
    assert!(now() <= start + SECOND + 60 * MILLI, "after {:?}", now() - start);
    assert!(asked.load(Ordering::SeqCst) <= 1_100);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_fit_is_passed_by_those_who_do_and_not_for_ever() {
    let (queue, gate) = (queue(|queue| queue), Places::new(2));
    let call = |places: usize| {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        Caller::new(async move { crate::gates::acquire(&queue, &gate, places, place()).await })
    };
    let (one, other) = (call(1).done().unwrap(), call(1).done().unwrap());
    let mut large = call(2).waiting();
    let small = |name: &'static str| caller(&queue, &gate, place().tenant(name));
    let mut first = small("a").waiting();
    drop(one);
    let first = first.done().unwrap();
    pass(3 * SECOND).await;
    let mut second = small("b").waiting();
    drop(first);
    assert!(second.poll().is_pending(), "the large one has been passed for long enough");
    drop(other);
    assert!(large.done().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_small_call_is_not_refused_for_a_window_that_is_closed_for_large_ones() {
    let opens = now() + 100 * SECOND;
    let queue = queue(|queue| queue);
    let gate = gate(move |demand, now| match demand < 10 || now >= opens {
        true => Passage::Pass(()),
        false => Passage::NotBefore(Some(opens)),
    });
    let wait = |demand, tenant: &'static str| {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        let place = within(30 * SECOND).tenant(tenant);
        Caller::new(async move { queue.acquire(&gate, demand, place).await.map(|_| ()) })
    };
    let mut hopeless = wait(10, "large");
    assert!(matches!(hopeless.done(), Err(Refused::WouldMissDeadline { .. })));
    assert!(wait(1, "small").done().is_ok());
}

/// Two names that are bound together are dropped in the other order.
#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dropped_before_its_pass_keeps_nobody_waiting() {
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let (taken, slot) = caller(&queue, &gate, place()).done().unwrap();
    let next = tokio::spawn({
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        async move { crate::gates::acquire(&queue, &gate, 1, place()).await.map(|_| now()) }
    });
    pass(MILLI).await;
    let freed = now();
    drop(slot);
    drop(taken);
    assert!(next.await.unwrap().unwrap() <= freed + 3 * MILLI);
}
