//! Bad input gives a clear error or keeps a stated rule: no overflow, no panic, nothing for ever.

use std::time::Duration;

use evenkeel::quota::{Amounts, Budget, Dimension, Limit, Limits, QuotaLimiter, Reason, Whose};
use evenkeel::time::now;
use evenkeel::{Cost, TenantId, Usage};

use crate::support::{MINUTE, per_tenant, tokens, tokens_per_minute};

fn everything() -> Limits {
    Limits::new()
        .requests_per_minute(100)
        .tokens_per_minute(1_000)
        .input_tokens_per_minute(1_000)
        .output_tokens_per_minute(1_000)
        .cost_per(MINUTE, Cost::from_nano_dollars(1_000))
        .budget(Budget::daily_tokens(u64::MAX))
        .budget(Budget::monthly_cost(Cost::from_nano_dollars(u64::MAX)))
        .concurrency(u32::MAX)
}

#[test]
fn limits_of_nothing_and_limits_twice_are_refused_by_name() {
    let build = |limits: Limits| QuotaLimiter::builder().per_tenant(limits).build();
    let refused: [(Limits, &str); 6] = [
        (tokens_per_minute(0), "per_tenant.rates[0]"),
        (
            Limits::new().limit(Limit::new(Dimension::Tokens, 1, Duration::ZERO)),
            "per_tenant.rates[0]",
        ),
        (
            Limits::new().limit(Limit::new(Dimension::Tokens, 1, MINUTE).burst(0)),
            "per_tenant.rates[0]",
        ),
        (Limits::new().concurrency(0), "per_tenant.concurrency"),
        (Limits::new().budget(Budget::daily_tokens(0)), "per_tenant.budgets[0]"),
        (tokens_per_minute(1).tokens_per_minute(2), "per_tenant.rates[1]"),
    ];
    for (limits, field) in refused {
        assert_eq!(build(limits).unwrap_err().field(), field);
    }
    assert_eq!(QuotaLimiter::builder().most_scopes(0).build().unwrap_err().field(), "most_scopes");
    let quota = per_tenant(tokens_per_minute(1));
    let refused = quota.set_tenant_limits(&TenantId::new("t"), &tokens_per_minute(0));
    assert_eq!(refused.unwrap_err().field(), "limits.rates[0]");
}

#[test]
fn the_largest_numbers_are_refused_or_kept() {
    let (quota, tenant) = (per_tenant(everything()), TenantId::new("t"));
    let whose = Whose::tenant(&tenant);
    let most = Amounts::tokens(u64::MAX, u64::MAX).with_cost(Cost::from_nano_dollars(u64::MAX));
    let denied = quota.try_reserve(&whose, &most).unwrap_err();
    assert!(denied.is_never());
    assert!(matches!(denied.reason, Reason::TooLarge { amount: u64::MAX, most: 1_000, .. }));
    assert_eq!(quota.usage(&tenant).unwrap().running, 0);

    // Absurd usage again and again: the tenant is out, and stays out.
    let mut calls: Vec<_> =
        (0..20).map(|_| quota.try_reserve(&whose, &tokens(1)).unwrap()).collect();
    calls.iter_mut().for_each(|call| call.extend(u64::MAX));
    calls.iter_mut().for_each(|call| call.extend(u64::MAX));
    for call in calls {
        call.settle(&most);
        assert!(quota.try_reserve(&whose, &tokens(1)).is_err());
    }
}

#[test]
fn a_call_nobody_counted_is_charged_what_was_expected_or_what_was_seen() {
    let expected = Amounts::tokens(100, 200).with_cost(Cost::from_nano_dollars(u64::MAX));
    assert_eq!(Amounts::counted(&Usage::new(), &expected), expected);
    let mut output = Usage::new();
    output.output_tokens = Some(7);
    assert_eq!(Amounts::counted(&output, &expected).output_tokens, 7);

    let quota = QuotaLimiter::builder().build().unwrap();
    let mut call = quota.try_reserve(&Whose::default(), &expected).unwrap();
    call.extend(u64::MAX);
    assert_eq!(call.so_far().cost.nano_dollars(), u64::MAX);
    assert_eq!(call.streamed(), u64::MAX);
}

#[test]
fn a_clock_that_goes_back_is_no_reason_to_panic_or_to_give_anything_away() {
    let (quota, tenant) = (per_tenant(tokens_per_minute(1_000)), TenantId::new("t"));
    let whose = Whose::tenant(&tenant);
    let early = now();
    let late = early + MINUTE;
    let call = quota.try_reserve_at(&whose, &tokens(1_000), late).unwrap();
    assert!(quota.try_reserve_at(&whose, &tokens(1), early).is_err());
    call.settle_at(&tokens(900), early);
    assert!(quota.try_reserve_at(&whose, &tokens(101), late).is_err());
    assert!(quota.try_reserve_at(&whose, &tokens(100), late).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_waits_for_nothing() {
    let limit = Limit::new(Dimension::Tokens, 1_000, MINUTE).wait();
    let (quota, tenant) = (per_tenant(Limits::new().limit(limit)), TenantId::new("t"));
    let whose = Whose::tenant(&tenant);
    let past = now() - Duration::from_nanos(1);
    tokio::time::advance(MINUTE).await;
    let _all = quota.reserve(&whose, &tokens(1_000), past).await.unwrap();
    let denied = quota.reserve(&whose, &tokens(1), past).await.unwrap_err();
    assert!(matches!(denied.reason, Reason::Rate { .. }));
}

#[test]
fn debug_shows_no_names() {
    let (quota, tenant) = (per_tenant(tokens_per_minute(1_000)), TenantId::new("acme"));
    let call = quota.try_reserve(&Whose::tenant(&tenant), &tokens(1)).unwrap();
    let handle = quota.handle(&tenant).unwrap();
    let denied = quota.try_reserve(&Whose::tenant(&tenant), &tokens(1_000)).unwrap_err();
    assert!(denied.to_string().contains("acme"), "an error names the tenant");
    let shown = format!("{quota:?} {call:?} {handle:?} {denied:?} {:?}", Whose::tenant(&tenant));
    assert!(!shown.contains("acme"), "{shown}");
}
