//! All levels or none, and an answer that is exact.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Amounts, Level, Limits, QuotaLimiter, Reason, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::now;
use proptest::prelude::*;

use crate::support::{left, tokens, tokens_per_minute};

const NANOSECOND: Duration = Duration::from_nanos(1);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_refused_call_fits_exactly_when_it_was_told(seed in any::<u64>()) {
        let rng = Rng::from_seed(seed);
        let limits = |rng: &Rng| {
            let amount = 1_000 + rng.below(100_000);
            Limits::new().tokens_per_minute(amount).requests_per_minute(3 + rng.below(100))
        };
        let quota = QuotaLimiter::builder()
            .global(limits(&rng))
            .per_tenant(limits(&rng))
            .per_tenant_and_model(limits(&rng))
            .build()
            .unwrap();
        let tenant = TenantId::new("t");
        let whose = Whose::new(Some(&tenant), Some("m"), &[]);
        let mut at = now();
        for _ in 0..40 {
            at += Duration::from_nanos(rng.below(1_000_000_000));
            let amounts = tokens(1 + rng.below(1_000));
            match quota.try_reserve_at(&whose, &amounts, at) {
                Ok(reservation) => reservation.settle_at(&tokens(rng.below(1_200)), at),
                Err(denied) => {
                    at += denied.retry_after().unwrap();
                    prop_assert!(quota.try_reserve_at(&whose, &amounts, at - NANOSECOND).is_err());
                    let reserved = quota.try_reserve_at(&whose, &amounts, at);
                    prop_assert!(reserved.is_ok());
                    reserved.unwrap().settle_at(&amounts, at);
                }
            }
        }
    }
}

#[test]
fn a_refusal_at_any_level_takes_nothing_at_the_others() {
    let team = [(Arc::from("team"), Arc::from("red"))];
    let tight = || tokens_per_minute(10);
    let wide = || tokens_per_minute(1_000).concurrency(3);
    for refusing in 0..4 {
        let of = |level| if level == refusing { tight() } else { wide() };
        let quota = QuotaLimiter::builder()
            .per_tenant_and_model(of(0))
            .per_tenant(of(1))
            .per_key("team", of(2))
            .global(of(3))
            .build()
            .unwrap();
        let (tenant, start) = (TenantId::new("t"), now());
        let whose = Whose::new(Some(&tenant), Some("m"), &team);
        let _ten = quota.try_reserve_at(&whose, &tokens(10), start).unwrap();
        for _ in 0..100 {
            let denied = quota.try_reserve_at(&whose, &tokens(5), start).unwrap_err();
            let levels =
                [Level::TenantModel, Level::Tenant, Level::Key("team".into()), Level::Global];
            assert_eq!(denied.level, levels[refusing]);
        }
        if refusing != 1 {
            let usage = quota.usage(&tenant).unwrap();
            assert_eq!(usage.running, 1, "level {refusing}");
            assert!(usage.available[0].1 >= 990, "level {refusing}");
        }
    }
}

#[test]
fn a_tenant_that_is_refused_by_its_own_limits_takes_nothing_from_the_others_for_an_instant() {
    let quota = QuotaLimiter::builder()
        .global(Limits::new().concurrency(1))
        .per_tenant(tokens_per_minute(100))
        .build()
        .unwrap();
    let (flooder, polite) = (TenantId::new("flooder"), TenantId::new("polite"));
    drop(quota.try_reserve(&Whose::tenant(&flooder), &tokens(100)).unwrap());
    // On another thread the flooder never rests; the one global place is free for the polite one.
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(quota.try_reserve(&Whose::tenant(&flooder), &tokens(100)).is_err());
            }
        });
        let calls =
            (0..20_000).filter(|_| quota.try_reserve(&Whose::tenant(&polite), &tokens(0)).is_err());
        let refused = calls.count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn of_several_refusals_the_longest_is_told_and_never_beats_them_all() {
    let quota = QuotaLimiter::builder()
        .global(tokens_per_minute(6_000))
        .per_tenant(Limits::new().tokens_per_minute(600).input_tokens_per_minute(500))
        .build()
        .unwrap();
    let (tenant, start) = (TenantId::new("t"), now());
    let whose = Whose::tenant(&tenant);
    let _used = quota.try_reserve_at(&whose, &tokens(500), start).unwrap();
    let denied = quota.try_reserve_at(&whose, &tokens(500), start).unwrap_err();
    assert_eq!(denied.level, Level::Tenant);
    let wait = denied.retry_after().unwrap().as_secs_f64();
    assert!((wait - 60.0).abs() < 1e-3, "{wait}");
    assert_eq!(denied.tenant, Some(tenant.clone()));
    let never = quota.try_reserve_at(&whose, &Amounts::tokens(550, 0), start).unwrap_err();
    assert!(matches!(never.reason, Reason::TooLarge { amount: 550, most: 500, .. }));
    assert!(never.is_never() && never.retry_after().is_none());
}

#[test]
fn calls_without_a_tenant_share_one_account_and_keys_count_where_they_are_given() {
    let quota = QuotaLimiter::builder()
        .per_tenant(tokens_per_minute(100))
        .per_key("team", tokens_per_minute(150))
        .build()
        .unwrap();
    let start = now();
    let team = [(Arc::from("team"), Arc::from("red"))];
    let anonymous = Whose::default();
    let _all = quota.try_reserve_at(&anonymous, &tokens(100), start).unwrap();
    assert!(quota.try_reserve_at(&anonymous, &tokens(1), start).is_err());
    let tenants = ["a", "b"].map(TenantId::new);
    let whose = tenants.each_ref().map(|tenant| Whose::new(Some(tenant), None, &team));
    let _first = quota.try_reserve_at(&whose[0], &tokens(100), start).unwrap();
    let denied = quota.try_reserve_at(&whose[1], &tokens(51), start).unwrap_err();
    assert_eq!(denied.level, Level::Key("team".into()));
    assert_eq!(left(&quota, &tenants[1], start), 100);
}
