//! Whoever can write to the server cannot make an answer be served that was not put there.

use evenkeel::cache::shared::CacheStore;
use evenkeel::remote::StoreError;
use evenkeel::stores::redis::{RedisCacheStore, RedisShared};

use crate::server::Server;
use crate::support::{answer, key, shared};

async fn names(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = server.ask(&["KEYS", "*:a:*"]).await;
    names.sort();
    names
}

async fn write(server: &Server, name: &str, value: &[u8]) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut call = redis::cmd("SET");
    call.arg(name).arg(value).arg("PX").arg(60_000);
    let _: String = call.query_async(&mut connection).await.unwrap();
}

async fn is_garbled(store: &RedisCacheStore) -> bool {
    matches!(store.get(&key(1, 1)).await, Err(StoreError::Garbled(_)))
}

#[tokio::test]
async fn an_answer_that_was_altered_or_cut_is_garbled() {
    let server = Server::start().await;
    let store = shared(&server).answers();
    for text in ["short".to_owned(), "long ".repeat(1_000)] {
        store.put(&key(1, 1), &answer(1, &text)).await.unwrap();
        let name = names(&server).await.remove(0);
        let whole: Vec<u8> = server.ask(&["GET", &name]).await;
        let step = whole.len().div_ceil(40);
        for at in (0..whole.len()).step_by(step) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            write(&server, &name, &altered).await;
            assert!(is_garbled(&store).await, "byte {at}");
            write(&server, &name, &whole[..at]).await;
            assert!(is_garbled(&store).await, "cut at {at}");
        }
        write(&server, &name, &whole).await;
        assert!(store.get(&key(1, 1)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn answers_that_were_swapped_between_tenants_are_garbled() {
    let server = Server::start().await;
    let store = shared(&server).answers();
    store.put(&key(1, 1), &answer(1, "one's own")).await.unwrap();
    store.put(&key(2, 1), &answer(2, "another's")).await.unwrap();
    let [one, other] = &names(&server).await[..] else { panic!("two answers have two keys") };
    let _: i64 = server.ask(&["COPY", one, other, "REPLACE"]).await;
    let _: i64 = server.ask(&["COPY", other, one, "REPLACE"]).await;
    let got = [store.get(&key(1, 1)).await, store.get(&key(2, 1)).await];
    let garbled = got.iter().filter(|it| matches!(it, Err(StoreError::Garbled(_)))).count();
    assert_eq!(garbled, 1, "the one that lies where it was not put");
}

#[tokio::test]
async fn an_answer_under_another_secret_is_garbled() {
    let server = Server::start().await;
    let other = RedisShared::connect(server.url(), "another secret, as long").unwrap();
    other.answers().put(&key(1, 1), &answer(1, "x")).await.unwrap();
    assert!(is_garbled(&shared(&server).answers()).await);
}
