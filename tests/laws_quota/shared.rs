//! Limits that instances share: one account, whatever becomes of the store.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::store::{MemoryQuotaStore, OnStoreFailure};
use evenkeel::quota::{
    Amounts, Budget, Denied, Dimension, Limit, Limits, QuotaLimiter, Reason, Reservation,
    SharedQuota, Whose,
};
use evenkeel::remote::BreakerState;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::usage::Cost;
use futures::FutureExt;
use futures::future::{join, join_all};

use crate::faulty::{Fault, Faulty};
use crate::support::{MINUTE, SECOND, tokens, tokens_per_minute};

const SECRET: [u8; 32] = [7; 32];

pub(crate) fn shared(store: &Faulty) -> SharedQuota {
    SharedQuota::new(store.clone()).secret(SECRET)
}

fn limiter(limits: Limits, shared: SharedQuota) -> QuotaLimiter {
    QuotaLimiter::builder().per_tenant(limits).shared(shared).build().unwrap()
}

/// An instance of its own on `store`.
fn instance(store: &MemoryQuotaStore, limits: Limits) -> (QuotaLimiter, Faulty) {
    let store = Faulty::new(store);
    (limiter(limits, shared(&store)), store)
}

fn acme() -> TenantId {
    TenantId::new("acme")
}

async fn pass(time: Duration) {
    sleep_until(after(now(), time)).await;
}

/// Asks without waiting for room.
async fn ask(quota: &QuotaLimiter, amounts: Amounts) -> Result<Reservation, Denied> {
    let acme = acme();
    quota.reserve(&Whose::tenant(&acme), &amounts, now()).await
}

async fn use_up(quota: &QuotaLimiter, amount: u64) -> bool {
    let reserved = ask(quota, tokens(amount)).await;
    reserved.map(|it| it.settle(&tokens(amount))).is_ok()
}

async fn flush(quota: &QuotaLimiter) {
    assert!(quota.flush(after(now(), MINUTE)).await, "{:?}", quota.shared());
}

/// What the tenant could take now, found by asking.
async fn left(quota: &QuotaLimiter, most: u64) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let fits = ask(quota, tokens(middle)).await.map(Reservation::cancel).is_ok();
        flush(quota).await;
        if fits { low = middle } else { high = middle - 1 }
    }
    low
}

#[tokio::test(start_paused = true)]
async fn instances_take_from_one_account() {
    let store = MemoryQuotaStore::new();
    let (here, _) = instance(&store, tokens_per_minute(1_000));
    let (there, _) = instance(&store, tokens_per_minute(1_000));
    let first = ask(&here, tokens(600)).await.unwrap();
    let denied = ask(&there, tokens(600)).await.unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND * 12 + Duration::from_nanos(1)));
    assert_eq!(denied.tenant, Some(acme()));
    first.settle(&tokens(100));
    flush(&here).await;
    assert_eq!(left(&there, 1_000).await, 900);
}

#[tokio::test(start_paused = true)]
async fn all_levels_of_a_call_are_taken_from_or_none() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    let quota = QuotaLimiter::builder()
        .global(tokens_per_minute(5_000))
        .per_tenant(tokens_per_minute(1_000))
        .per_tenant_and_model(tokens_per_minute(500))
        .per_key("team", tokens_per_minute(300))
        .shared(shared(&store))
        .build()
        .unwrap();
    let acme = acme();
    let keys = [(Arc::from("team"), Arc::from("search"))];
    let whose = Whose::new(Some(&acme), Some("m"), &keys);
    let _held = quota.reserve(&whose, &tokens(300), now()).await.unwrap();
    let denied = quota.reserve(&whose, &tokens(100), now()).await.unwrap_err();
    assert_eq!(denied.level.label(), "team");
    let whose = Whose::new(Some(&acme), Some("m"), &[]);
    assert!(
        quota.reserve(&whose, &tokens(200), now()).await.is_ok(),
        "the team's denial took none"
    );

    let levels = |at: usize| -> Vec<_> {
        store.demands()[at].scopes.iter().map(|scope| scope.level.label().to_owned()).collect()
    };
    assert_eq!(levels(0), ["tenant and model", "tenant", "team", "global"]);
    assert_eq!(levels(2), ["tenant and model", "tenant", "global"]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_limits_of_its_own_has_them_in_the_store() {
    let store = MemoryQuotaStore::new();
    let (quota, _) = instance(&store, tokens_per_minute(100));
    assert!(use_up(&quota, 100).await);
    quota.set_tenant_limits(&acme(), &tokens_per_minute(1_000)).unwrap();
    flush(&quota).await;
    assert_eq!(left(&quota, 2_000).await, 900);
    quota.clear_tenant_limits(&acme());
    assert!(ask(&quota, tokens(101)).await.unwrap_err().is_never());
}

#[tokio::test(start_paused = true)]
async fn no_name_reaches_the_store() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    let quota = limiter(tokens_per_minute(1_000), shared(&store));
    ask(&quota, tokens(1)).await.unwrap().cancel();
    let demands = store.demands();
    let key = &demands[0].scopes[0].key;
    assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    let secret = format!("{:?}", shared(&store));
    assert!(!secret.contains("7, 7") && !secret.contains("0707"), "{secret}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    for (shared, field) in [
        (SharedQuota::new(store.clone()), "shared.secret"),
        (shared(&store).min_instances(0), "shared.min_instances"),
        (shared(&store).grants_expire_in(Duration::ZERO), "shared.grants_expire_in"),
    ] {
        let built = QuotaLimiter::builder().shared(shared).build();
        assert_eq!(built.unwrap_err().field(), field);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_without_asking() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    let quota = limiter(tokens_per_minute(1_000), shared(&store));
    let acme = acme();
    let denied = quota.try_reserve(&Whose::tenant(&acme), &tokens(1)).unwrap_err();
    assert_eq!((denied.reason, denied.is_never()), (Reason::Unasked, false));
    let handle = quota.handle(&acme).unwrap();
    let denied = handle.try_reserve_at(&tokens(1), now()).unwrap_err();
    assert_eq!(denied.reason, Reason::Unasked);
    assert_eq!(store.asked().reserve, 0);
}

#[tokio::test(start_paused = true)]
async fn what_streams_beyond_a_reservation_is_charged_when_it_ends() {
    let store = MemoryQuotaStore::new();
    let (quota, _) = instance(&store, tokens_per_minute(1_000));
    let mut reservation = ask(&quota, Amounts::tokens(100, 50)).await.unwrap();
    reservation.extend(250);
    drop(reservation);
    flush(&quota).await;
    assert_eq!(left(&quota, 1_000).await, 650);
}

#[tokio::test(start_paused = true)]
async fn a_running_call_ends_when_it_is_settled_or_expires() {
    let store = MemoryQuotaStore::new();
    let limits = Limits::new().concurrency(1);
    let (here, _) = instance(&store, limits.clone());
    let (there, dying) = instance(&store, limits);
    ask(&here, tokens(1)).await.unwrap().cancel();
    flush(&here).await;
    let lost = ask(&there, tokens(1)).await.unwrap();
    dying.set(Fault::Fails);
    drop(lost);
    drop(there);
    let denied = ask(&here, tokens(1)).await.unwrap_err();
    assert!(matches!(denied.reason, Reason::Concurrency { limit: 1 }));
    pass(SECOND * 600).await;
    assert!(ask(&here, tokens(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn five_calls_pay_for_a_dead_store_and_then_none() {
    let (quota, store) = instance(
        &MemoryQuotaStore::new(),
        tokens_per_minute(1_000).on_store_failure(OnStoreFailure::Open),
    );
    assert!(use_up(&quota, 1).await);
    store.set(Fault::Hangs);
    let (start, mut paid) = (now(), 0);
    for _ in 0..200 {
        let before = now();
        assert!(use_up(&quota, 100).await, "an open limit lets everything through");
        let took = now() - before;
        assert!(took.is_zero() || took == Duration::from_millis(25), "{took:?}");
        paid += u32::from(!took.is_zero());
    }
    assert!(paid <= 5 && now() - start <= Duration::from_millis(125), "{paid} paid");
    // Nor do those that come when the store is tried again.
    for _ in 0..3_000 {
        pass(Duration::from_millis(7)).await;
        let before = now();
        assert!(use_up(&quota, 100).await);
        assert_eq!(now(), before);
    }
    store.set(Fault::None);
    pass(SECOND * 10).await;
    assert_eq!(quota.shared().unwrap().store, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_nine_tenths_by_the_number_of_instances_passes_without_the_store() {
    let store = MemoryQuotaStore::new();
    let fleet: Vec<_> = (0..4).map(|_| instance(&store, tokens_per_minute(1_000))).collect();
    for (quota, _) in &fleet {
        ask(quota, tokens(1)).await.unwrap().cancel();
    }
    pass(SECOND * 4).await;
    for (quota, store) in &fleet {
        assert_eq!(quota.shared().unwrap().instances, 4);
        store.set(Fault::Fails);
    }
    let share = 1_000.0 * 0.9 / 4.0;
    let mut all = 0;
    for (quota, _) in &fleet {
        let (mut passed, minutes, start) = (0, 10.0, now());
        while now() < after(start, MINUTE * 10) {
            passed += 5 * u64::from(use_up(quota, 5).await);
            pass(Duration::from_millis(250)).await;
        }
        let passed = passed as f64;
        assert!(passed >= 0.9 * share * minutes, "{passed} of {}", share * minutes);
        assert!(passed <= share * (minutes + 1.0), "{passed}");
        all += passed as u64;
    }
    assert!(all as f64 <= 0.9 * 1_000.0 * 11.0, "{all}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_starts_without_the_store_works_and_finds_it_later() {
    let (quota, store) = {
        let store = Faulty::new(&MemoryQuotaStore::new());
        store.set(Fault::Hangs);
        let shared = shared(&store).min_instances(3);
        assert_eq!(shared.ready().await.unwrap_err().label(), "late");
        (limiter(tokens_per_minute(1_000), shared), store)
    };
    assert!(use_up(&quota, 300).await);
    let denied = ask(&quota, tokens(300)).await.unwrap_err();
    assert!(matches!(denied.reason, Reason::Rate { dimension: Dimension::Tokens, .. }));
    let denied = ask(&quota, tokens(301)).await.unwrap_err();
    assert!(matches!(denied.reason, Reason::StoreAway { limit: "tokens", .. }), "{denied}");
    store.set(Fault::None);
    pass(SECOND * 12).await;
    assert!(ask(&quota, tokens(600)).await.is_ok());
    assert_eq!(shared(&store).ready().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn instances_that_died_are_not_counted_any_more() {
    let store = MemoryQuotaStore::new();
    let (here, _) = instance(&store, tokens_per_minute(1_000));
    let (there, dying) = instance(&store, tokens_per_minute(1_000));
    for quota in [&there, &here] {
        ask(quota, tokens(1)).await.unwrap().cancel();
    }
    pass(SECOND).await;
    assert_eq!(here.shared().unwrap().instances, 2);
    dying.set(Fault::Hangs);
    pass(SECOND * 14).await;
    assert_eq!(here.shared().unwrap().instances, 1);
}

#[tokio::test(start_paused = true)]
async fn what_passed_without_the_store_is_told_to_it_when_it_is_back() {
    let store = MemoryQuotaStore::new();
    let (quota, faulty) = instance(&store, Limits::new().limit(day(1_000)));
    let (other, _) = instance(&store, Limits::new().limit(day(1_000)));
    assert!(use_up(&quota, 100).await);
    flush(&quota).await;
    faulty.set(Fault::Fails);
    for _ in 0..40 {
        assert!(use_up(&quota, 10).await);
    }
    assert_eq!(left(&other, 1_000).await, 900);
    faulty.set(Fault::None);
    pass(SECOND * 12).await;
    assert_eq!(quota.shared().unwrap().owed, 0);
    assert_eq!(left(&other, 1_000).await, 500);
}

#[tokio::test(start_paused = true)]
async fn debts_of_many_scopes_are_told_in_batches_and_none_exceeds_two_bursts() {
    let store = MemoryQuotaStore::new();
    let (quota, faulty) =
        instance(&store, Limits::new().limit(day(100)).on_store_failure(OnStoreFailure::Open));
    assert!(use_up(&quota, 1).await);
    faulty.set(Fault::Fails);
    for i in 0..200 {
        let tenant = TenantId::new(format!("tenant-{i}"));
        for _ in 0..50 {
            let whose = Whose::tenant(&tenant);
            quota.reserve(&whose, &tokens(10), now()).await.unwrap().settle(&tokens(10));
        }
    }
    assert_eq!(quota.shared().unwrap().owed, 200);
    faulty.set(Fault::None);
    let mut before = 200;
    while before > 0 {
        pass(Duration::from_millis(100)).await;
        let owed = quota.shared().unwrap().owed;
        assert!(before - owed <= 64, "{} at once", before - owed);
        before = owed;
    }
    let (other, _) = instance(&store, Limits::new().limit(day(100)));
    let tenant = TenantId::new("tenant-7");
    let denied = other.reserve(&Whose::tenant(&tenant), &tokens(100), now()).await.unwrap_err();
    let two_days = MINUTE * (2 * 24 * 60);
    let wait = denied.retry_after().unwrap();
    assert!(wait <= two_days + Duration::from_nanos(9) && wait > two_days - MINUTE, "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_change_no_account() {
    let store = MemoryQuotaStore::new();
    let limits = Limits::new().limit(day(10_000)).concurrency(100);
    let (quota, faulty) = instance(&store, limits.clone());
    assert!(use_up(&quota, 7).await);
    faulty.set(Fault::LosesSomeReplies);
    let mut used = 7;
    for i in 0..100 {
        used += i * u64::from(use_up(&quota, i).await);
        pass(Duration::from_millis(100)).await;
    }
    faulty.set(Fault::None);
    flush(&quota).await;
    let (other, _) = instance(&store, limits);
    // A token or two of a day's ten thousand have come in.
    let left = left(&other, 10_000).await;
    assert!((0..=2).contains(&(left + used - 10_000)), "{left} after {used}");
    let at_once = join_all((0..101).map(|_| ask(&other, tokens(1)))).await;
    let running = at_once.iter().filter(|call| call.is_ok()).count();
    assert_eq!(running, 100, "no call of the other one is still running");
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_poll_it_leaves_nothing_taken() {
    let store = MemoryQuotaStore::new();
    let limits = Limits::new().limit(day(100).wait()).concurrency(1).wait_for_concurrency();
    let (quota, faulty) = instance(&store, limits);
    let acme = acme();
    let whose = Whose::tenant(&acme);
    faulty.set(Fault::Slow(Duration::from_millis(10)));
    for polls in 0..12 {
        for held in [false, true] {
            let holder = if held { Some(ask(&quota, tokens(1)).await.unwrap()) } else { None };
            let amounts = tokens(60);
            let mut asking = Box::pin(quota.reserve(&whose, &amounts, after(now(), MINUTE)));
            for _ in 0..polls {
                if let Some(reserved) = asking.as_mut().now_or_never() {
                    reserved.unwrap().cancel();
                    break;
                }
                pass(Duration::from_millis(4)).await;
            }
            drop(asking);
            holder.into_iter().for_each(Reservation::cancel);
            flush(&quota).await;
        }
    }
    assert_eq!(left(&quota, 100).await, 100);
    assert!(ask(&quota, tokens(100)).await.is_ok(), "no call is running");
}

#[tokio::test(start_paused = true)]
async fn a_closed_limit_says_which_it_is_and_when_to_come_back() {
    let budget = Budget::daily_cost(Cost::from_nano_dollars(1_000_000));
    let store = MemoryQuotaStore::new();
    let (quota, faulty) = instance(&store, tokens_per_minute(1_000).budget(budget));
    let call = tokens(10).with_cost(Cost::from_nano_dollars(50));
    ask(&quota, call).await.unwrap().settle(&call);
    faulty.set(Fault::Fails);
    for _ in 0..10 {
        let denied = ask(&quota, call).await.unwrap_err();
        let Reason::StoreAway { limit: "cost", retry_after } = denied.reason else {
            panic!("{denied}")
        };
        assert!(retry_after >= Duration::from_millis(100) && retry_after <= SECOND * 8);
        assert_eq!((denied.retry_after(), denied.is_never()), (Some(retry_after), false));
        assert_eq!(denied.level.label(), "tenant");
    }
    faulty.set(Fault::None);
    pass(SECOND * 10).await;
    assert!(ask(&quota, call).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whatever_the_store_does_a_call_with_room_passes_within_its_deadline() {
    for fault in [
        Fault::Hangs,
        Fault::Fails,
        Fault::LosesReplies,
        Fault::LosesSomeReplies,
        Fault::Slow(Duration::from_millis(24)),
        Fault::Slow(Duration::from_millis(30)),
    ] {
        let (quota, faulty) = instance(&MemoryQuotaStore::new(), tokens_per_minute(1_000_000));
        faulty.set(fault);
        for _ in 0..100 {
            let start = now();
            assert!(use_up(&quota, 10).await, "{fault:?}");
            assert!(now() - start <= Duration::from_millis(25), "{fault:?}");
            pass(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_come_in_order_and_ask_when_they_should_fit() {
    let limit = Limit::new(Dimension::Tokens, 600, MINUTE).burst(60).wait();
    let (quota, store) = instance(&MemoryQuotaStore::new(), Limits::new().limit(limit));
    assert!(use_up(&quota, 60).await);
    flush(&quota).await;
    let (before, start) = (store.asked().reserve, now());
    let acme = acme();
    let calls = (0..20).map(|number| {
        let (quota, acme) = (&quota, &acme);
        async move {
            let deadline = after(start, MINUTE * 10);
            let reserved = quota.reserve(&Whose::tenant(acme), &tokens(30), deadline).await;
            reserved.unwrap().settle(&tokens(30));
            (now(), number)
        }
    });
    let mut done = join_all(calls).await;
    done.sort();
    assert!(done.is_sorted_by_key(|(_, number)| *number), "first come, first served");
    // Three seconds a call; each a tenth of a second late at the most.
    let last = done.last().unwrap().0 - start;
    assert!(last >= SECOND * 60 && last <= SECOND * 62, "{last:?}");
    // Each asks once, once more as the head, and once when it fits.
    let asked = store.asked().reserve - before;
    assert!(asked <= 60, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_another_one_goes_on_when_that_is_settled() {
    let store = MemoryQuotaStore::new();
    let limits = Limits::new().concurrency(1).wait_for_concurrency();
    let (here, _) = instance(&store, limits.clone());
    let (there, _) = instance(&store, limits);
    let acme = acme();
    for other in [&here, &there] {
        let running = ask(other, tokens(1)).await.unwrap();
        let amounts = tokens(1);
        let whose = Whose::tenant(&acme);
        let mut waiting = Box::pin(here.reserve(&whose, &amounts, after(now(), MINUTE)));
        assert!(waiting.as_mut().now_or_never().is_none());
        let ends = async {
            pass(SECOND * 5).await;
            running.cancel();
            now()
        };
        let (passed, ended) = join(async { (waiting.await, now()) }, ends).await;
        assert!(passed.0.is_ok());
        let took = passed.1 - ended;
        let most = if std::ptr::eq(other, &here) { Duration::ZERO } else { SECOND };
        assert!(took <= most, "{took:?}");
        drop(passed);
        flush(&here).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline() {
    let (quota, _) =
        instance(&MemoryQuotaStore::new(), Limits::new().concurrency(1).wait_for_concurrency());
    let _running = ask(&quota, tokens(1)).await.unwrap();
    let (acme, start) = (acme(), now());
    let deadline = after(start, SECOND * 3);
    let denied = quota.reserve(&Whose::tenant(&acme), &tokens(1), deadline).await.unwrap_err();
    assert!(matches!(denied.reason, Reason::Concurrency { .. }));
    assert!(now() - start <= SECOND * 3 + Duration::from_millis(25), "{:?}", now() - start);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_share_goes_on_when_the_store_is_back() {
    let limit = Limit::new(Dimension::Tokens, 600, MINUTE).wait();
    let (quota, faulty) = instance(&MemoryQuotaStore::new(), Limits::new().limit(limit));
    faulty.set(Fault::Fails);
    assert!(use_up(&quota, 500).await);
    let (acme, start) = (acme(), now());
    let deadline = after(start, MINUTE * 10);
    let amounts = tokens(100);
    let whose = Whose::tenant(&acme);
    let waiting = quota.reserve(&whose, &amounts, deadline);
    let back = async {
        pass(SECOND).await;
        faulty.set(Fault::None);
    };
    let (passed, ()) = join(waiting, back).await;
    assert!(passed.is_ok());
    assert!(now() - start <= SECOND * 5, "not a ninth of the way later: {:?}", now() - start);
}

/// A call every so often, for so long; how many were let in.
async fn drive(quota: &QuotaLimiter, every: Duration, time: Duration, amount: u64) -> u64 {
    let (start, mut let_in) = (now(), 0);
    while now() < after(start, time) {
        let_in += u64::from(use_up(quota, amount).await);
        pass(every).await;
    }
    let_in
}

#[tokio::test(start_paused = true)]
async fn scopes_that_are_hot_are_asked_for_in_advance() {
    let store = MemoryQuotaStore::new();
    let limit = Limit::new(Dimension::Tokens, 100_000, MINUTE * 60);
    let (quota, faulty) = instance(&store, Limits::new().limit(limit));
    drive(&quota, Duration::from_millis(2), SECOND, 10).await;
    let before = faulty.asked().reserve;
    let let_in = drive(&quota, Duration::from_millis(2), SECOND * 10, 10).await;
    assert_eq!(let_in, 5_000);
    let asked = faulty.asked().reserve - before;
    assert!(asked * 20 <= let_in, "{asked} questions for {let_in} calls");
    assert!(quota.shared().unwrap().leases > 0);

    // What was not used goes back, and everything that was is accounted for.
    pass(SECOND * 3).await;
    assert_eq!(quota.shared().unwrap().leases, 0);
    let (other, _) = instance(&store, Limits::new().limit(limit));
    let used = (5_500 * 10) as f64;
    let drained = 100_000.0 * 14.1 / 3_600.0;
    let left = left(&other, 100_000).await as f64;
    assert!((left - (100_000.0 - used + drained)).abs() < 30.0, "{left}");
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_fleet_let_no_more_through_than_there_is() {
    let store = MemoryQuotaStore::new();
    let limits = || Limits::new().limit(day(30_000));
    let fleet: Vec<_> = (0..4).map(|_| instance(&store, limits())).collect();
    let start = now();
    let drives =
        fleet.iter().map(|(quota, _)| drive(quota, Duration::from_millis(3), SECOND * 20, 3));
    let let_in: u64 = join_all(drives).await.into_iter().sum();
    let drained = 30_000.0 * (now() - start).as_secs_f64() / 86_400.0;
    let most = 30_000 + drained.ceil() as u64;
    assert!(let_in * 3 <= most, "{}", let_in * 3);
    assert!(let_in * 3 >= 29_500, "nearly all of it was had: {}", let_in * 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_beside_a_leased_scope_asks_no_more_than_it_should() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    let wide = Limits::new().tokens_per_minute(1_000_000_000);
    let narrow = Limit::new(Dimension::Tokens, 100, SECOND * 10).wait();
    let quota = QuotaLimiter::builder()
        .global(wide)
        .per_tenant(Limits::new().limit(narrow))
        .shared(shared(&store))
        .build()
        .unwrap();
    // Traffic of others makes the scope that all share a hot one.
    for number in 0..1_000 {
        let tenant = TenantId::new(format!("{number}"));
        let reserved = quota.reserve(&Whose::tenant(&tenant), &tokens(10), now()).await;
        reserved.unwrap().settle(&tokens(10));
        pass(Duration::from_millis(2)).await;
    }
    assert!(quota.shared().unwrap().leases > 0);

    assert!(use_up(&quota, 100).await);
    let (before, start, acme) = (store.asked().reserve, now(), acme());
    let waits = quota.reserve(&Whose::tenant(&acme), &tokens(50), after(now(), SECOND * 8)).await;
    waits.unwrap().settle(&tokens(50));
    assert!(now() - start >= SECOND * 5, "{:?}", now() - start);
    let asked = store.asked().reserve - before;
    assert!(asked <= 12, "{asked} questions");
}

#[tokio::test(start_paused = true)]
async fn a_limiter_without_leases_asks_for_every_call() {
    let store = Faulty::new(&MemoryQuotaStore::new());
    let quota = limiter(tokens_per_minute(1_000_000), shared(&store).without_leases());
    let let_in = drive(&quota, Duration::from_millis(2), SECOND * 3, 10).await;
    assert_eq!(store.asked().reserve, let_in);
}

#[tokio::test(start_paused = true)]
async fn the_work_beside_the_calls_ends_with_the_last_of_a_limiter() {
    let store = MemoryQuotaStore::new();
    let (quota, faulty) = instance(&store, Limits::new().limit(day(1_000)));
    let clone = quota.clone();
    let reservation = ask(&quota, tokens(600)).await.unwrap();
    drop(quota);
    pass(SECOND * 7).await;
    let beats = faulty.asked().beat;
    assert_eq!(beats, 3, "it goes on while there is a clone");
    drop(clone);
    pass(SECOND * 7).await;
    assert_eq!(faulty.asked().beat, beats + 2, "and while a call runs");
    reservation.settle(&tokens(100));
    pass(SECOND).await;
    let asked = faulty.asked();
    pass(MINUTE * 10).await;
    assert_eq!(faulty.asked(), asked);
    let (other, _) = instance(&store, Limits::new().limit(day(1_000)));
    assert!(ask(&other, tokens(900)).await.is_ok(), "the last one was told what was used");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_store_cannot_be_told_is_bounded_and_counted() {
    let store = MemoryQuotaStore::new();
    let limits = Limits::new().limit(day(10_000));
    let (quota, faulty) = instance(&store, limits.clone());
    let mut running = Vec::new();
    for _ in 0..5_000 {
        running.push(ask(&quota, tokens(1)).await.unwrap());
    }
    faulty.set(Fault::Fails);
    running.drain(..).for_each(Reservation::cancel);
    let state = quota.shared().unwrap();
    assert_eq!((state.waiting as u64, state.dropped), (4_096, 904));
    faulty.set(Fault::None);
    flush(&quota).await;
    // What was dropped stays charged: too much, not too little.
    let (other, _) = instance(&store, limits);
    assert_eq!(left(&other, 10_000).await, 10_000 - 904);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_outlives_the_runtime_it_was_first_used_on() {
    let store = MemoryQuotaStore::new();
    let (quota, _) = instance(&store, Limits::new().limit(day(1_000)));
    let there = quota.clone();
    let first = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(ask(&there, tokens(400))).unwrap()
    });
    let reservation = first.join().unwrap();
    reservation.settle(&tokens(100));
    ask(&quota, tokens(1)).await.unwrap().cancel();
    flush(&quota).await;
    // The other thread's clock was a real one.
    assert!((899..=900).contains(&left(&quota, 1_000).await));
}

#[test]
fn what_a_limit_does_without_its_store_may_be_configured() {
    let text = r#"
        on_store_failure = "open"
        concurrency = 4
        rates = [{ dimension = "tokens", amount = 5, window = "1m", on_store_failure = "closed" }]
        budgets = [{ dimension = "cost", amount = 5, period = "day", on_store_failure = "local_share" }]
    "#;
    let limits: Limits = toml::from_str(text).unwrap();
    assert_eq!(limits.on_store_failure, Some(OnStoreFailure::Open));
    assert_eq!(limits.rates[0].on_store_failure, Some(OnStoreFailure::Closed));
    assert_eq!(limits.budgets[0].on_store_failure, Some(OnStoreFailure::LocalShare));
    let unsaid: Limits = toml::from_str("concurrency = 4").unwrap();
    assert_eq!(unsaid.on_store_failure, None);
}

/// So slow a limit that nothing comes in during a test.
fn day(amount: u64) -> Limit {
    Limit::new(Dimension::Tokens, amount, MINUTE * (24 * 60))
}
