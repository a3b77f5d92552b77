//! What several threads may do to the scopes of a call at once, in every order.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::quota::amounts::Amounts;
use crate::quota::budget::{Budget, Period};
use crate::quota::denied::Level;
use crate::quota::held::{CallScopes, Held};
use crate::quota::limits::{Dimension, Limit, Limits};
use crate::quota::plan::{Plan, Shared};
use crate::quota::scope::{Moment, Scope};
use crate::quota::succession::succeed;
use crate::sync::Mutex;

const NOW: Moment = Moment { nanos: 0, wall: std::time::UNIX_EPOCH };

/// Ten tokens at once, and practically none later.
fn plan(concurrency: u32) -> Arc<Plan> {
    plan_of(&Limits::new().limit(daily(Dimension::Tokens, 10)).concurrency(concurrency))
}

fn plan_of(limits: &Limits) -> Arc<Plan> {
    Arc::new(Plan::new(Level::Tenant, limits, &Arc::new(Shared::new())))
}

const fn daily(dimension: Dimension, amount: u64) -> Limit {
    Limit::new(dimension, amount, Duration::from_secs(86_400))
}

/// Limits of so many tokens and calls a day: by rate, and as budgets.
fn either(tokens: u64, calls: u64) -> [Limits; 2] {
    let of = |dimension, amount| Budget::new(dimension, amount, Period::Day);
    let (tokens_by_rate, calls_by_rate) =
        (daily(Dimension::Tokens, tokens), daily(Dimension::Requests, calls));
    [
        Limits::new().limit(tokens_by_rate).limit(calls_by_rate),
        Limits::new().budget(of(Dimension::Tokens, tokens)).budget(of(Dimension::Requests, calls)),
    ]
}

fn scope() -> Arc<Scope> {
    Arc::new(Scope::new(plan(9)))
}

fn used(scope: &Scope) -> u64 {
    10 - scope.available(NOW).next().unwrap().1
}

/// What is used of the first limit, be it a budget.
fn used_of(scope: &Scope, burst: u64) -> u64 {
    let by_rate = scope.available(NOW).next().map(|(_, left)| burst - left);
    by_rate.or_else(|| Some(scope.budgets_used(NOW).next()?.1)).expect("it has a limit")
}

/// Takes six of ten tokens from every scope and uses some; whether it was let in.
fn call(scopes: &[Arc<Scope>], actual: u64) -> bool {
    call_of(6, scopes, actual)
}

fn call_of(amount: u64, scopes: &[Arc<Scope>], actual: u64) -> bool {
    let mut held = Held::default();
    *held.scopes() = CallScopes::from(scopes);
    let taken = held.take(&Amounts::tokens(amount, 0), NOW).is_ok();
    if taken {
        let _freed = held.settle(&Amounts::tokens(actual, 0), NOW.nanos);
    }
    taken
}

#[test]
fn loom_two_scopes_are_taken_from_both_or_from_none() {
    loom::model(|| {
        let scopes = [scope(), scope()];
        let theirs = scopes.clone();
        let other = thread::spawn(move || call(&theirs, 6));
        let ours = call(&scopes, 6);
        let both = [ours, other.join().unwrap()];
        let used = scopes.each_ref().map(|scope| used(scope));
        let let_in = both.into_iter().filter(|let_in| *let_in).count() as u64;
        assert!(let_in <= 1, "twelve of ten");
        assert_eq!(used, [6 * let_in; 2]);
        assert!(scopes.iter().all(|scope| scope.running() == 0));
    });
}

#[test]
fn loom_what_a_call_gives_back_of_two_scopes_is_there_for_the_next() {
    loom::model(|| {
        let scopes = [scope(), scope()];
        let theirs = scopes.clone();
        let other = thread::spawn(move || call(&theirs, 0));
        let ours = call(&scopes, 4);
        other.join().unwrap();
        assert_eq!(scopes.each_ref().map(|scope| used(scope)), [if ours { 4 } else { 0 }; 2]);
        assert!(call(&scopes, 6), "six are left");
    });
}

/// The map's lock is a lock here, and its reference loom's; the look is the sweep's.
#[test]
fn loom_a_sweep_forgets_no_charge() {
    use loom::sync::Arc;
    loom::model(|| {
        let entry = Arc::new(Mutex::new(Some(Arc::new(Scope::new(plan(9))))));
        let caller = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                let make = || Arc::new(Scope::new(plan(9)));
                let scope = Arc::clone(entry.lock().get_or_insert_with(make));
                let mut places = Default::default();
                scope.reserve(&Amounts::tokens(6, 0), NOW, &mut places).unwrap();
                let actual = Amounts::tokens(5, 0);
                let _freed = scope.settle(&places.taken, &places.budgeted, &actual, 0);
            })
        };
        {
            let mut entry = entry.lock();
            let idle = entry.as_mut().and_then(Arc::get_mut).is_some_and(|it| it.is_idle(NOW));
            if idle {
                *entry = None;
            }
        }
        caller.join().unwrap();
        let entry = entry.lock();
        assert_eq!(used(entry.as_ref().expect("it is in use")), 5);
    });
}

#[test]
fn loom_limits_that_change_lose_no_charge_and_no_call() {
    for actual in [6, 9] {
        loom::model(move || {
            let before = scope();
            let theirs = Arc::clone(&before);
            let caller = thread::spawn(move || call(&[theirs], actual));
            let after = succeed(&before, plan(1), NOW);
            assert!(caller.join().unwrap());
            assert!(used(&after) >= actual, "{} of {actual}", used(&after));
            assert_eq!(after.running(), 0);
        });
    }
}

/// Whoever takes from the old limits too late gives nothing back to the new ones, which never had it.
#[test]
fn loom_limits_that_change_hand_nothing_out_twice() {
    for limits in either(10, 9) {
        loom::model(move || {
            let before = Arc::new(Scope::new(plan_of(&limits)));
            assert!(call_of(6, &[Arc::clone(&before)], 6));
            let theirs = Arc::clone(&before);
            let caller = thread::spawn(move || call_of(4, &[theirs], 4));
            let after = succeed(&before, plan_of(&limits), NOW);
            assert!(caller.join().unwrap());
            assert_eq!(used_of(&after, 10), 10);
            assert_eq!(after.running(), 0);
        });
    }
}

#[test]
fn loom_a_call_that_is_refused_while_limits_change_gives_back_no_more_than_it_took() {
    for limits in either(10, 1) {
        loom::model(move || {
            let before = Arc::new(Scope::new(plan_of(&limits)));
            assert!(call_of(6, &[Arc::clone(&before)], 6));
            let theirs = Arc::clone(&before);
            let caller = thread::spawn(move || call_of(4, &[theirs], 4));
            let after = succeed(&before, plan_of(&limits), NOW);
            assert!(!caller.join().unwrap(), "two calls of one");
            assert!(used_of(&after, 10) >= 6, "{} of 6", used_of(&after, 10));
            assert_eq!(after.running(), 0);
        });
    }
}

#[test]
fn loom_what_a_call_is_charged_on_the_way_while_limits_change_is_not_lost() {
    for limits in either(20, 9) {
        loom::model(move || {
            let before = Arc::new(Scope::new(plan_of(&limits)));
            assert!(call_of(6, &[Arc::clone(&before)], 6));
            let mut held = Held::default();
            *held.scopes() = CallScopes::from([Arc::clone(&before)].as_slice());
            held.take(&Amounts::tokens(4, 0), NOW).unwrap();
            let caller = thread::spawn(move || {
                held.extend(&Amounts::tokens(3, 0), NOW.nanos);
                let _freed = held.settle(&Amounts::tokens(7, 0), NOW.nanos);
            });
            let after = succeed(&before, plan_of(&limits), NOW);
            caller.join().unwrap();
            assert!(used_of(&after, 20) >= 13, "{} of 13", used_of(&after, 20));
            assert_eq!(after.running(), 0);
        });
    }
}

#[test]
fn loom_a_place_for_one_is_never_given_to_two_while_limits_change() {
    loom::model(|| {
        let before = Arc::new(Scope::new(plan(1)));
        let enter = |scope: Arc<Scope>| {
            let mut held = Held::default();
            *held.scopes() = CallScopes::from([scope].as_slice());
            held.take(&Amounts::tokens(1, 0), NOW).ok().map(|()| held)
        };
        let theirs = Arc::clone(&before);
        let other = thread::spawn(move || enter(theirs));
        let after = succeed(&before, plan(1), NOW);
        let ours = enter(Arc::clone(&after));
        let theirs = other.join().unwrap();
        assert!(ours.is_none() || theirs.is_none(), "two at once");
        for mut held in [ours, theirs].into_iter().flatten() {
            let _freed = held.settle(&Amounts::tokens(1, 0), 0);
        }
        assert_eq!(after.running(), 0);
    });
}
