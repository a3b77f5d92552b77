//! Servers that are killed, stand still, are slow, come and go, or are full: no operation takes longer
//! than its deadline, each says what is wrong, and all is well again when the server is.

use std::time::Duration;

use evenkeel::balance::facts::{AccountFact, FactKind, FactStore};
use evenkeel::cache::shared::CacheStore;
use evenkeel::quota::Amounts;
use evenkeel::remote::{Guarded, StoreError};
use evenkeel::stores::redis::{RedisQuotaStore, RedisShared};
use evenkeel::time::now;

use crate::proxy::Proxy;
use crate::server::{Cluster, Server, pause};
use crate::support::{SECRET, answer, demand, key, reserve, scope, sharded, shared, tokens};

/// Longer than the 25 ms of a service: these machines run other tests meanwhile.
const DEADLINE: Duration = Duration::from_millis(150);

/// What a deadline may be late by on a busy machine.
const SLACK: Duration = Duration::from_millis(150);

/// One reservation behind a deadline and a breaker.
async fn ask(guarded: &Guarded, store: &RedisQuotaStore) -> Result<(), StoreError> {
    let start = now();
    let scopes = [scope("a", tokens(1_000_000))];
    let demand = demand(Amounts::tokens(1, 0), &scopes);
    let answer = guarded.ask(async { reserve(store, &demand).await.map(drop) }).await;
    let took = now() - start;
    assert!(took < DEADLINE + SLACK, "{took:?}");
    answer
}

fn guarded() -> Guarded {
    Guarded::new("quota", DEADLINE)
}

/// What the first failures are, until the breaker has opened.
async fn failures(guarded: &Guarded, store: &RedisQuotaStore) -> Vec<&'static str> {
    let mut labels = Vec::new();
    for _ in 0..20 {
        match ask(guarded, store).await {
            Err(StoreError::Resting(_)) => return labels,
            Err(error) => labels.push(error.label()),
            Ok(()) => labels.push("none"),
        }
    }
    panic!("the breaker stayed closed: {labels:?}");
}

/// Answers again, with nothing done but asking.
async fn recovers(guarded: &Guarded, store: &RedisQuotaStore) {
    for _ in 0..400 {
        if ask(guarded, store).await.is_ok() {
            return;
        }
        pause(Duration::from_millis(25)).await;
    }
    panic!("it did not recover within ten seconds");
}

fn only(labels: &[&str], expected: &[&str]) {
    assert!(!labels.is_empty() && labels.iter().all(|it| expected.contains(it)), "{labels:?}");
}

#[tokio::test]
async fn starting_without_a_server_works_and_one_that_comes_is_found() {
    let mut server = Server::start().await;
    server.kill();
    let (store, guarded) = (shared(&server).quotas(), guarded());
    assert_eq!(shared(&server).ready().await.unwrap_err().label(), "unreachable");
    only(&failures(&guarded, &store).await, &["unreachable"]);
    server.run().await;
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_server_that_is_killed_is_unreachable_and_is_found_when_it_is_back() {
    let mut server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    ask(&guarded, &store).await.unwrap();
    server.kill();
    only(&failures(&guarded, &store).await, &["unreachable"]);
    server.run().await;
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_restart_between_two_operations_is_not_noticed() {
    let mut server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    ask(&guarded, &store).await.unwrap();
    for _ in 0..3 {
        server.kill();
        server.run().await;
        ask(&guarded, &store).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_late_and_goes_on_when_it_does() {
    let server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    ask(&guarded, &store).await.unwrap();
    server.freeze();
    only(&failures(&guarded, &store).await, &["late"]);
    server.thaw();
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_server_half_a_second_away_is_late() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisShared::connect(proxy.url(), SECRET).unwrap().quotas();
    let guarded = guarded();
    ask(&guarded, &store).await.unwrap();
    proxy.delay(Duration::from_millis(500));
    only(&failures(&guarded, &store).await, &["late"]);
    proxy.delay(Duration::ZERO);
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_server_that_comes_and_goes_fails_some_and_holds_up_none() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisShared::connect(proxy.url(), SECRET).unwrap().quotas();
    let guarded = guarded();
    for _ in 0..10 {
        proxy.cut(true);
        pause(Duration::from_millis(20)).await;
        for _ in 0..3 {
            let failed = ask(&guarded, &store).await.unwrap_err();
            only(&[failed.label()], &["unreachable", "late", "resting"]);
        }
        proxy.cut(false);
        pause(Duration::from_millis(20)).await;
        let _sometimes = ask(&guarded, &store).await;
    }
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_full_server_refuses_what_needs_room_and_lets_calls_end() {
    let server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    let scopes = [scope("full", tokens(1_000).concurrency(2))];
    let running = demand(Amounts::tokens(400, 0), &scopes);
    let grant = reserve(&store, &running).await.unwrap().unwrap();
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    only(&failures(&guarded, &store).await, &["refused"]);
    use evenkeel::quota::store::QuotaStore as _;
    store.settle(&grant, &Amounts::tokens(100, 0)).await.unwrap();
    let answers = shared(&server).answers();
    let refused = answers.put(&key(1, 1), &answer(1, "x")).await.unwrap_err();
    assert_eq!(refused.label(), "refused");
    let facts = shared(&server).facts();
    let fact = AccountFact::new(1, FactKind::Auth, Duration::from_secs(9));
    assert_eq!(facts.publish(&fact).await.unwrap_err().label(), "refused");
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    recovers(&guarded, &store).await;
    let rest = demand(Amounts::tokens(900, 0), &scopes);
    assert!(reserve(&store, &rest).await.unwrap().is_ok(), "what was not used went back");
}

#[tokio::test]
async fn something_else_under_the_key_is_refused_and_left_alone() {
    let server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    ask(&guarded, &store).await.unwrap();
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let _: i64 = server.ask(&["DEL", &keys[0]]).await;
    let _: String = server.ask(&["SET", &keys[0], "something else"]).await;
    only(&failures(&guarded, &store).await, &["refused"]);
    let there: String = server.ask(&["GET", &keys[0]]).await;
    assert_eq!(there, "something else");
    let _: i64 = server.ask(&["DEL", &keys[0]]).await;
    recovers(&guarded, &store).await;
}

#[tokio::test]
async fn a_server_that_forgets_its_scripts_is_sent_them_again() {
    let server = Server::start().await;
    let (store, guarded) = (shared(&server).quotas(), guarded());
    for _ in 0..3 {
        ask(&guarded, &store).await.unwrap();
        let _: String = server.ask(&["SCRIPT", "FLUSH"]).await;
    }
    ask(&guarded, &store).await.unwrap();
}

#[tokio::test]
async fn a_master_that_dies_takes_only_its_own_slots_with_it() {
    let mut cluster = Cluster::start().await;
    for master in &cluster.masters {
        let _: String = master.ask(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let store = sharded(&cluster).quotas();
    let guarded = guarded();
    ask(&guarded, &store).await.unwrap();
    cluster.masters[2].kill();
    let mut passed = 0;
    for n in 0..30 {
        let scopes = [scope(&format!("{n}"), tokens(1_000))];
        let demand = demand(Amounts::tokens(1, 0), &scopes);
        let start = now();
        let answer = Guarded::new("quota", DEADLINE).ask(reserve(&store, &demand)).await;
        assert!(now() - start < DEADLINE + SLACK);
        passed += u32::from(answer.is_ok());
    }
    assert!((8..30).contains(&passed), "{passed} of 30 passed");
    cluster.masters[2].run().await;
    for n in 0..30 {
        let mut tries = 0;
        let scopes = [scope(&format!("{n}"), tokens(1_000))];
        while reserve(&store, &demand(Amounts::tokens(1, 0), &scopes)).await.is_err() {
            pause(Duration::from_millis(50)).await;
            tries += 1;
            assert!(tries < 200, "scope {n} did not recover");
        }
    }
}
