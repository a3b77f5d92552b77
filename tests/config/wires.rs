//! Providers that a file describes, as their servers see them.

#[path = "../wire/server.rs"]
mod server;

use evenkeel::{ChatRequest, Completion, Error};
use futures::future::join;
use serde_json::json;
use server::{Exchange, Server, json as json_response};

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "A_KEY" => Some(KEY.to_owned()),
        "A_HEADER" => Some("hidden".to_owned()),
        _ => None,
    }
}

/// What the server of `provider` is asked for by one call without a model.
async fn asked(mut provider: ProviderConfig, answer: serde_json::Value) -> Exchange {
    let server = Server::start().await;
    provider.base_url = Some(server.url("/base"));
    let mut config = ClientConfig::new();
    config.providers = BTreeMap::from([("a".into(), provider)]);
    config.balancer.endpoints = vec![EndpointConfig::new("a")];
    let client = config.assemble().env(env).build().unwrap();
    let request = ChatRequest::with_default_model().system("be brief").user("hello");
    let call = evenkeel::Call::new(request.max_output_tokens(5)).keep_raw();
    let (done, exchange): (Result<Completion, Error>, _) =
        join(client.complete(call), server.answer(json_response(200, &[], &answer))).await;
    assert_eq!(done.unwrap().text(), "hi");
    exchange
}

#[tokio::test]
async fn every_setting_of_the_openai_wire_reaches_the_server() {
    let answer =
        json!({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]});
    let exchange = asked(openai(), answer).await;
    let line = exchange.request_line();
    assert!(line.contains("/base/chat/completions?api-version=2024-10-21"), "{line}");
    let bearer = format!("Bearer {KEY}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("x-plain", "yes"),
        ("x-secret", "hidden"),
        ("openai-organization", "org"),
        ("openai-project", "proj"),
    ] {
        assert_eq!(exchange.header(name), Some(value), "{name}");
    }
    let body = exchange.json();
    assert_eq!((&body["model"], &body["max_completion_tokens"]), (&json!("vendor-m"), &json!(5)));
}

#[tokio::test]
async fn every_setting_of_the_anthropic_wire_reaches_the_server() {
    let mut provider = anthropic();
    provider.api_key_env = Some(variable("A_KEY"));
    provider.model = Some("claude-x".into());
    let answer = json!({"type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let exchange = asked(provider, answer).await;
    assert_eq!(exchange.header("x-api-key"), Some(KEY));
    assert_eq!(exchange.header("anthropic-version"), Some("2024-01-01"));
    assert_eq!(exchange.header("anthropic-beta"), Some("x,y"));
    let body = exchange.json();
    assert_eq!(body["model"], "claude-x");
    assert!(body["system"].to_string().contains("cache_control"), "{body}");
}

#[test]
fn the_sample_builds() {
    let client = sample().assemble().env(|_| Some(KEY.to_owned())).build().unwrap();
    for model in ["smart", "quick", "spare"] {
        assert!(client.balancer().serves(model), "{model}");
    }
    assert_eq!(client.balancer().status(time::now()).len(), 3);
}

#[test]
fn what_a_provider_lacks_is_named_by_its_path() {
    for (lines, path) in [
        ("{ kind = 'openai', api_key_env = 'MISSING' }", "api_key_env"),
        ("{ kind = 'openai', headers_env = { x = 'MISSING' } }", "headers_env.x"),
        ("{ kind = 'openai', base_url = 'ftp://x' }", "base_url"),
        ("{ kind = 'openai', headers = { 'a b' = 'c' } }", "headers[\"a b\"]"),
        ("{ kind = 'openai', anthropic = {} }", "anthropic"),
        ("{ kind = 'anthropic', openai = {} }", "openai"),
        ("{ kind = 'anthropic', anthropic = { max_tokens = 0 } }", "anthropic.max_tokens"),
    ] {
        let file = format!("balancer.endpoints = [{{ provider = 'a' }}]\nproviders.x = {lines}");
        let config = read(&file).unwrap();
        let built = config.assemble().env(env).provider("a", own()).build();
        assert_eq!(built.unwrap_err().field(), format!("providers.x.{path}"), "{lines}");
    }
}

#[test]
fn an_embedder_needs_a_server_of_its_wire() {
    let file = |kind: &str, named: &str| {
        format!(
            "balancer.endpoints = [{{ provider = 'x' }}]\nproviders.x.kind = '{kind}'\n\
             cache.embedder = {{ openai = {{ provider = '{named}', model = 'm', dimensions = 8 }} }}"
        )
    };
    let built = |text: &str| read(text).unwrap().assemble().env(env).build();
    assert!(built(&file("openai", "x")).is_ok());
    for wrong in [file("anthropic", "x"), file("openai", "y")] {
        assert_eq!(built(&wrong).unwrap_err().field(), "cache.embedder.openai.provider");
    }
}

#[test]
fn a_provider_of_the_applications_own_takes_the_place_of_a_described_one() {
    let file = "balancer.endpoints = [{ provider = 'x' }]\n\
                providers.x = { kind = 'openai', api_key_env = 'MISSING' }";
    let config = read(file).unwrap();
    assert!(config.assemble().env(env).build().is_err());
    assert!(config.assemble().env(env).provider("x", own()).build().is_ok());
}
