//! When an endpoint is picked and when it is not, whatever happens in whatever order.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use evenkeel::balance::{Balancer, Demand, HealthPolicy, Lease, NoLease};
use evenkeel::outcome::{End, Outcome};
use evenkeel::testing::ScriptedProvider;
use evenkeel::time::{Instant, now};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Endpoint, ErrorKind, Provider, ProviderError,
    async_trait,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::doubles::seconds;
use crate::leases::{
    break_down, count, endpoint, fail, label, lease_any, lease_on, numbered, over, picks_of,
    succeed, until,
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// What a test does next.
#[derive(Debug, Clone)]
enum Step {
    Lease,
    /// Ends one of the leases that live.
    Settle(Index, Option<ErrorKind>),
    Drop(Index),
    Panic(Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    let kind = (0..ErrorKind::ALL.len()).prop_map(|at| ErrorKind::ALL[at]);
    prop_oneof![
        3 => Just(Step::Lease),
        2 => (any::<Index>(), prop::option::of(kind)).prop_map(|(at, end)| Step::Settle(at, end)),
        1 => any::<Index>().prop_map(Step::Drop),
        1 => any::<Index>().prop_map(Step::Panic),
    ]
}

/// Takes one of the leases that live out of them.
fn take(live: &mut Vec<Lease>, at: Index) -> Option<Lease> {
    (!live.is_empty()).then(|| live.swap_remove(at.index(live.len())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn running_calls_are_the_leases_that_live(steps in prop::collection::vec(any_step(), 0..150)) {
        let balancer = numbered(3).build().unwrap();
        let mut now = now();
        let mut live: Vec<Lease> = Vec::new();
        for step in steps {
            now += seconds(2);
            match step {
                Step::Lease => live.extend(balancer.try_lease(&Demand::new(None), now)),
                Step::Settle(at, end) => if let Some(lease) = take(&mut live, at) {
                    match end {
                        Some(kind) => fail(lease, kind, now),
                        None => succeed(lease, now),
                    }
                },
                Step::Drop(at) => drop(take(&mut live, at)),
                Step::Panic(at) => if let Some(lease) = take(&mut live, at) {
                    // Unwinds without the message that a panic prints.
                    let unwound = catch_unwind(AssertUnwindSafe(move || {
                        let _lease = lease;
                        resume_unwind(Box::new(()));
                    }));
                    prop_assert!(unwound.is_err());
                },
            }
            for status in balancer.status(now) {
                prop_assert_eq!(status.in_flight as usize, count(&live, status.id.as_str()));
            }
        }
        live.clear();
        // Whatever was held against them is over, and no trial is lost with its lease.
        now += seconds(700);
        for id in ["0", "1", "2"] {
            prop_assert!(lease_on(&balancer, id, now).is_some());
        }
    }

    #[test]
    fn refusals_neither_count_against_health_nor_for_it(
        steps in prop::collection::vec(prop::option::of(0usize..6), 0..60),
    ) {
        let refusals = [
            ErrorKind::RateLimited,
            ErrorKind::InvalidRequest,
            ErrorKind::ContextLength,
            ErrorKind::ContentFilter,
            ErrorKind::ModelNotFound,
            ErrorKind::Unsupported,
        ];
        let (with, without) = (numbered(1).build().unwrap(), numbered(1).build().unwrap());
        let mut now = now();
        for step in steps {
            let refusal = step.map(|at| refusals[at]);
            let error = ProviderError::new(refusal.unwrap_or(ErrorKind::Server), "")
                .with_retry_after(Duration::ZERO);
            let outcome = Outcome::failed(&error, false);
            lease_any(&with, now).settle(&outcome, now);
            if refusal.is_none() {
                lease_any(&without, now).settle(&outcome, now);
            }
            // The shortest cooldown is over; the shortest opening is far longer than all steps.
            now += 60 * MILLISECOND;
            prop_assert_eq!(label(&with, "0", now), label(&without, "0", now));
        }
    }

    #[test]
    fn nobody_is_picked_before_it_asked_to_be(
        steps in prop::collection::vec((any_step(), 0u64..40, 0u64..3_000), 0..150),
    ) {
        let balancer = numbered(3).build().unwrap();
        let mut now = now();
        let mut not_before = [now; 3];
        let mut live: Vec<Lease> = Vec::new();
        let number = |lease: &Lease| lease.endpoint().as_str().parse::<usize>().unwrap();
        for (step, hint, pause) in steps {
            now += MILLISECOND * pause as u32;
            let lease = match step {
                Step::Lease => {
                    if let Ok(lease) = balancer.try_lease(&Demand::new(None), now) {
                        prop_assert!(now >= not_before[number(&lease)], "{:?}", lease);
                        live.push(lease);
                    }
                    continue;
                }
                Step::Settle(at, _) | Step::Drop(at) | Step::Panic(at) => take(&mut live, at),
            };
            let Some(lease) = lease else { continue };
            // Every third one is a success, which may be of an attempt from before the refusal.
            if hint % 3 == 0 {
                succeed(lease, now);
                continue;
            }
            let of = number(&lease);
            not_before[of] = not_before[of].max(now + seconds(hint));
            let error = ProviderError::new(ErrorKind::RateLimited, "").with_retry_after(seconds(hint));
            lease.settle(&Outcome::failed(&error, false), now);
        }
    }

    #[test]
    fn health_never_takes_out_more_than_its_share_nor_refuses_a_call(
        endpoints in 1usize..=9,
        troubles in prop::collection::vec((any::<Index>(), 0usize..8, 0u64..30), 0..16),
    ) {
        let balancer = numbered(endpoints).build().unwrap();
        let most = ((endpoints as f64 * 0.66) as usize).max(1);
        let mut now = now();
        for (at, faults, pause) in troubles {
            let id = at.index(endpoints).to_string();
            for _ in 0..faults {
                let Some(lease) = lease_on(&balancer, &id, now) else { break };
                fail(lease, ErrorKind::Server, now);
            }
            now += seconds(pause);
            // Whoever returns gets at least a tenth of a share; a trial is one call.
            let leases: Vec<Lease> = (0..endpoints * 25).map(|_| lease_any(&balancer, now)).collect();
            let out = (0..endpoints).filter(|id| count(&leases, &id.to_string()) < 2);
            let out = if endpoints == 1 { 0 } else { out.count() };
            prop_assert!(out <= most, "{out} of {endpoints} are out");
        }
    }
}

/// Two endpoints, the first of which has broken down and may be tried.
fn on_trial() -> (Balancer, Instant) {
    let balancer = numbered(2).build().unwrap();
    let start = now();
    break_down(&balancer, "0", start);
    assert_eq!(picks_of(&balancer, "0", 20, start), 0);
    let now = until(&balancer, "0", start);
    assert_eq!(label(&balancer, "0", now), "trial");
    (balancer, now)
}

#[test]
fn one_attempt_at_a_time_finds_out_whoever_else_is_looking() {
    let (balancer, now) = on_trial();
    let leases = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lease = lease_any(&balancer, now);
                    leases.lock().push(lease);
                }
            });
        }
    });
    let leases = leases.into_inner();
    assert_eq!((count(&leases, "0"), count(&leases, "1")), (1, 399));
    assert_eq!(leases.iter().filter(|lease| lease.is_trial()).count(), 1);
    drop(leases);
    let again = lease_on(&balancer, "0", now).unwrap();
    assert!(again.is_trial(), "a trial that is dropped frees the next one");
    assert!(lease_on(&balancer, "0", now).is_none());
    fail(again, ErrorKind::RateLimited, now);
    assert_eq!(label(&balancer, "0", now), "cooling", "a trial that is refused proves nothing");
}

#[test]
fn two_trials_let_it_back_in_and_a_failed_one_keeps_it_out_for_longer() {
    let (balancer, mut now) = on_trial();
    succeed(lease_on(&balancer, "0", now).unwrap(), now);
    assert_eq!(label(&balancer, "0", now), "trial");
    fail(lease_on(&balancer, "0", now).unwrap(), ErrorKind::Server, now);
    let out = until(&balancer, "0", now) - now;
    assert!((seconds(16)..=seconds(24)).contains(&out), "twice ten seconds, more or less: {out:?}");
    now = until(&balancer, "0", now);
    for _ in 0..2 {
        succeed(lease_on(&balancer, "0", now).unwrap(), now);
    }
    assert_eq!(label(&balancer, "0", now), "eligible");
}

#[test]
fn whoever_returns_gets_a_tenth_of_its_share_and_then_more_until_it_has_all() {
    let (balancer, closed) = on_trial();
    for _ in 0..2 {
        succeed(lease_on(&balancer, "0", closed).unwrap(), closed);
    }
    for tenth in 1..=10 {
        let now = closed + seconds(3) * (tenth - 1);
        // Whatever is owed from before is paid within the first cycle.
        let cycle = 10 + tenth as usize;
        picks_of(&balancer, "0", cycle, now);
        assert_eq!(picks_of(&balancer, "0", cycle, now), tenth as usize, "of {cycle}");
    }
}

#[test]
fn a_trial_does_not_keep_others_from_being_served() {
    // One endpoint alone, and one of two while the other one is out.
    for endpoints in [1, 2] {
        let balancer = numbered(endpoints).build().unwrap();
        let start = now();
        for id in 0..endpoints {
            break_down(&balancer, &id.to_string(), start + seconds(id as u64));
        }
        let mut now = start + seconds(1);
        for _ in 0..100 {
            now += seconds(1);
            let leases: Vec<Lease> = (0..20).map(|_| lease_any(&balancer, now)).collect();
            assert_eq!(leases.len(), 20);
        }
    }
}

#[test]
fn where_all_are_unhealthy_they_serve_but_nobody_who_rests_or_refused() {
    let policy = HealthPolicy::any_recent_error();
    let balancer = numbered(4).health(policy).build().unwrap();
    let now = now();
    for (id, kind) in [
        ("0", ErrorKind::Server),
        ("1", ErrorKind::RateLimited),
        ("2", ErrorKind::Auth),
        ("3", ErrorKind::Timeout),
    ] {
        fail(lease_on(&balancer, id, now).unwrap(), kind, now);
    }
    let leases: Vec<Lease> = (0..40).map(|_| lease_any(&balancer, now)).collect();
    assert_eq!((count(&leases, "0"), count(&leases, "3")), (20, 20));
}

#[test]
fn where_nobody_is_left_the_refusal_names_the_first_return() {
    let balancer = numbered(2).build().unwrap();
    let now = now();
    for id in ["0", "1"] {
        let error = ProviderError::new(ErrorKind::RateLimited, "");
        let hint = if id == "0" { seconds(40) } else { seconds(7) };
        let outcome = Outcome::failed(&error.with_retry_after(hint), false);
        lease_on(&balancer, id, now).unwrap().settle(&outcome, now);
    }
    let first = until(&balancer, "1", now);
    let demand = Demand::new(None);
    let refusal = balancer.try_lease(&demand, now).unwrap_err();
    assert_eq!(refusal, NoLease::NotBefore(Some(first)));
    assert_eq!(balancer.earliest(&demand, now), Ok(first));
    let just_before = first - Duration::from_nanos(1);
    assert!(balancer.try_lease(&demand, just_before).is_err());
    assert_eq!(lease_any(&balancer, first).endpoint(), &"1");
}

#[test]
fn any_recent_error_takes_out_all_but_forgets_in_half_a_minute() {
    let policy = HealthPolicy::any_recent_error();
    let balancer = numbered(3).health(policy).build().unwrap();
    let start = now();
    for id in ["0", "1"] {
        fail(lease_on(&balancer, id, start).unwrap(), ErrorKind::Server, start);
    }
    assert_eq!(picks_of(&balancer, "2", 30, start), 30);
    assert_eq!(picks_of(&balancer, "2", 30, start + seconds(30)), 10);
}

#[test]
fn an_attempt_that_outlives_its_balancer_ends_in_peace() {
    let balancer = numbered(1).build().unwrap();
    let lease = lease_any(&balancer, now());
    drop(balancer);
    fail(lease, ErrorKind::Server, now());
}

/// A provider whose probe never answers, or panics.
struct Unfit {
    hangs: bool,
}

#[async_trait]
impl Provider for Unfit {
    fn id(&self) -> &str {
        if self.hangs { "hangs" } else { "panics" }
    }

    async fn complete(
        &self,
        _: &ChatRequest,
        _: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        Ok(ChatResponse::text_only("hi"))
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        resume_unwind(Box::new(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_lets_in_who_answers_and_no_other() {
    let (well, sick) = (ScriptedProvider::new("well"), ScriptedProvider::new("sick"));
    sick.set_probe(Err(ProviderError::new(ErrorKind::Server, "")));
    let balancer = over([
        endpoint("never-failed"),
        Endpoint::new(well.clone()),
        Endpoint::new(sick.clone()),
        Endpoint::new(Unfit { hangs: true }),
        Endpoint::new(Unfit { hangs: false }),
        endpoint("revoked"),
        endpoint("rests"),
    ])
    .health(HealthPolicy::any_recent_error())
    .build()
    .unwrap();
    for id in ["well", "sick", "hangs", "panics"] {
        fail(lease_on(&balancer, id, now()).unwrap(), ErrorKind::Server, now());
    }
    fail(lease_on(&balancer, "revoked", now()).unwrap(), ErrorKind::Auth, now());
    let outcome = Outcome::new(End::Failed(ErrorKind::RateLimited));
    lease_on(&balancer, "rests", now()).unwrap().settle(&outcome, now());
    let start = now();
    let mut back = balancer.probe(seconds(5)).await;
    back.sort();
    assert_eq!(back, ["revoked", "well"]);
    assert_eq!(now() - start, seconds(5), "a probe that hangs is given up");
    for (id, expected) in [("well", "eligible"), ("revoked", "eligible"), ("sick", "unhealthy")] {
        assert_eq!(label(&balancer, id, now()), expected);
    }
    assert_eq!((well.probes(), sick.probes()), (1, 1));
    balancer.probe(seconds(5)).await;
    assert_eq!((well.probes(), sick.probes()), (1, 2), "the healthy are not probed");
}

#[tokio::test(start_paused = true)]
async fn probing_goes_on_until_it_is_dropped() {
    let sick = ScriptedProvider::new("sick");
    sick.set_probe(Err(ProviderError::new(ErrorKind::Auth, "")));
    let balancer = over([Endpoint::new(sick.clone())]).build().unwrap();
    fail(lease_any(&balancer, now()), ErrorKind::Auth, now());
    let probing = balancer.keep_probing(seconds(30), seconds(5));
    assert!(evenkeel::time::until(now() + seconds(100), probing).await.is_none());
    assert_eq!(sick.probes(), 3);
}
