//! Names that callers, operators and servers make up.

use evenkeel::balance::Balancer;
use evenkeel::observe::metrics::Metrics;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Call, ChatRequest, Endpoint, ErrorKind, LlmClient, ProviderError, RequestQueue};
use evenkeel::{CallOptions, SemanticCache};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{Notebook, answers};

fn names() -> Vec<String> {
    let odd = ["", " ", "\n", "a\r\nb: c", "\0", "\u{1b}[2J", "\"}", "a\\", "{x}", "\u{202e}abc"];
    let odd = odd.into_iter().map(str::to_owned);
    odd.chain(["x".repeat(1 << 20), "\u{301}".repeat(1 << 10), "\u{feff}\u{2028}".into()]).collect()
}

/// Whether it may stand in a log: one line, and nothing that moves a cursor or turns letters round.
fn is_one_line(said: &str) -> bool {
    !said.contains(|c: char| {
        c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2028}'
    })
}

fn call(name: &str) -> Call {
    let options = CallOptions::new();
    ChatRequest::new("m")
        .user("q")
        .options(options)
        .tenant(name)
        .session(name)
        .tag(name)
        .idempotency_key(name)
        .quota_key("project", name)
        .quota_key(name, name)
}

#[test]
fn names_of_any_letters_and_length_are_served_or_refused_by_name() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let notebook = Notebook::default();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let limits = || Limits::new().requests_per_minute(1);
            let quota = QuotaLimiter::builder().per_tenant(limits()).per_key("project", limits());
            let client = LlmClient::builder()
                .endpoint(Endpoint::new(answers("p", "hi")).model("m"))
                .quota(quota.build().unwrap())
                .queue(RequestQueue::builder().build().unwrap())
                .cache(SemanticCache::builder().build().unwrap())
                .observer((Metrics::with_tenants(60), notebook.clone()))
                .build()
                .unwrap();
            for name in names() {
                assert_eq!(client.complete(call(&name)).await.unwrap().text(), "hi", "{name:.9?}");
                let denied =
                    client.complete(call(&name).cache(evenkeel::CacheControl::Bypass)).await;
                let denied = denied.unwrap_err().to_string();
                assert!(is_one_line(&denied) && denied.len() < 400, "{denied}");
                let unknown = client.complete(ChatRequest::new(&*name).user("q")).await;
                let unknown = unknown.unwrap_err().to_string();
                assert!(is_one_line(&unknown), "{unknown:.99}");
            }
        });
    });
    let rendered = recorder.handle().render();
    assert!(rendered.contains("_other"), "callers' models are all one");
    assert!(rendered.len() < 1 << 20, "{} bytes", rendered.len());
    assert!(notebook.0.lock().lines().all(is_one_line));
}

#[test]
fn an_endpoint_whose_id_would_forge_a_line_is_refused_by_name() {
    for id in ["", "a\nb", "\u{1b}[2J", "\0"] {
        let endpoint = Endpoint::new(answers("p", "hi")).with_id(id);
        let error = Balancer::builder().endpoint(endpoint).build().unwrap_err();
        assert_eq!(error.field(), "endpoints[0].id", "{id:?}");
        assert!(is_one_line(&error.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_calls_its_errors_forges_no_line() {
    let error = ProviderError::new(ErrorKind::InvalidRequest, "no")
        .with_code("a\r\nINFO all is well".to_owned())
        .with_request_id("\u{1b}[2J\u{202e}");
    let provider = ScriptedProvider::new("p").forever(Answer::fail(error));
    let client = LlmClient::builder().endpoint(Endpoint::new(provider)).build().unwrap();
    let error = client.complete("q").await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("code a\\r\\nINFO") && is_one_line(&said), "{said:?}");
}
