//! What leaves the client, and where to: whatever a caller or a configuration says.

use evenkeel::config::ClientConfig;
use evenkeel::providers::anthropic::AnthropicBuilder;
use evenkeel::providers::openai::OpenAiBuilder;
use evenkeel::providers::{Anthropic, HttpBounds, OpenAi};
use evenkeel::time::{after, now};
use evenkeel::{BuildError, Call, CallContext, ChatRequest, ErrorKind, Provider, Tool};
use serde_json::{Value, json};

use crate::caller::{Caller, FAR};
use crate::proxy::Toxic;
use crate::rig::Rig;
use crate::wire::{Framing, KEY, Settings, Way, Wire};

/// Ends a header and begins another, where it gets through; and what no header may hold.
const EVIL: [&str; 5] =
    ["m\r\nx-evil: 1", "m\nx-evil: 1", "m\rx-evil: 1", "m\0", "m\u{e9}\u{2028}"];

/// The names of headers that a request has, in any order.
const KNOWN: [&str; 9] = [
    "accept",
    "accept-encoding",
    "anthropic-version",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-api-key",
];

#[tokio::test]
async fn what_a_caller_says_is_in_no_header() {
    let rig = Rig::start();
    rig.set(Framing::Chunked, Toxic::Clear);
    for wire in Wire::ALL {
        for way in Way::ALL {
            let caller = Caller::new(&rig, wire, way);
            for evil in EVIL {
                let request = ChatRequest::new(evil)
                    .system(evil)
                    .user(evil)
                    .tool(Tool::new("t", json!({"type": "object"})).with_description(evil))
                    .extra("user", evil);
                let call = Call::from(request).tenant(evil).session(evil).quota_key(evil, evil);
                caller.answer(call.tag(evil)).await.unwrap();
                for request in rig.upstream.take_seen() {
                    assert!(request.head.is_ascii() && !request.head.contains("evil"));
                    let names = request.head.lines().skip(1).filter(|line| !line.is_empty());
                    for line in names {
                        let (name, _) = line.split_once(": ").unwrap();
                        assert!(KNOWN.contains(&name), "{line}");
                    }
                    let body: Value = serde_json::from_slice(&request.body).unwrap();
                    assert_eq!(body["model"], evil);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_of_the_callers_that_fits_no_header_is_refused_by_name() {
    let rig = Rig::start();
    for wire in Wire::ALL {
        let settings = Settings { streaming: true, bounds: HttpBounds::new() };
        let provider = wire.provider(&rig.url(), settings);
        for evil in EVIL {
            let mut cx = CallContext::new(after(now(), FAR));
            cx.idempotency_key = Some(evil.into());
            let error =
                provider.complete(&ChatRequest::new("m").user("hi"), &cx).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert!(error.message().contains("idempotency key"), "{}", error.message());
        }
    }
    assert_eq!(rig.proxy.accepted(), 0);
}

fn openai(build: impl FnOnce(OpenAiBuilder) -> OpenAiBuilder) -> Option<BuildError> {
    build(OpenAi::builder().api_key(KEY)).build().err()
}

fn anthropic(build: impl FnOnce(AnthropicBuilder) -> AnthropicBuilder) -> Option<BuildError> {
    build(Anthropic::builder().api_key(KEY)).build().err()
}

#[test]
fn a_configured_header_that_is_none_is_refused_by_name() {
    for evil in EVIL {
        for (error, field) in [
            (openai(|it| it.api_key(evil)), "api_key"),
            (openai(|it| it.header("x-team", evil)), "x-team"),
            (openai(|it| it.header(evil, "a")), "headers["),
            (openai(|it| it.organization(evil)), "openai-organization"),
            (openai(|it| it.project(evil)), "openai-project"),
            (anthropic(|it| it.api_key(evil)), "api_key"),
            (anthropic(|it| it.header("x-team", evil)), "x-team"),
            (anthropic(|it| it.header(evil, "a")), "headers["),
            (anthropic(|it| it.version(evil)), "anthropic-version"),
            (anthropic(|it| it.beta(evil)), "anthropic-beta"),
        ] {
            let error = error.unwrap_or_else(|| panic!("{field} takes {evil:?}"));
            assert!(error.field().contains(field), "{field}: {error}");
        }
    }
}

/// What leads to one's own machine may be read on the way; nothing else may.
#[test]
fn a_base_url_is_safe_or_refused() {
    let secret = "s-0123456789";
    for url in [
        "http://api.example.com/v1",
        "http://10.0.0.7:8000",
        "http://169.254.169.254/latest",
        "http://localhost.example.com/v1",
        "http://127.0.0.1@api.example.com/v1",
        "https://user:s-0123456789@api.example.com/v1",
        "https://s-0123456789@api.example.com/v1",
        "https://api.example.com/v1?key=s-0123456789",
        "https://api.example.com/v1#s-0123456789",
        "file:///etc/passwd",
        "unix:/run/s.sock",
        "gopher://127.0.0.1/",
        "//api.example.com",
        "api.example.com/v1",
        "",
    ] {
        for error in [openai(|it| it.base_url(url)), anthropic(|it| it.base_url(url))] {
            let error = error.unwrap_or_else(|| panic!("{url} is taken"));
            assert_eq!(error.field(), "base_url", "{url}");
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
    for url in
        ["https://10.0.0.7:8000", "http://127.0.0.1:1/v1", "http://[::1]:1", "http://localhost:1"]
    {
        assert!(openai(|it| it.base_url(url)).is_none(), "{url}");
        assert!(anthropic(|it| it.base_url(url)).is_none(), "{url}");
    }
    let plain = "http://models.internal:8000/v1";
    assert!(openai(|it| it.base_url(plain).allow_http(true)).is_none());
    assert!(anthropic(|it| it.base_url(plain).allow_http(true)).is_none());
}

/// A configuration file gets no further than code does.
#[test]
fn a_configured_base_url_obeys_the_same() {
    let build = |kind: &str, lines: &str| {
        let file = format!(
            "[providers.main]\nkind = \"{kind}\"\n{lines}\n\
             [balancer]\nendpoints = [{{ provider = \"main\" }}]\n"
        );
        let read = toml::Deserializer::parse(&file).unwrap();
        ClientConfig::from_deserializer(read).unwrap().build().map(drop)
    };
    for kind in ["openai", "anthropic"] {
        let refused = |lines: &str| build(kind, lines).unwrap_err().field().to_owned();
        for url in ["http://10.0.0.7/v1", "https://u:p@x.example.com", "https://x.example.com/?a=b"]
        {
            assert_eq!(refused(&format!("base_url = \"{url}\"")), "providers.main.base_url");
        }
        let allowed = "base_url = \"http://10.0.0.7/v1\"\nallow_http = true";
        build(kind, allowed).unwrap();
        let evil = "headers = { x-team = \"a\\r\\nx-evil: 1\" }";
        assert!(refused(evil).contains("x-team"));
    }
}
