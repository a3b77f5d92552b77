//! Configurations somebody wrote a key into: it is in no error, whatever reads the file.

use std::fmt::Display;

use evenkeel::BuildError;
use evenkeel::balance::BalancerConfig;
use evenkeel::config::{ClientConfig, ProviderConfig};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{CANARY, assert_clean, failed, parts};

/// A key as vendors make them: longer than any name of a field.
fn key() -> String {
    format!("sk-{CANARY}-0123456789abcdef0123456789abcdef")
}

fn said(error: &BuildError) -> String {
    assert!(!error.reason().is_empty());
    failed("", error).1
}

/// Every place of a document.
fn places(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    found.push(at.clone());
    let mut go = |name: String, inner: &Value| {
        at.push(name);
        places(inner, at, found);
        at.pop();
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, it)| go(name.clone(), it)),
        Value::Array(items) => {
            (0..).zip(items).for_each(|(at, it): (usize, _)| go(at.to_string(), it))
        }
        _ => {}
    }
}

fn with_key_at(document: &Value, place: &[String], key: &Value) -> Value {
    let mut copy = document.clone();
    let pointer: String = place.iter().map(|name| format!("/{name}")).collect();
    *copy.pointer_mut(&pointer).unwrap() = key.clone();
    copy
}

/// Everything that can be written, each with a value of its kind.
fn document() -> Value {
    json!({
        "providers": {"east": {
            "kind": "openai", "base_url": "https://x.example.com", "api_key_env": "KEY", "model": "m",
            "headers": {"a": "b"}, "headers_env": {"a": "B"}, "without": ["tools"],
            "bounds": {"body": 1, "error_body": 1, "line": 1, "event": 1, "stream": 1},
            "openai": {"organization": "o", "project": "p", "query": {"a": "b"},
                "max_tokens_field": "max_tokens", "stream_usage": true, "send_reasoning": "reasoning"},
            "anthropic": {"version": "v", "betas": ["b"], "max_tokens": 1, "cache_system": true}
        }},
        "balancer": {"strategy": "weighted", "health": {"breaker": {"consecutive": 3, "open_for": "5s"}},
            "endpoints": [{"provider": "east", "id": "e", "account": "a", "weight": 1, "tier": 0,
                "models": {"m": "n"}, "default_model": "m",
                "limits": {"requests_per_minute": 1, "burst": "5s"},
                "price": {"input": 1, "output": 1}, "prices": {"m": {"input": 1, "output": 1}}}]},
        "timeouts": {"connect": "1s", "first_content": "1s", "idle": "1s", "total": "1s"},
        "retry": {"max_attempts": 2, "base_delay": "1s", "budget_ratio": 0.1},
        "hedge": {"delay": {"fixed": "1s"}, "min_samples": 3},
        "fallbacks": [{"model": "m", "to": ["n"], "on": ["unavailable"]}],
        "response_bounds": {"bytes": 1, "parts": 1},
        "quota": {"global": {"rates": [{"dimension": "tokens", "amount": 1, "window": "1m"}],
                "budgets": [{"dimension": "cost", "amount": 1, "period": "day"}], "concurrency": 2},
            "per_key": {"project": {"concurrency": 1}}, "estimate": "max", "most_scopes": 10,
            "count_cache_hits": true},
        "queue": {"max_depth": 10, "max_wait": "1s", "patience": 0.5},
        "cache": {"embedder": "lexical", "decision": {"threshold": 0.9}, "scope": "tenant",
            "normalizer": "canonical", "ttl": "1m"}
    })
}

#[test]
fn a_key_in_any_place_of_a_file_is_in_no_error() {
    let document = document();
    ClientConfig::from_deserializer(document.clone()).unwrap();
    let mut all = Vec::new();
    places(&document, &mut Vec::new(), &mut all);
    let wrong: [Value; 3] = [key().into(), json!([key()]), json!({ key(): key() })];
    let mut errors = 0;
    for place in &all {
        for wrong in &wrong {
            let bad = with_key_at(&document, place, wrong);
            let parsed = ClientConfig::from_deserializer(bad.clone());
            let text = serde_json::to_string_pretty(&bad).unwrap();
            let json =
                ClientConfig::from_deserializer(&mut serde_json::Deserializer::from_str(&text));
            let toml = toml::Value::try_from(&bad).map(ClientConfig::from_deserializer);
            for error in [parsed, json].into_iter().chain(toml.ok()).filter_map(Result::err) {
                errors += 1;
                assert_clean(&format!("{place:?}"), &reason_of(&error));
            }
        }
    }
    assert!(all.len() > 90 && errors > 500, "{} places, {errors} errors", all.len());
}

/// The path repeats the keys of maps, which name the place: whoever writes a secret there names a field
/// after it.
fn reason_of(error: &BuildError) -> String {
    error.reason().to_owned()
}

#[test]
fn a_balancers_own_file_is_not_quoted_either() {
    let lines = format!("provider = \"{0}\"\nid = \"{0}\"\nweight = \"{0}\"\n", key());
    let own = format!("[[endpoints]]\n{lines}");
    let error = BalancerConfig::from_deserializer(toml::Deserializer::parse(&own).unwrap());
    assert_eq!(error.as_ref().unwrap_err().field(), "endpoints[0].weight");
    assert_clean("the error", &said(&error.unwrap_err()));
    let whole = format!("[[balancer.endpoints]]\n{lines}");
    let error = ClientConfig::from_deserializer(toml::Deserializer::parse(&whole).unwrap());
    assert_eq!(error.as_ref().unwrap_err().field(), "balancer.endpoints[0].weight");
    assert_clean("the error", &said(&error.unwrap_err()));
}

/// What the shipped types say for themselves, whichever way they are read.
#[test]
fn a_name_of_a_variable_that_is_a_key_is_not_repeated_by_any_format() {
    let provider = json!({ "kind": "openai", "api_key_env": key() });
    let error = ProviderConfig::deserialize(provider).map(drop).unwrap_err();
    assert_clean("serde's own error", &shown(error));
}

fn shown(error: impl Display) -> String {
    error.to_string()
}

#[test]
fn what_cannot_be_built_is_named_without_its_secrets() {
    let config = parts::config();
    let error = config.assemble().env(|_| Some(format!("{CANARY}\n"))).build().unwrap_err();
    assert_clean("the error", &said(&error));
    let mut config = parts::config();
    let east = config.providers.get_mut("east").unwrap();
    east.base_url = Some("https://x.example.com".into());
    east.headers.insert("bad name".into(), CANARY.into());
    let error = config.assemble().env(|_| Some(CANARY.into())).build().unwrap_err();
    assert!(error.field().starts_with("providers.east"), "{error}");
    assert_clean("the error", &said(&error));
}
