//! Whole clients that meet on one server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel::cache::SemanticCache;
use evenkeel::config::ClientConfig;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::time::now;
use evenkeel::{
    CacheControl, ChatRequest, ChatResponse, Endpoint, LlmClient, ServedBy, provider_fn,
};

use crate::server::{Server, pause};
use crate::support::shared;

/// An instance of its own, with nothing in common with others but the server.
async fn instance(server: &Server, calls: &Arc<AtomicU32>) -> LlmClient {
    let shared = shared(server);
    shared.ready().await.unwrap();
    let calls = Arc::clone(calls);
    let provider = provider_fn("only", move |_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
        async { Ok(ChatResponse::text_only("yes")) }
    });
    let limits = Limits::new().requests_per_minute(7);
    LlmClient::builder()
        .endpoint(Endpoint::new(provider))
        .quota(QuotaLimiter::builder().per_tenant(limits).build().unwrap())
        .cache(SemanticCache::builder().secret([7; 32]).build().unwrap())
        .shared(shared)
        .build()
        .unwrap()
}

fn question(text: &str) -> ChatRequest {
    ChatRequest::new("any").user(text)
}

#[tokio::test]
async fn instances_keep_one_limit() {
    let server = Server::start().await;
    let calls = Arc::default();
    let instances = [instance(&server, &calls).await, instance(&server, &calls).await];
    let mut passed = 0;
    for turn in 0..12 {
        let call = question(&format!("{turn}")).tenant("acme").cache(CacheControl::Bypass);
        passed += u32::from(instances[turn % 2].complete(call).await.is_ok());
    }
    assert_eq!((passed, calls.load(Ordering::Relaxed)), (7, 7));
}

#[tokio::test]
async fn what_one_instance_was_answered_another_serves() {
    let server = Server::start().await;
    let calls = Arc::default();
    let [one, other] = [instance(&server, &calls).await, instance(&server, &calls).await];
    one.complete(question("why?").tenant("acme")).await.unwrap();
    written(&server).await;
    let done = other.complete(question("why?").tenant("acme")).await.unwrap();
    assert!(matches!(done.report.served_by, ServedBy::SharedHit), "{:?}", done.report.served_by);
    assert_eq!(done.text(), "yes");
    other.complete(question("why?").tenant("other")).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2, "another tenant's is asked for anew");
}

#[tokio::test]
async fn a_server_that_stands_still_costs_calls_a_moment_and_none_fails() {
    let server = Server::start().await;
    let calls = Arc::default();
    let one = instance(&server, &calls).await;
    one.complete(question("0").tenant("acme")).await.unwrap();
    server.freeze();
    for turn in 1..6 {
        let start = now();
        one.complete(question(&format!("{turn}")).tenant("acme")).await.unwrap();
        let took = now() - start;
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
    server.thaw();
}

/// Two instances that read one file, with nothing said in code but the provider. They are closed
/// while the server is away or late, so that a busy machine lets fewer calls pass and never more.
#[tokio::test]
async fn instances_of_one_configuration_file_meet() {
    let server = Server::start().await;
    let limit = serde_json::json!({ "dimension": "requests", "amount": 4, "window": "1h" });
    let file = serde_json::json!({
        "balancer": { "endpoints": [{ "provider": "only" }] },
        "quota": { "per_tenant": { "rates": [limit] } },
        "cache": {},
        "shared": {
            "secret_env": "SECRET",
            "redis": { "url_env": "URL" },
            "quota": { "leases": false, "on_store_failure": "closed" },
        },
    });
    let config = ClientConfig::from_deserializer(&file).unwrap();
    let env = |name: &str| match name {
        "SECRET" => Some("the secret of a fleet".to_owned()),
        _ => Some(server.url()),
    };
    let instance = || {
        let only = provider_fn("only", |_, _| async { Ok(ChatResponse::text_only("yes")) });
        config.assemble().env(env).provider("only", only).build().unwrap()
    };
    let instances = [instance(), instance()];
    let mut passed = 0;
    for turn in 0..400 {
        let call = question(&format!("{turn}")).tenant("acme").cache(CacheControl::Bypass);
        passed += u32::from(instances[turn % 2].complete(call).await.is_ok());
        if passed >= 2 && turn >= 24 {
            break;
        }
    }
    assert!((2..=4).contains(&passed), "{passed} of four that both may make");
    for instance in &instances {
        let call = question("why?").tenant("other");
        while instance.complete(call.clone()).await.is_err() {
            pause(Duration::from_millis(10)).await;
        }
        // Under different secrets they would keep the same answer twice.
        assert_eq!(written(&server).await, 1);
    }
}

/// How many answers are kept. They are written behind the calls that had them fetched.
async fn written(server: &Server) -> usize {
    let mut keys: Vec<String> = Vec::new();
    for _ in 0..200 {
        keys = server.ask(&["KEYS", "ek:a:*"]).await;
        if !keys.is_empty() {
            break;
        }
        pause(Duration::from_millis(10)).await;
    }
    keys.len()
}
