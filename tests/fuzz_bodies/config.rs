//! Configurations: any document is read or refused by the name of a field, and what was read is
//! written and read again as the same.

use evenkeel::config::ClientConfig;
use serde_json::Value;

use evenkeel::{BuildError, ChatResponse, provider_fn};

use crate::bytes::Bytes;

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let toml = bytes.flag();
    let Ok(text) = std::str::from_utf8(bytes.rest()) else { return };
    let read = if toml { from_toml(text) } else { Some(from_json(text)) };
    match read {
        Some(Ok(config)) => check(&config),
        Some(Err(error)) => check_refusal(&error),
        // No TOML at all: nothing of ours was asked.
        None => {}
    }
}

fn from_json(text: &str) -> Result<ClientConfig, BuildError> {
    ClientConfig::from_deserializer(&mut serde_json::Deserializer::from_str(text))
}

fn from_toml(text: &str) -> Option<Result<ClientConfig, BuildError>> {
    Some(ClientConfig::from_deserializer(toml::Deserializer::parse(text).ok()?))
}

fn check(config: &ClientConfig) {
    let json = serde_json::to_string(config).expect("a configuration is JSON");
    let again = from_json(&json);
    // The JSON reader may miss the last bit of a number with decimals.
    let exact = serde_json::from_str::<Value>(&json).ok() == serde_json::to_value(config).ok();
    if let Ok(again) = &again
        && exact
    {
        assert_eq!(again, config, "read from what was written: {json}");
    }
    // A provider over HTTP takes its time to be made.
    if config.providers.is_empty() {
        let built = built(config);
        // Infinite numbers have no JSON, and no meaning either.
        let again = again.map(drop);
        assert!(again.is_ok() || built.is_err(), "{again:?} of {json}");
        built.unwrap_or_else(|error| check_refusal(&error));
    }
}

fn built(config: &ClientConfig) -> Result<(), BuildError> {
    let mut assembly = config.assemble();
    for endpoint in &config.balancer.endpoints {
        let provider = provider_fn("p", |_, _| async { Ok(ChatResponse::text_only("a")) });
        assembly = assembly.provider(&*endpoint.provider, provider);
    }
    assembly.build().map(drop)
}

fn check_refusal(error: &BuildError) {
    let told = error.to_string();
    assert!(told.len() < 4_096, "a refusal as long as a document: {} bytes", told.len());
}
