//! What several threads may do to the scopes of a call at once, in every order.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::quota::amounts::Amounts;
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
    let limit = Limit::new(Dimension::Tokens, 10, Duration::from_secs(86_400));
    let limits = Limits::new().limit(limit).concurrency(concurrency);
    Arc::new(Plan::new(Level::Tenant, &limits, &Arc::new(Shared::new())))
}

fn scope() -> Arc<Scope> {
    Arc::new(Scope::new(plan(9)))
}

fn used(scope: &Scope) -> u64 {
    10 - scope.available(NOW).next().unwrap().1
}

/// Takes six of ten tokens from every scope and uses some; whether it was let in.
fn call(scopes: &[Arc<Scope>], actual: u64) -> bool {
    let mut held = Held::default();
    *held.scopes() = CallScopes::from(scopes);
    let taken = held.take(&Amounts::tokens(6, 0), NOW).is_ok();
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
