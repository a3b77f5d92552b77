//! Forgetting an idle tenant cannot be noticed, and nothing else is forgotten.

use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Limits, QuotaLimiter, Reason, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::now;

use crate::support::{SECOND, tokens, tokens_per_minute};

fn limiter(most: usize) -> QuotaLimiter {
    QuotaLimiter::builder().per_tenant(tokens_per_minute(1_000)).most_scopes(most).build().unwrap()
}

/// The same calls to a limiter that must forget all the time and to one that never does.
#[test]
fn a_limiter_that_forgets_answers_as_one_that_does_not() {
    for seed in 0..20 {
        let rng = Rng::from_seed(seed);
        let (small, large) = (limiter(300), limiter(1_000_000));
        let names: Vec<_> = (0..2_000).map(|i| TenantId::new(format!("{i}"))).collect();
        let mut at = now();
        for _ in 0..5_000 {
            // Slow enough that no more than two hundred are busy at a time.
            at += Duration::from_millis(300 + rng.below(700));
            let whose = Whose::tenant(&names[rng.below(2_000) as usize]);
            let (amount, actual) = (tokens(1 + rng.below(1_000)), tokens(rng.below(1_000)));
            let [ours, theirs] =
                [&small, &large].map(|quota| quota.try_reserve_at(&whose, &amount, at));
            // Each limiter counts nanoseconds from its own beginning, so they round apart by a few.
            let waits = [&ours, &theirs]
                .map(|result| result.as_ref().err().map(|denied| denied.retry_after().unwrap()));
            match waits {
                [Some(ours), Some(theirs)] => assert!(ours.abs_diff(theirs).as_nanos() <= 4),
                waits => assert_eq!(waits, [None, None]),
            }
            for reservation in [ours, theirs].into_iter().flatten() {
                reservation.settle_at(&actual, at);
            }
        }
        assert!(small.scopes() <= 300);
    }
}

#[test]
fn many_more_tenants_than_are_kept_leave_memory_bounded() {
    let quota = limiter(5_000);
    let start = now();
    // Ten thousand new tenants a second, each busy for six: most find no room, and are told.
    let mut saturated = 0;
    for i in 0..300_000u64 {
        let at = start + Duration::from_micros(100 * i);
        let tenant = TenantId::new(format!("{i}"));
        match quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(100), at) {
            Ok(reservation) => reservation.settle_at(&tokens(100), at),
            Err(denied) => {
                assert_eq!(denied.reason, Reason::Saturated { most: 5_000 });
                saturated += 1;
            }
        }
        assert!(quota.scopes() <= 5_000);
    }
    assert!((200_000..290_000).contains(&saturated), "{saturated}");
    // Once they are idle there is room at once.
    let tenant = TenantId::new("late");
    assert!(quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(1), start + 60 * SECOND).is_ok());
}

#[test]
fn a_running_call_a_handle_and_a_debt_keep_their_scope() {
    let limits = tokens_per_minute(1_000).concurrency(1);
    let quota = QuotaLimiter::builder().per_tenant(limits).most_scopes(3).build().unwrap();
    let names = ["running", "held", "indebted", "new"].map(TenantId::new);
    let whose = names.each_ref().map(Whose::tenant);
    let start = now();
    let running = quota.try_reserve_at(&whose[0], &tokens(1), start).unwrap();
    let handle = quota.handle(&names[1]).unwrap();
    quota.try_reserve_at(&whose[2], &tokens(1), start).unwrap().settle_at(&tokens(60_000), start);

    let later = start + 300 * SECOND;
    let denied = quota.try_reserve_at(&whose[3], &tokens(1), later).unwrap_err();
    assert_eq!(denied.reason, Reason::Saturated { most: 3 });
    let denied = quota.try_reserve_at(&whose[0], &tokens(1), later).unwrap_err();
    assert_eq!(denied.reason, Reason::Concurrency { limit: 1 });
    assert!(quota.try_reserve_at(&whose[2], &tokens(1), later).is_err(), "an hour of debt");
    let through = handle.try_reserve_at(&tokens(1_000), later).unwrap();
    assert!(quota.try_reserve_at(&whose[1], &tokens(1), later).is_err(), "it is one account");

    drop((running, through, handle));
    let much_later = start + 4_000 * SECOND;
    assert!(quota.try_reserve_at(&whose[3], &tokens(1), much_later).is_ok());
}

#[test]
fn threads_that_come_and_go_never_lose_a_charge_to_a_sweep() {
    const CALLS: u64 = 3_000;
    let limits = Limits::new().tokens_per_minute(1_000_000).concurrency(1_000);
    let quota = QuotaLimiter::builder().per_tenant(limits).most_scopes(16).build().unwrap();
    let (tenant, start) = (TenantId::new("counted"), now());
    let _first = quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(0), start).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..CALLS {
                    let whose = Whose::tenant(&tenant);
                    let Ok(call) = quota.try_reserve_at(&whose, &tokens(30), start) else {
                        panic!("the counted tenant is in use all the time")
                    };
                    call.settle_at(&tokens(10), start);
                }
            });
        }
        scope.spawn(|| {
            for i in 0..20_000u64 {
                // Idle at once; the limiter is full all the time, and sweeps for nearly every one.
                let tenant = TenantId::new(format!("{i}"));
                let at = start + Duration::from_micros(20 * i);
                drop(quota.try_reserve_at(&Whose::tenant(&tenant), &tokens(0), at));
            }
        });
    });
    let usage = quota.usage(&tenant).unwrap();
    assert_eq!(usage.running, 1);
    // What calls used is charged; of what they gave back in any order, some may be kept.
    let more = tokens(1_000_001 - 2 * CALLS * 10);
    assert!(quota.try_reserve_at(&Whose::tenant(&tenant), &more, start).is_err());
}
