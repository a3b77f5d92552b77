//! What quotas on Redis do beyond what every store does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::quota::store::{Demand, Grant, MemoryQuotaStore, QuotaStore, StoredScope};
use evenkeel::quota::{Amounts, Budget, Denied, Dimension, Level, Limit, Limits, Period, Reason};
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, now};
use evenkeel::usage::Cost;
use futures::future::join_all;

use crate::server::{Cluster, Server, pause};
use crate::support::{AGES, demand, left, patient, reserve, scope, sharded, take, tokens};

const SECOND: Duration = Duration::from_secs(1);

/// One of two limits on the same thing, as before and after a change of the configuration.
///
/// One by rate at a time: of several the reference takes one after the other, and what it gives back
/// where a later one refuses stands in the way of refunds, as it does between scopes.
fn limits(kind: u64, rng: &Rng) -> Limits {
    let tight = rng.below(2) == 0;
    let of = |dimension, amount| Limits::new().limit(Limit::new(dimension, amount, AGES));
    let (tokens, running) = if tight { (700_000, 6) } else { (1_000_000, 9) };
    let requests = Limit::new(Dimension::Requests, 1_000_000, AGES).burst(tokens / 20_000);
    let limits = match kind % 5 {
        0 => of(Dimension::Tokens, tokens),
        1 => of(Dimension::Cost, 4_000_000_000_007),
        2 => of(Dimension::OutputTokens, 300_000),
        3 => Limits::new().limit(requests),
        _ => Limits::new()
            .budget(Budget::new(Dimension::InputTokens, 2 * tokens, Period::Month))
            .budget(Budget::new(Dimension::Cost, 8_000_000_000_003, Period::Month)),
    };
    limits.concurrency(running)
}

fn amounts(rng: &Rng) -> Amounts {
    Amounts::tokens(rng.below(120_000), rng.below(60_000))
        .with_cost(Cost::from_nano_dollars(rng.below(900_000_000_000)))
}

/// Whether two answers say the same. Times may differ by what one unit takes to flow in, for one store
/// counts in whole ones; and where several limits are in the way as long, either may be named.
fn agree(ours: &Result<Grant, Denied>, theirs: &Result<Grant, Denied>) -> bool {
    let (Err(ours), Err(theirs)) = (ours, theirs) else { return ours.is_ok() && theirs.is_ok() };
    match (ours.retry_after(), theirs.retry_after()) {
        (Some(ours), Some(theirs)) => ours.abs_diff(theirs) <= AGES / 300_000,
        _ => ours == theirs,
    }
}

/// Both stores are asked the same, in the same order.
async fn histories_agree(seed: u64, store: &impl QuotaStore, level: u64) {
    let (rng, reference) = (Rng::from_seed(seed), MemoryQuotaStore::new());
    let mut open = VecDeque::new();
    for step in 0..120 {
        if rng.below(3) == 0 && !open.is_empty() {
            let at = rng.below(open.len() as u64) as usize;
            let (ours, theirs): (Grant, Grant) = open.remove(at).unwrap();
            let actual = amounts(&rng);
            store.settle(&ours, &actual).await.unwrap();
            reference.settle(&theirs, &actual).await.unwrap();
            continue;
        }
        let name = |name: &str| format!("{name}-{seed}/{level}");
        let mut scopes = vec![StoredScope::new(name("a"), Level::Tenant, limits(seed, &rng))];
        if rng.below(2) == 0 {
            let wide = Limits::new().limit(Limit::new(Dimension::Tokens, 1 << 40, AGES));
            scopes.push(StoredScope::new(name("b"), Level::Global, wide));
        }
        let demand = demand(amounts(&rng), &scopes);
        let ours = reserve(store, &demand).await.unwrap();
        let theirs = reserve(&reference, &demand).await.unwrap();
        assert!(agree(&ours, &theirs), "seed {seed}, step {step}: {ours:?}, {theirs:?}");
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            open.push_back((ours, theirs));
        }
    }
}

#[tokio::test]
async fn random_histories_are_answered_as_the_reference_answers_them() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    for seed in 0..40 {
        histories_agree(seed, &store, 0).await;
    }
}

/// Sums of settled amounts over every window that begins and ends with a call.
fn largest_excess(admitted: &[(Instant, Instant, u64)], burst: f64, per_second: f64) -> f64 {
    let mut worst = f64::MIN;
    for (first, &(from, _, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for &(_, until, amount) in &admitted[first..] {
            sum += amount;
            let allowed = burst + per_second * (until - from).as_secs_f64();
            worst = worst.max(sum as f64 - allowed);
        }
    }
    worst
}

#[tokio::test]
async fn no_window_lets_more_through_whatever_the_order_in_which_calls_end() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    for seed in 0..4 {
        let rng = Rng::from_seed(seed);
        let rate = Limit::new(Dimension::Tokens, 1_000, SECOND / 5);
        let scopes = [scope(&format!("{seed}"), Limits::new().limit(rate))];
        let (mut open, mut admitted) = (Vec::<(Grant, usize)>::new(), Vec::new());
        let start = now();
        while now() - start < SECOND {
            if open.len() > 12 || rng.below(3) == 0 && !open.is_empty() {
                let (grant, at) = open.swap_remove(rng.below(open.len() as u64) as usize);
                let used = rng.below(grant.demand.amounts.input_tokens + 1);
                store.settle(&grant, &Amounts::tokens(used, 0)).await.unwrap();
                let (from, until, _) = admitted[at];
                admitted[at] = (from, until, used);
                continue;
            }
            let demand = demand(Amounts::tokens(rng.below(400), 0), &scopes);
            let asked = now();
            if let Ok(grant) = reserve(&store, &demand).await.unwrap() {
                open.push((grant, admitted.len()));
                admitted.push((asked, now(), demand.amounts.input_tokens));
            }
        }
        for (grant, at) in open {
            store.settle(&grant, &Amounts::NONE).await.unwrap();
            admitted[at].2 = 0;
        }
        let excess = largest_excess(&admitted, 1_000.0, 5_000.0);
        assert!(admitted.len() > 50 && excess <= 1.0, "seed {seed}: {excess} over");
    }
}

#[tokio::test]
async fn fifty_clients_at_once_take_what_there_is_to_the_last() {
    let server = Server::start().await;
    let scopes = [scope("a", tokens(1_000))];
    let clients: Vec<_> = (0..50).map(|_| patient(&server).quotas()).collect();
    let granted = join_all(clients.iter().map(|store| {
        let scopes = &scopes;
        async move {
            let mut granted = 0;
            for _ in 0..40 {
                let demand = demand(Amounts::tokens(1, 0), scopes);
                granted += u32::from(reserve(store, &demand).await.unwrap().is_ok());
            }
            granted
        }
    }));
    assert_eq!(granted.await.iter().sum::<u32>(), 1_000);
}

#[tokio::test]
async fn nano_dollars_are_exact_to_the_last_one() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let most = (1 << 50) - 7;
    let limit = Limit::new(Dimension::Cost, 1, AGES).burst(most);
    let budget = Budget::new(Dimension::Cost, most, Period::Month);
    let scopes = [scope("a", Limits::new().limit(limit)), scope("b", Limits::new().budget(budget))];
    let cost = |nanos| Amounts::tokens(0, 0).with_cost(Cost::from_nano_dollars(nanos));
    let first = demand(cost(most - 3), &scopes);
    let grant = reserve(&store, &first).await.unwrap().unwrap();
    for (amount, fits) in [(4, false), (3, true), (1, false)] {
        let answer = reserve(&store, &demand(cost(amount), &scopes)).await.unwrap();
        assert_eq!(answer.is_ok(), fits, "{amount}");
    }
    store.settle(&grant, &cost(most - 5)).await.unwrap();
    for (amount, fits) in [(3, false), (2, true)] {
        let answer = reserve(&store, &demand(cost(amount), &scopes)).await.unwrap();
        assert_eq!(answer.is_ok(), fits, "{amount}");
    }
}

#[tokio::test]
async fn the_largest_limits_are_kept_and_never_exceeded() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let budget = Budget::new(Dimension::Cost, u64::MAX, Period::Month);
    let limit = Limit::new(Dimension::Cost, 1 << 50, Duration::from_secs(86_400)).burst(1 << 60);
    for limits in [Limits::new().budget(budget), Limits::new().limit(limit)] {
        let scopes = [scope(&format!("{limits:?}"), limits)];
        let cost = |nanos| Amounts::tokens(0, 0).with_cost(Cost::from_nano_dollars(nanos));
        let mut granted = 0;
        for _ in 0..40 {
            let answer =
                reserve(&store, &demand(cost((1 << 59) + (1 << 40)), &scopes)).await.unwrap();
            granted += u32::from(answer.is_ok());
        }
        let most = if scopes[0].limits.rates.is_empty() { 31 } else { 1 };
        assert_eq!(granted, most, "of {:?}", scopes[0].limits);
    }
}

#[tokio::test]
async fn limits_that_come_and_go_with_a_rollout_keep_what_was_used() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let old = scope("a", tokens(1_000));
    let requests = Limit::new(Dimension::Requests, 100, AGES);
    let new = scope("a", tokens(1_000).limit(requests));
    let first = take(&store, 300, std::slice::from_ref(&new)).await;
    for _ in 0..5 {
        take(&store, 10, std::slice::from_ref(&old)).await;
        take(&store, 10, std::slice::from_ref(&new)).await;
    }
    store.settle(&first, &Amounts::tokens(250, 0)).await.unwrap();
    assert_eq!(left(&store, &old, 1_000).await, 650);
    let mut calls = Amounts::NONE;
    calls.requests = 90;
    let calls = demand(calls, &[new]);
    let denied = reserve(&store, &calls).await.unwrap().unwrap_err();
    assert!(matches!(denied.reason, Reason::Rate { dimension: Dimension::Requests, .. }));
}

#[tokio::test]
async fn one_round_trip_an_operation() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let scopes = [scope("tenant", tokens(1_000)), scope("global", tokens(10_000))];
    let grant = take(&store, 1, &scopes).await;
    store.settle(&grant, &grant.demand.amounts).await.unwrap();
    let _: String = server.ask(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..20 {
        let grant = take(&store, 1, &scopes).await;
        store.settle(&grant, &grant.demand.amounts).await.unwrap();
    }
    assert_eq!(calls_of(&server, "evalsha").await, 40);
    assert_eq!(calls_of(&server, "eval").await, 0);
}

/// How often the server was asked for a command, by its own count.
async fn calls_of(server: &Server, command: &str) -> u64 {
    let stats: String = server.ask(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
    let calls = line.and_then(|line| line.strip_prefix("calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn a_scope_takes_at_most_150_bytes_and_none_once_it_is_idle() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let hour = Duration::from_secs(3_600);
    let two = Limits::new().limit(Limit::new(Dimension::Requests, 600, hour)).limit(Limit::new(
        Dimension::Tokens,
        1_000_000,
        hour,
    ));
    let grant = take(&store, 900_000, &[scope("a", two)]).await;
    store.settle(&grant, &grant.demand.amounts).await.unwrap();
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let bytes: u64 = server.ask(&["MEMORY", "USAGE", &keys[0]]).await;
    println!("a scope of two limits: {bytes} bytes");
    assert!(keys.len() == 1 && bytes <= 150, "{keys:?}: {bytes}");
    let living: u64 = server.ask(&["PTTL", &keys[0]]).await;
    assert!(living <= 3_600_000, "{living} ms");

    let quick = Limits::new().limit(Limit::new(Dimension::Tokens, 1_000, SECOND / 10));
    let scopes = [scope("b", quick)];
    let unused = take(&store, 1_000, &scopes).await;
    store.settle(&unused, &Amounts::NONE).await.unwrap();
    let left: u64 = server.ask(&["DBSIZE"]).await;
    assert_eq!(left, 1, "what is idle at once is deleted at once");
    let used = take(&store, 1_000, &scopes).await;
    store.settle(&used, &used.demand.amounts).await.unwrap();
    pause(SECOND / 5).await;
    let left: u64 = server.ask(&["DBSIZE"]).await;
    assert_eq!(left, 1, "what has drained is forgotten");
}

/// Sets the clock back as a scope sees it: its last time lies ahead.
async fn ahead(server: &Server, by: Duration) {
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let script = "local s = {cmsgpack.unpack(redis.call('HGET', KEYS[1], 's'))} \
                  s[1] = s[1] + ARGV[1] \
                  return redis.call('HSET', KEYS[1], 's', cmsgpack.pack(unpack(s)))";
    let by = by.as_micros().to_string();
    let _: i64 = server.ask(&["EVAL", script, "1", &keys[0], &by]).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_refills_nothing_and_locks_nobody_out() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let limits = Limits::new().limit(Limit::new(Dimension::Tokens, 1_000, 60 * SECOND));
    let scopes = [scope("a", limits)];
    let used = take(&store, 1_000, &scopes).await;
    store.settle(&used, &used.demand.amounts).await.unwrap();
    for (by, waits) in [(0, 59..=60), (4, 63..=64), (3_600, 59..=60)] {
        ahead(&server, by * SECOND).await;
        let again = demand(Amounts::tokens(1_000, 0), &scopes);
        let denied = reserve(&store, &again).await.unwrap().unwrap_err();
        let wait = denied.retry_after().unwrap();
        assert!(waits.contains(&(wait.as_secs() as u32)), "{by} s back: {wait:?}");
    }
}

#[tokio::test]
async fn months_end_where_the_calendar_says_on_the_server_too() {
    let server = Server::start().await;
    let (store, reference) = (patient(&server).quotas(), MemoryQuotaStore::new());
    for period in [Period::Day, Period::Month] {
        let limits = Limits::new().budget(Budget::new(Dimension::Tokens, 10, period));
        let scopes = [scope(&format!("{period:?}"), limits)];
        let mut waits = Vec::new();
        for amount in [10, 1] {
            let demand = demand(Amounts::tokens(amount, 0), &scopes);
            let ours = reserve(&store, &demand).await.unwrap();
            let theirs = reserve(&reference, &demand).await.unwrap();
            waits = [ours, theirs].map(|it| it.err().and_then(|it| it.retry_after())).to_vec();
        }
        let [ours, theirs] = waits[..] else { panic!() };
        let apart = ours.unwrap().abs_diff(theirs.unwrap());
        assert!(apart < SECOND, "{period:?}: {ours:?} and {theirs:?}");
    }
}

#[tokio::test]
async fn what_a_first_slot_gave_goes_back_when_a_second_refuses() {
    let cluster = Cluster::start().await;
    let store = sharded(&cluster).quotas();
    for n in 0..20 {
        let tenant = scope(&format!("tenant-{n}"), tokens(1_000).concurrency(1));
        let global = scope(&format!("global-{n}"), tokens(10));
        let both = [tenant.clone(), global.clone()];
        let refused = reserve(&store, &demand(Amounts::tokens(11, 0), &both)).await.unwrap();
        assert!(refused.unwrap_err().is_never());
        take(&store, 5, std::slice::from_ref(&global)).await;
        let refused = reserve(&store, &demand(Amounts::tokens(6, 0), &both)).await.unwrap();
        assert!(!refused.unwrap_err().is_never());
        take(&store, 1_000, &[tenant]).await;
    }
}

#[tokio::test]
async fn what_another_slot_refused_takes_nothing_from_calls_that_run() {
    let cluster = Cluster::start().await;
    let store = sharded(&cluster).quotas();
    let (tenant, global) = (scope("tenant", tokens(1_000)), scope("global", tokens(10)));
    let running = take(&store, 500, std::slice::from_ref(&tenant)).await;
    take(&store, 10, std::slice::from_ref(&global)).await;
    for _ in 0..20 {
        let both = [tenant.clone(), global.clone()];
        let refused = reserve(&store, &demand(Amounts::tokens(10, 0), &both)).await.unwrap();
        assert!(refused.is_err());
    }
    store.settle(&running, &Amounts::NONE).await.unwrap();
    assert_eq!(left(&store, &tenant, 1_000).await, 1_000);
}

#[tokio::test]
async fn a_tenants_scopes_are_one_round_trip_in_a_cluster() {
    let cluster = Cluster::start().await;
    let shared = sharded(&cluster);
    shared.ready().await.unwrap();
    let store = shared.quotas();
    let scopes = [scope("acme", tokens(1_000)), scope("acme/large", tokens(1_000))];
    take(&store, 1, &scopes).await;
    for master in &cluster.masters {
        let _: String = master.ask(&["CONFIG", "RESETSTAT"]).await;
    }
    for _ in 0..10 {
        take(&store, 1, &scopes).await;
    }
    let mut calls = 0;
    for master in &cluster.masters {
        calls += calls_of(master, "evalsha").await;
    }
    assert_eq!(calls, 10);
}

#[tokio::test]
async fn instances_are_counted_while_they_live() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    assert_eq!(store.beat(1, SECOND / 2).await.unwrap(), 1);
    assert_eq!(patient(&server).quotas().beat(2, 60 * SECOND).await.unwrap(), 2);
    assert_eq!(store.beat(1, SECOND / 10).await.unwrap(), 2);
    pause(SECOND * 6 / 10).await;
    assert_eq!(store.beat(2, SECOND).await.unwrap(), 1);
}

/// Between the moment at which a scope is swept and that at which it is forgotten lie two milliseconds
/// after a full second: scope after scope is asked for just then.
#[tokio::test]
async fn a_scope_whose_last_call_was_given_up_keeps_its_limits() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    let short = Limit::new(Dimension::Tokens, 10, Duration::from_millis(20)).burst(10);
    let limits = Limits::new().limit(short).concurrency(1);
    let (mut passed, mut rounds) = (0, 0);
    while passed < 5 {
        assert!(rounds < 20, "{passed} were asked for in time");
        passed += given_up(&store, rounds, &limits).await;
        rounds += 1;
    }
}

/// How many scopes were asked for between the one moment and the other, or soon after.
async fn given_up(store: &impl QuotaStore, round: u64, limits: &Limits) -> usize {
    let scopes = (0..200).map(|number| [scope(&format!("{round} {number}"), limits.clone())]);
    let scopes: Vec<_> = scopes.collect();
    for scopes in &scopes {
        let mut lost = Demand::clone(&demand(Amounts::tokens(10, 0), scopes));
        lost.expires_in = Duration::from_millis(5);
        reserve(store, &Arc::new(lost)).await.unwrap().unwrap();
    }
    let since = evenkeel::time::wall_clock().duration_since(std::time::UNIX_EPOCH).unwrap();
    // From three milliseconds before the next full second on.
    let inside = u64::from(since.subsec_millis());
    pause(Duration::from_millis((1_997 - inside) % 1_000)).await;
    let mut passed = 0;
    for (number, scopes) in scopes.iter().enumerate() {
        // Until it is swept the lost call still runs: then there is no room for another.
        let next = reserve(store, &demand(Amounts::tokens(10, 0), scopes)).await.unwrap();
        if next.is_ok() {
            passed += 1;
            let busy = reserve(store, &demand(Amounts::NONE, scopes)).await.unwrap();
            assert!(busy.is_err(), "{number}: two run where one may");
        }
    }
    passed
}
