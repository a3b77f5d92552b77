//! Waiting: first come, first served per tenant, exactly as long as needed, and nobody is forgotten.

#![expect(clippy::disallowed_methods, reason = "calls that wait beside one another are tasks here")]

use std::sync::Arc;
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Level, Limits, OnLimit, QuotaLimiter, Reason, Reservation, Whose};
use evenkeel::time::{FAR_FUTURE, Instant, after, now};
use parking_lot::Mutex;
use tokio::task::{JoinHandle, yield_now};

use crate::support::{MINUTE, SECOND, per_tenant, tokens, waiting_tokens};

fn never() -> Instant {
    after(now(), FAR_FUTURE)
}

/// A task that waits for `amount`, notes its number, and holds what it got until told.
fn wait_for(
    quota: &QuotaLimiter,
    tenant: &str,
    amount: u64,
    number: u32,
    order: &Arc<Mutex<Vec<u32>>>,
) -> JoinHandle<Reservation> {
    let (quota, tenant, order) = (quota.clone(), TenantId::new(tenant), Arc::clone(order));
    tokio::spawn(async move {
        let reservation = quota.reserve(&Whose::tenant(&tenant), &tokens(amount), never()).await;
        order.lock().push(number);
        reservation.unwrap()
    })
}

async fn settled_tasks() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenants_calls_pass_in_the_order_they_came_however_large_they_are() {
    let quota = per_tenant(waiting_tokens(600));
    let order = Arc::default();
    let all = wait_for(&quota, "t", 600, 0, &order).await.unwrap();
    all.settle(&tokens(600));
    let start = now();
    let mut waiting = Vec::new();
    for (number, amount) in [(1, 500), (2, 10), (3, 300), (4, 1)] {
        waiting.push(wait_for(&quota, "t", amount, number, &order));
        settled_tasks().await;
    }
    for task in waiting {
        let reservation = task.await.unwrap();
        let used = *reservation.reserved();
        reservation.settle(&used);
    }
    assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
    // 811 tokens at ten a second; a timer's tick is a millisecond.
    let taken = now() - start;
    assert!(
        (Duration::from_millis(81_100)..Duration::from_millis(81_105)).contains(&taken),
        "{taken:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_exactly_as_long_as_it_was_told() {
    let quota = per_tenant(waiting_tokens(600));
    let tenant = TenantId::new("t");
    let whose = Whose::tenant(&tenant);
    quota.try_reserve(&whose, &tokens(600)).unwrap().settle(&tokens(600));
    let told = quota.try_reserve(&whose, &tokens(100)).unwrap_err().retry_after().unwrap();
    let start = now();
    // A deadline just before is refused at once, one just after is kept.
    let denied =
        quota.reserve(&whose, &tokens(100), start + told - SECOND / 1_000).await.unwrap_err();
    assert_eq!((now(), denied.retry_after()), (start, Some(told)));
    let _fits = quota.reserve(&whose, &tokens(100), start + told).await.unwrap();
    assert!(now() - start - told <= SECOND / 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_taken_at_once_by_the_one_who_waits() {
    let quota = per_tenant(waiting_tokens(600));
    let order = Arc::default();
    let first = wait_for(&quota, "t", 600, 0, &order).await.unwrap();
    let waiting = wait_for(&quota, "t", 500, 1, &order);
    settled_tasks().await;
    let start = now();
    first.settle(&tokens(50));
    drop(waiting.await.unwrap());
    assert_eq!(now(), start);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_another_to_end() {
    let quota = per_tenant(Limits::new().concurrency(2).wait_for_concurrency());
    let order = Arc::default();
    let mut running = vec![
        wait_for(&quota, "t", 1, 0, &order).await.unwrap(),
        wait_for(&quota, "t", 1, 1, &order).await.unwrap(),
    ];
    let waiting: Vec<_> = (2..6).map(|i| wait_for(&quota, "t", 1, i, &order)).collect();
    settled_tasks().await;
    assert_eq!(order.lock().len(), 2);
    for task in waiting {
        running.remove(0).settle(&tokens(1));
        running.push(task.await.unwrap());
    }
    assert_eq!(*order.lock(), [0, 1, 2, 3, 4, 5]);
    let (tenant, start) = (TenantId::new("t"), now());
    let denied =
        quota.reserve(&Whose::tenant(&tenant), &tokens(1), start + SECOND).await.unwrap_err();
    assert_eq!((denied.reason, now() - start), (Reason::Concurrency { limit: 2 }, SECOND));
}

#[tokio::test(start_paused = true)]
async fn several_tenants_that_wait_for_one_limit_all_get_their_turn() {
    let quota = QuotaLimiter::builder()
        .global(Limits::new().concurrency(1).wait_for_concurrency())
        .build()
        .unwrap();
    let order = Arc::default();
    let first = wait_for(&quota, "0", 1, 0, &order).await.unwrap();
    let names: Vec<String> = (1..40).map(|i| (i % 13).to_string()).collect();
    let tasks: Vec<_> =
        (1..).zip(&names).map(|(i, name)| wait_for(&quota, name, 1, i, &order)).collect();
    settled_tasks().await;
    let enders =
        tasks.into_iter().map(|task| tokio::spawn(async move { drop(task.await.unwrap()) }));
    let enders: Vec<_> = enders.collect();
    drop(first);
    for ender in enders {
        ender.await.unwrap();
    }
    assert_eq!(order.lock().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_elsewhere_wakes_who_waits_for_what_it_gives_back() {
    // Whoever takes the global place for a moment must not leave it empty and somebody waiting.
    let quota = QuotaLimiter::builder()
        .per_tenant(Limits::new().concurrency(1).wait_for_concurrency())
        .global(waiting_tokens(600))
        .build()
        .unwrap();
    let order = Arc::default();
    let running = wait_for(&quota, "t", 600, 0, &order).await.unwrap();
    let waiting = wait_for(&quota, "t", 10, 1, &order);
    settled_tasks().await;
    let tenant = TenantId::new("t");
    assert!(quota.try_reserve(&Whose::tenant(&tenant), &tokens(10)).is_err());
    running.settle(&tokens(600));
    let start = now();
    drop(waiting.await.unwrap());
    assert!(now() - start <= SECOND + SECOND / 100);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_holds_nobody_up() {
    let quota = per_tenant(waiting_tokens(600));
    let order = Arc::default();
    wait_for(&quota, "t", 600, 0, &order).await.unwrap().settle(&tokens(600));
    // The head, one in the middle and the last go, each after any number of polls.
    for polls in 0..4 {
        let tasks: Vec<_> = (1..=5).map(|i| wait_for(&quota, "t", 100, i, &order)).collect();
        for _ in 0..polls {
            yield_now().await;
        }
        [0, 2, 4].iter().for_each(|gone: &usize| tasks[*gone].abort());
        let start = now();
        for (at, task) in tasks.into_iter().enumerate() {
            if let Ok(reservation) = task.await {
                assert!(at % 2 == 1 || polls == 0);
                reservation.settle(&tokens(100));
            }
        }
        assert!(now() - start <= MINUTE);
    }
    // Nobody stands there any more: a call that fits passes without waiting.
    tokio::time::advance(2 * MINUTE).await;
    let start = now();
    drop(wait_for(&quota, "t", 600, 9, &order).await.unwrap());
    assert_eq!(now(), start);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_wait_in_line_and_nobody_jumps_it() {
    let quota = per_tenant(waiting_tokens(600));
    let order = Arc::default();
    wait_for(&quota, "t", 600, 0, &order).await.unwrap().settle(&tokens(600));
    let large = wait_for(&quota, "t", 600, 1, &order);
    settled_tasks().await;
    // Ten tokens are there after a second, but the large call came first.
    let (tenant, start) = (TenantId::new("t"), now());
    let deadline = start + 5 * SECOND;
    let denied = quota.reserve(&Whose::tenant(&tenant), &tokens(10), deadline).await.unwrap_err();
    assert_eq!((denied.level, denied.reason, now()), (Level::Tenant, Reason::InLine, deadline));
    let _large = large.await.unwrap();
    assert!(now() - start <= MINUTE + SECOND / 100);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_rejects_is_not_made_to_wait_by_one_that_waits() {
    let rejecting = Limits::new().requests_per_minute(6);
    for (tenant_limits, global_limits) in
        [(rejecting.clone(), waiting_tokens(600)), (waiting_tokens(600), rejecting)]
    {
        let builder = QuotaLimiter::builder().per_tenant(tenant_limits).global(global_limits);
        let quota = builder.build().unwrap();
        let (tenant, start) = (TenantId::new("t"), now());
        let whose = Whose::tenant(&tenant);
        for _ in 0..6 {
            quota.try_reserve(&whose, &tokens(100)).unwrap().settle(&tokens(100));
        }
        assert!(quota.reserve(&whose, &tokens(600), never()).await.is_err());
        assert_eq!(now(), start);
    }
    assert_eq!(OnLimit::default(), OnLimit::Reject);
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_raised_let_in_who_waits() {
    let quota = per_tenant(waiting_tokens(600));
    let order = Arc::default();
    wait_for(&quota, "t", 600, 0, &order).await.unwrap().settle(&tokens(600));
    let waiting = wait_for(&quota, "t", 500, 1, &order);
    settled_tasks().await;
    let start = now();
    quota.set_tenant_limits(&TenantId::new("t"), &waiting_tokens(6_000)).unwrap();
    drop(waiting.await.unwrap());
    assert_eq!(now(), start);
}

/// Real threads: every end of a call may be the last word that somebody waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    let quota = QuotaLimiter::builder()
        .global(Limits::new().concurrency(2).wait_for_concurrency())
        .per_tenant(Limits::new().concurrency(1).wait_for_concurrency())
        .build()
        .unwrap();
    let call = |i: u32| {
        let quota = quota.clone();
        tokio::spawn(async move {
            let tenant = TenantId::new((i % 5).to_string());
            for _ in 0..200 {
                let deadline = now() + 20 * SECOND;
                drop(quota.reserve(&Whose::tenant(&tenant), &tokens(1), deadline).await.unwrap());
                yield_now().await;
            }
        })
    };
    for task in (0..15).map(call).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(quota.scopes(), 5);
}
