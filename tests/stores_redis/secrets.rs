//! What the server and the logs get to see.

use std::time::Duration;

use evenkeel::balance::facts::{AccountFact, FactKind, FactStore};
use evenkeel::cache::shared::CacheStore;
use evenkeel::cache::{Scope, SemanticCache};
use evenkeel::quota::store::QuotaStore;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::stores::redis::RedisShared;
use evenkeel::{ChatRequest, ChatResponse, Endpoint, LlmClient, provider_fn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Server, pause};
use crate::support::{SECRET, answer, key, patient, scope, shared, take, tokens};

const TENANT: &str = "canary-tenant";

/// Everything that everybody asks of a server, as the server itself sees it.
async fn monitor(server: &Server) -> TcpStream {
    let mut monitor = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    monitor.write_all(b"MONITOR\r\n").await.unwrap();
    let mut ok = [0; 5];
    monitor.read_exact(&mut ok).await.unwrap();
    assert_eq!(&ok, b"+OK\r\n");
    monitor
}

#[tokio::test]
async fn names_and_the_secret_never_reach_the_server() {
    let server = Server::start().await;
    let mut monitor = monitor(&server).await;
    let shared = shared(&server);
    let scopes = [scope(TENANT, tokens(100)), scope(&format!("{TENANT}/m"), tokens(100))];
    let grant = take(&shared.quotas(), 1, &scopes).await;
    shared.quotas().settle(&grant, &grant.demand.amounts).await.unwrap();
    take(&shared.quotas(), 1, &scopes).await;
    shared.answers().put(&key(1, 1), &answer(1, "plain")).await.unwrap();
    shared.answers().advance(7).await.unwrap();
    shared.answers().try_lead(&key(1, 1), 9, Duration::from_secs(9)).await.unwrap();
    let fact = AccountFact::new(5, FactKind::Auth, Duration::from_secs(9));
    shared.facts().publish(&fact).await.unwrap();
    pause(Duration::from_millis(100)).await;

    let mut seen = vec![0; 1 << 20];
    let length = monitor.read(&mut seen).await.unwrap();
    let mut seen = String::from_utf8_lossy(&seen[..length]).into_owned();
    assert!(seen.contains("EVALSHA") && seen.contains("HSET"), "{seen}");
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    assert!(keys.len() >= 6, "{keys:?}");
    for key in keys {
        let kept: Vec<u8> = server.ask(&["DUMP", &key]).await;
        seen.push_str(&key);
        seen.push_str(&String::from_utf8_lossy(&kept));
    }
    for canary in [TENANT, "canary", SECRET] {
        assert!(!seen.contains(canary), "{canary} in {seen}");
    }
}

/// What the server told since it was last asked.
async fn told(monitor: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut some = vec![0; 1 << 16];
    while let Ok(Ok(length @ 1..)) =
        tokio::time::timeout(Duration::from_millis(300), monitor.read(&mut some)).await
    {
        all.extend_from_slice(&some[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn of_a_clients_calls_the_server_sees_answers_and_nothing_else() {
    let server = Server::start().await;
    let mut monitor = monitor(&server).await;
    let shared = patient(&server);
    shared.ready().await.unwrap();
    let answer = |_, _| async { Ok(ChatResponse::text_only("an answer")) };
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().tokens_per_minute(100_000_000));
    let quota = quota.per_key("canary-key", Limits::new().concurrency(9));
    let cache = SemanticCache::builder().secret(*b"canary-secret-of-all-instances-!");
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider_fn("p", answer)).account("canary-account"))
        .quota(quota.build().unwrap())
        .cache(cache.scope(Scope::tenant_in("canary-namespace")).build().unwrap())
        .shared(shared)
        .build()
        .unwrap();
    // A busy machine may take longer than a call waits for a store; then the next one tells it.
    let mut answers: Vec<String> = Vec::new();
    for turn in 0..100 {
        let question = format!("canary-question {turn}");
        let request = ChatRequest::new("canary-model").system("canary-system").user(question);
        let call = request.tenant(TENANT).tag("canary-tag").session("canary-session");
        let call = call.quota_key("canary-key", "canary-project").idempotency_key("canary-call");
        client.complete(call.clone()).await.unwrap();
        client.complete(call).await.unwrap();
        pause(Duration::from_millis(50)).await;
        answers = server.ask(&["KEYS", "ek:a:*"]).await;
        if answers.len() > 1 {
            break;
        }
    }
    assert!(answers.len() > 1, "answers are in the store");

    let mut seen = told(&mut monitor).await;
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    for key in keys {
        let kept: Vec<u8> = server.ask(&["DUMP", &key]).await;
        seen.push_str(&key);
        seen.push_str(&String::from_utf8_lossy(&kept));
    }
    assert!(seen.contains("an answer"), "the answer is there: {seen}");
    assert!(!seen.contains("canary") && !seen.contains(SECRET), "{seen}");
}

#[tokio::test]
async fn passwords_are_in_no_error_and_no_debug_output() {
    const PASSWORD: &str = "canary-password";
    let server = Server::with(&["--requirepass", PASSWORD]).await;
    let mut seen = String::new();
    for (user, password) in [("", "wrong-canary"), ("somebody", PASSWORD)] {
        let url = format!("redis://{user}:{password}@127.0.0.1:{}", server.port());
        let builder = RedisShared::builder(url).secret(SECRET);
        seen.push_str(&format!("{builder:?}"));
        let shared = builder.build().unwrap();
        seen.push_str(&format!("{shared:?} {:?} {:?}", shared.quotas(), shared.answers()));
        let failed = shared.answers().get(&key(1, 1)).await.unwrap_err();
        let cause = std::error::Error::source(&failed).map(ToString::to_string);
        assert_eq!(failed.label(), "refused");
        seen.push_str(&format!("{failed:?} {failed} {cause:?}"));
    }
    for url in [
        "redis://:canary@127.0.0.1:6379/x",
        "redis://:canary@host:port",
        "canary",
        "redis://:canary@0.0.0.0/?protocol=canary",
    ] {
        let failed = RedisShared::connect(url, SECRET).unwrap_err();
        assert_eq!(failed.field(), "url");
        seen.push_str(&format!("{failed:?} {failed}"));
    }
    assert!(!seen.contains("canary"), "{seen}");
}

#[tokio::test]
async fn what_cannot_work_is_named() {
    let build = |url: &str, secret: &str, prefix: &str| {
        let built = RedisShared::builder(url).secret(secret).prefix(prefix).build();
        built.map(drop).map_err(|error| error.field().to_owned())
    };
    let (url, secret) = ("redis://127.0.0.1:1", SECRET);
    assert_eq!(build(url, secret, "ok-1.x:y"), Ok(()));
    assert_eq!(build(url, "short", "ok"), Err("secret".to_owned()));
    assert_eq!(build(url, secret, ""), Err("prefix".to_owned()));
    assert_eq!(build(url, secret, "a{b}"), Err("prefix".to_owned()));
    assert_eq!(build("http://x", secret, "ok"), Err("url".to_owned()));
    let wrong = RedisShared::builder(url).secret(secret).answers_at("x").build();
    assert_eq!(wrong.unwrap_err().field(), "answers_at");
    let zero = RedisShared::builder(url).secret(secret).response_timeout(Duration::ZERO).build();
    assert_eq!(zero.unwrap_err().field(), "response_timeout");
}
