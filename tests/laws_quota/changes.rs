//! Limits may change at any time: nobody starts over, and nothing that runs is lost.

use evenkeel::TenantId;
use evenkeel::quota::{Amounts, Limits, QuotaLimiter, Reason, Whose};
use evenkeel::time::now;

use crate::support::{MINUTE, left, per_tenant, tokens, tokens_per_minute};

#[test]
fn what_is_used_stays_used_when_limits_change() {
    let (quota, tenant) = (per_tenant(tokens_per_minute(1_000_000)), TenantId::new("t"));
    quota.try_reserve(&Whose::tenant(&tenant), &tokens(600_000)).unwrap().settle(&tokens(600_000));
    quota.set_tenant_limits(&tenant, &tokens_per_minute(2_000_000)).unwrap();
    let now_left = left(&quota, &tenant, now());
    assert!((1_400_000..1_410_000).contains(&now_left), "{now_left}");
    quota.clear_tenant_limits(&tenant);
    let now_left = left(&quota, &tenant, now());
    assert!((400_000..420_000).contains(&now_left), "{now_left}");
}

#[test]
fn a_call_that_outlives_its_limits_settles_with_the_new_ones() {
    let (quota, tenant) =
        (per_tenant(tokens_per_minute(1_000_000).concurrency(2)), TenantId::new("t"));
    let whose = Whose::tenant(&tenant);
    let smaller = quota.try_reserve(&whose, &tokens(500_000)).unwrap();
    let larger = quota.try_reserve(&whose, &tokens(100_000)).unwrap();
    for amount in [2_000_000, 3_000_000, 4_000_000] {
        quota.set_tenant_limits(&tenant, &tokens_per_minute(amount).concurrency(2)).unwrap();
        let denied = quota.try_reserve(&whose, &tokens(1)).unwrap_err();
        assert_eq!(denied.reason, Reason::Concurrency { limit: 2 }, "both are still running");
    }
    smaller.settle(&tokens(100_000));
    larger.settle(&tokens(400_000));
    assert_eq!(quota.usage(&tenant).unwrap().running, 0);
    let now_left = left(&quota, &tenant, now());
    assert!((3_500_000..3_520_000).contains(&now_left), "{now_left}");
}

#[test]
fn a_limit_that_is_new_charges_running_calls_what_they_use() {
    let (quota, tenant) = (per_tenant(Limits::new().requests_per_minute(100)), TenantId::new("t"));
    let mut call = quota.try_reserve(&Whose::tenant(&tenant), &Amounts::tokens(100, 100)).unwrap();
    quota.set_tenant_limits(&tenant, &tokens_per_minute(1_000_000)).unwrap();
    call.extend(500_000);
    drop(call);
    let now_left = left(&quota, &tenant, now());
    assert!((499_900..510_000).contains(&now_left), "{now_left}");
}

#[test]
fn a_tenant_without_limits_may_get_some_and_lose_them_again() {
    let quota = QuotaLimiter::builder().build().unwrap();
    let tenant = TenantId::new("t");
    let whose = Whose::tenant(&tenant);
    assert!(quota.try_reserve(&whose, &tokens(u64::MAX)).is_ok());
    quota.set_tenant_limits(&tenant, &tokens_per_minute(100)).unwrap();
    let running = quota.try_reserve(&whose, &tokens(100)).unwrap();
    assert!(quota.try_reserve(&whose, &tokens(1)).is_err());
    let other = TenantId::new("other");
    assert!(quota.try_reserve(&Whose::tenant(&other), &tokens(u64::MAX)).is_ok());
    quota.clear_tenant_limits(&tenant);
    drop(running);
    assert!(quota.try_reserve(&whose, &tokens(u64::MAX)).is_ok());
}

#[test]
fn a_handle_goes_on_with_the_new_limits() {
    let (quota, tenant) = (per_tenant(tokens_per_minute(100)), TenantId::new("t"));
    let handle = quota.handle(&tenant).unwrap();
    let all = handle.try_reserve_at(&tokens(100), now()).unwrap();
    quota.set_tenant_limits(&tenant, &tokens_per_minute(1_000)).unwrap();
    let more = handle.try_reserve_at(&tokens(900), now()).unwrap();
    assert!(quota.try_reserve(&Whose::tenant(&tenant), &tokens(50)).is_err());
    drop((all, more));
    assert_eq!(quota.usage(&tenant).unwrap().running, 0);
}

#[test]
fn limits_may_change_as_often_as_they_like_while_a_call_runs() {
    let (quota, tenant) = (per_tenant(tokens_per_minute(1_000_000)), TenantId::new("t"));
    let call = quota.try_reserve(&Whose::tenant(&tenant), &tokens(900_000)).unwrap();
    let handle = quota.handle(&tenant).unwrap();
    for _ in 0..50_000 {
        quota.set_tenant_limits(&tenant, &tokens_per_minute(1_000_000)).unwrap();
    }
    call.settle(&tokens(0));
    drop(handle);
    assert_eq!(quota.usage(&tenant).unwrap().running, 0);
}

#[test]
fn limits_that_change_under_running_threads_lose_no_call() {
    let (quota, tenant) =
        (per_tenant(tokens_per_minute(1_000_000_000).concurrency(64)), TenantId::new("t"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let mut call = quota.try_reserve(&Whose::tenant(&tenant), &tokens(10)).unwrap();
                    call.extend(3);
                    call.settle(&Amounts::tokens(10, 5));
                }
            });
        }
        scope.spawn(|| {
            for i in 0..2_000 {
                let limits = tokens_per_minute(1_000_000_000 + i).concurrency(64);
                quota.set_tenant_limits(&tenant, &limits).unwrap();
            }
        });
    });
    assert_eq!(quota.usage(&tenant).unwrap().running, 0);
}

#[test]
fn an_override_of_another_window_does_not_inherit_what_it_does_not_limit() {
    let limits = |per_day| {
        let day = evenkeel::quota::Limit::new(
            evenkeel::quota::Dimension::Tokens,
            per_day,
            1_440 * MINUTE,
        );
        tokens_per_minute(1_000_000).limit(day)
    };
    let (quota, tenant) = (per_tenant(limits(50_000_000)), TenantId::new("t"));
    quota.try_reserve(&Whose::tenant(&tenant), &tokens(900_000)).unwrap().settle(&tokens(900_000));
    quota.set_tenant_limits(&tenant, &limits(60_000_000)).unwrap();
    let available = quota.usage(&tenant).unwrap().available;
    assert!((100_000..120_000).contains(&available[0].1), "{available:?}");
    assert!((59_100_000..59_110_000).contains(&available[1].1), "{available:?}");
}
