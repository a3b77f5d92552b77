//! Errors of the adapters, with all their causes: none repeats an address, a key or a request.

use std::error::Error as _;
use std::time::Duration;

use evenkeel::cache::shared::{CacheStore as _, SharedKey, VectorIndex as _};
use evenkeel::providers::{Anthropic, OpenAi};
use evenkeel::stores::postgres::PostgresIndex;
use evenkeel::stores::redis::RedisShared;
use evenkeel::{CallContext, Embedder as _, Embedding, Provider, time};

use crate::parts::url;
use crate::{CANARY, SECRET, assert_clean, failed, nouns};

const NOBODY: &str = "http://127.0.0.1:1";

fn context() -> CallContext {
    CallContext::new(time::after(time::now(), Duration::from_secs(5)))
}

#[tokio::test]
async fn no_failure_to_reach_a_server_shows_where_and_with_what() {
    let base = format!("{NOBODY}/{CANARY}");
    let openai = OpenAi::builder().base_url(&base).api_key(CANARY).query("key", CANARY);
    let openai = openai.header("x-key", CANARY).build().unwrap();
    let anthropic = Anthropic::builder().base_url(&base).api_key(CANARY).build().unwrap();
    let embedder = openai.embedder("m");
    let failures = [
        openai.complete(&nouns::request(), &context()).await.map(drop).unwrap_err(),
        openai.stream(&nouns::request(), &context()).await.map(drop).unwrap_err(),
        anthropic.complete(&nouns::request(), &context()).await.map(drop).unwrap_err(),
        embedder.embed(&[CANARY]).await.unwrap_err(),
    ];
    for failure in &failures {
        let (_, said) = failed("", failure);
        assert_clean("the failure", &said);
    }
    assert!(failures.iter().any(|it| it.source().is_some()), "a cause is told");
}

#[tokio::test]
async fn no_failure_to_reach_a_store_shows_where_and_with_what() {
    let redis = RedisShared::connect(format!("redis://{CANARY}:{CANARY}@127.0.0.1:1"), SECRET);
    let failure = redis.unwrap().answers().get(&SharedKey::new(1, 2)).await.unwrap_err();
    assert_clean("redis", &failed("", &failure).1);
    let postgres = format!("postgres://{CANARY}:{CANARY}@127.0.0.1:1/{CANARY}");
    let index = PostgresIndex::builder(postgres).secret(SECRET).dimensions(2).build().unwrap();
    let vector = Embedding::new(vec![1.0, 0.0]).unwrap();
    let failure = index.nearest(1, &vector, 0.5).await.map(drop).unwrap_err();
    assert_clean("postgres", &failed("", &failure).1);
}

/// What is refused when it is built is told by the name of the field.
#[test]
fn no_refused_address_or_key_is_repeated() {
    let refused = [
        OpenAi::builder().base_url(url("https")).api_key("k").build().map(drop),
        OpenAi::builder().base_url(CANARY).api_key("k").build().map(drop),
        OpenAi::builder().api_key(format!("{CANARY}\n")).build().map(drop),
        OpenAi::builder().api_key("k").header("x", format!("{CANARY}\n")).build().map(drop),
        Anthropic::builder().base_url(url("https")).api_key("k").build().map(drop),
        Anthropic::builder().api_key(format!("{CANARY}\u{7f}")).build().map(drop),
        RedisShared::connect(url("http"), SECRET).map(drop),
        RedisShared::connect(format!("redis://:{CANARY}@h:port"), SECRET).map(drop),
        PostgresIndex::connect(format!("postgres://{CANARY}:{CANARY}@h:port/"), SECRET).map(drop),
        PostgresIndex::connect(format!("password={CANARY} port={CANARY}"), SECRET).map(drop),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        let refused = refused.map_err(|error| failed("", &error).1);
        let said = refused.expect_err(&format!("number {at} is refused"));
        assert_clean("the refusal", &said);
    }
}
