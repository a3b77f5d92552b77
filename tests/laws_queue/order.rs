//! Who goes next.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::Priority;
use evenkeel::queue::Place;
use evenkeel::time::now;
use tokio::task::LocalSet;

use crate::gates::{Log, MILLI, Places, SECOND, pass, place, queue, spawn, within};

/// Lines all up behind a call that runs for a moment, and says in which order they passed.
async fn order_of(places: Vec<Place>) -> Vec<String> {
    let (queue, gate, log) = (queue(|queue| queue), Places::new(1), Log::default());
    let local = LocalSet::new();
    let behind = async {
        spawn(&queue, &gate, place().tenant("-"), MILLI, &Log::default());
        tokio::task::yield_now().await;
        for place in places {
            spawn(&queue, &gate, place, MILLI, &log);
            tokio::task::yield_now().await;
        }
        pass(40 * SECOND).await;
    };
    local.run_until(behind).await;
    log.names()
}

#[tokio::test(start_paused = true)]
async fn classes_go_before_one_another() {
    let of = |priority, name: &str| place().priority(priority).tenant(name);
    let order = order_of(vec![
        of(Priority::Batch, "b"),
        of(Priority::Normal, "n"),
        of(Priority::Interactive, "i"),
        of(Priority::Normal, "m"),
    ]);
    assert_eq!(order.await, ["i", "n", "m", "b"]);
}

#[tokio::test(start_paused = true)]
async fn within_a_tenant_the_earliest_deadline_goes_first() {
    // The name is the tenant's, so the deadlines are told apart by how long each wait was.
    let (queue, gate) = (queue(|queue| queue), Places::new(1));
    let running = crate::gates::caller(&queue, &gate, place()).done().unwrap();
    let mut late = crate::gates::caller(&queue, &gate, within(30 * SECOND)).waiting();
    let mut early = crate::gates::caller(&queue, &gate, within(20 * SECOND)).waiting();
    let mut later = crate::gates::caller(&queue, &gate, within(40 * SECOND)).waiting();
    drop(running);
    drop(early.done().unwrap());
    drop(late.done().unwrap());
    drop(later.done().unwrap());
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_by_tokens_and_not_by_calls() {
    let of = |name: &str, cost| place().tenant(name).cost(cost);
    let mut places: Vec<_> = (0..6).map(|_| of("large", 400)).collect();
    places.extend((0..20).map(|_| of("small", 100)));
    let order = order_of(places).await;
    let small = order[..15].iter().filter(|name| *name == "small").count();
    assert_eq!(small, 12, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn no_call_of_a_low_class_waits_for_much_longer_than_its_steps() {
    let (queue, gate) = (queue(|queue| queue.aging(2 * SECOND)), Places::new(1));
    let (low, high) = (Log::default(), Log::default());
    let local = LocalSet::new();
    let flood = async {
        let start = now();
        for tick in 0..200 {
            if tick == 10 {
                spawn(&queue, &gate, place().priority(Priority::Batch).tenant("low"), MILLI, &low);
            }
            // Twice as many as can pass.
            for _ in 0..2 {
                let place = place().priority(Priority::Interactive).tenant("high");
                spawn(&queue, &gate, place, 100 * MILLI, &high);
            }
            pass(100 * MILLI).await;
            if !low.names().is_empty() {
                break;
            }
        }
        now() - start
    };
    // A step for each class above, one for those of its own age, and one call that runs.
    let waited = local.run_until(flood).await;
    assert!(waited <= SECOND + 2 * 3 * 2 * SECOND, "{waited:?}");
    assert!(waited >= SECOND + 2 * 2 * SECOND, "and it did not jump the queue: {waited:?}");
}

/// Age counts between classes. Within one it would give everything to whoever has most waiting.
#[tokio::test(start_paused = true)]
async fn a_backlog_that_has_grown_old_does_not_go_before_the_others_of_its_class() {
    let (queue, gate) = (queue(|queue| queue.aging(SECOND)), Places::new(1));
    let log = Log::default();
    let local = LocalSet::new();
    let backlog = async {
        for _ in 0..150 {
            spawn(&queue, &gate, place().tenant("flood"), 100 * MILLI, &log);
        }
        pass(8 * SECOND).await;
        let before = log.names().len();
        for _ in 0..5 {
            spawn(&queue, &gate, place().tenant("polite"), 100 * MILLI, &log);
        }
        pass(2 * SECOND).await;
        log.names()[before..].iter().filter(|name| *name == "polite").count()
    };
    assert_eq!(local.run_until(backlog).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_overtake_those_who_wait() {
    let (queue, gate) = (queue(|queue| queue), Places::new(2));
    let large = {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        crate::gates::Caller::new(
            async move { crate::gates::acquire(&queue, &gate, 2, place()).await },
        )
    };
    let running = crate::gates::caller(&queue, &gate, place()).done().unwrap();
    let mut large = large.waiting();
    pass(Duration::from_secs(3)).await;
    let _small = crate::gates::caller(&queue, &gate, place()).waiting();
    drop(running);
    assert!(large.done().is_ok());
}

#[tokio::test(start_paused = true)]
async fn lanes_do_not_hold_one_another_up() {
    let queue = queue(|queue| queue);
    let gate = crate::gates::gate(|lane, _| match lane {
        0 => evenkeel::queue::Passage::NotBefore(None),
        _ => evenkeel::queue::Passage::Pass(()),
    });
    let call = |demand, lane: &'static str| {
        let (queue, gate) = (queue.clone(), Arc::clone(&gate));
        let place = place().lane(lane);
        crate::gates::Caller::new(async move { queue.acquire(&gate, demand, place).await.is_ok() })
    };
    let _stuck = call(0, "closed").waiting();
    assert!(call(1, "open").done());
}
