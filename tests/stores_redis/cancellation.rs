//! Questions that are dropped half-way: the store did what it was asked or did not, never a part of it,
//! and the connection serves the next.

use std::time::Duration;

use evenkeel::balance::facts::{AccountFact, FactKind, FactStore};
use evenkeel::cache::shared::CacheStore;
use evenkeel::quota::Amounts;
use evenkeel::quota::store::QuotaStore;
use evenkeel::testing::{drop_after_polls, drop_at_every_poll};

use crate::server::Server;
use crate::support::{answer, demand, key, left, patient, reserve, scope, tokens};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_quota_takes_from_all_scopes_or_from_none_wherever_it_is_dropped() {
    let server = Server::start().await;
    let store = patient(&server).quotas();
    for polls in 0.. {
        let of = |who| ["a", "b"].map(|name| scope(&format!("{who}{name}{polls}"), tokens(100)));
        let scopes = of("looked at");
        let wanted = demand(Amounts::tokens(60, 0), &scopes);
        let reserved = drop_after_polls(reserve(&store, &wanted), polls).await;
        let taken = [left(&store, &scopes[0], 100).await, left(&store, &scopes[1], 100).await];
        assert!(taken == [100, 100] || taken == [40, 40], "{taken:?} after {polls} polls");

        // Asked again, it is the same reservation; settled in part and again, it is settled once.
        let scopes = of("settled");
        let wanted = demand(Amounts::tokens(60, 0), &scopes);
        let _dropped = drop_after_polls(reserve(&store, &wanted), polls).await;
        let grant = reserve(&store, &wanted).await.unwrap().unwrap();
        let used = Amounts::tokens(10, 0);
        drop_at_every_poll(|| store.settle(&grant, &used), |_| {}).await.unwrap();
        let taken = [left(&store, &scopes[0], 100).await, left(&store, &scopes[1], 100).await];
        assert_eq!(taken, [90, 90], "after {polls} polls");
        if reserved.is_some() {
            break;
        }
    }
    let living = drop_at_every_poll(|| store.beat(1, MINUTE), |_| {}).await.unwrap();
    assert_eq!(living, 1, "it said so again and again, and is one");
}

#[tokio::test]
async fn answers_are_whole_wherever_a_question_is_dropped() {
    let server = Server::start().await;
    let store = patient(&server).answers();
    let (key, other, whole) = (key(1, 1), key(1, 2), answer(1, &"word ".repeat(500)));
    let text =
        async |found: &_| store.get(found).await.unwrap().map(|it| it.answer.response.text());
    for polls in 0.. {
        let put = drop_after_polls(store.put(&key, &whole), polls).await;
        let found = text(&key).await;
        assert!(found.is_none_or(|found| found.len() == 2_500), "after {polls} polls");
        let removed = drop_after_polls(store.remove(&key), polls).await;
        assert!(removed.is_none() || text(&key).await.is_none(), "after {polls} polls");
        if put.is_some() && removed.is_some() {
            break;
        }
    }
    drop_at_every_poll(|| store.put(&other, &whole), |_| {}).await.unwrap();
    let found = drop_at_every_poll(|| store.get(&other), |_| {}).await.unwrap();
    assert_eq!(found.unwrap().answer.response.text().len(), 2_500);

    let mut before = 0;
    for polls in 0.. {
        let advanced = drop_after_polls(store.advance(5), polls).await;
        let epoch = drop_at_every_poll(|| store.epochs(&[5]), |_| {}).await.unwrap()[0];
        assert!(epoch >= before, "{before}, {epoch} after {polls} polls");
        before = epoch;
        if let Some(advanced) = advanced {
            assert_eq!(advanced.unwrap(), epoch);
            break;
        }
    }
    // A lead that may have been taken is taken again by the same, and not by another until given back.
    assert!(drop_at_every_poll(|| store.try_lead(&key, 1, MINUTE), |_| {}).await.unwrap());
    assert!(drop_at_every_poll(|| store.renew(&key, 1, MINUTE), |_| {}).await.unwrap());
    assert!(!store.try_lead(&key, 2, MINUTE).await.unwrap());
    drop_at_every_poll(|| store.release(&key, 1), |_| {}).await.unwrap();
    assert!(store.try_lead(&key, 2, MINUTE).await.unwrap());
}

#[tokio::test]
async fn facts_are_whole_wherever_a_question_is_dropped() {
    let server = Server::start().await;
    let store = patient(&server).facts();
    let fact = AccountFact::new(7, FactKind::Auth, MINUTE);
    for polls in 0.. {
        let published = drop_after_polls(store.publish(&fact), polls).await;
        let all = drop_at_every_poll(|| store.all(), |_| {}).await.unwrap();
        assert!(all.iter().all(|it| (it.account, it.kind) == (7, FactKind::Auth)), "{all:?}");
        assert!(all.len() <= 1 && (published.is_none() || all.len() == 1), "{polls}: {all:?}");
        drop_at_every_poll(|| store.lift(7), |_| {}).await.unwrap();
        assert_eq!(store.all().await.unwrap().len(), 0, "after {polls} polls");
        if published.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn a_connection_that_nobody_waits_for_is_made_all_the_same_or_not() {
    let server = Server::start().await;
    for polls in 0.. {
        let shared = patient(&server);
        let ready = drop_after_polls(shared.ready(), polls).await;
        shared.ready().await.unwrap();
        assert!(shared.facts().all().await.unwrap().is_empty(), "after {polls} polls");
        if ready.is_some() {
            break;
        }
    }
    // Its own and the test's: none is left over from those that were given up.
    let clients = "connected_clients:";
    for _ in 0..500 {
        let info: String = server.ask(&["INFO", "clients"]).await;
        let count = info.lines().find_map(|line| line.strip_prefix(clients));
        if count.and_then(|count| count.trim().parse().ok()).is_some_and(|count: u32| count <= 1) {
            return;
        }
        crate::server::pause(Duration::from_millis(10)).await;
    }
    panic!("connections of those that are gone are open");
}
