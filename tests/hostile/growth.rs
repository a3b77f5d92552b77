//! What grows with what callers make up, each filled far beyond its bound.

use evenkeel::observe::metrics::{MOST_VALUES, Metrics};
use evenkeel::observe::names;
use evenkeel::quota::{Limits, QuotaLimiter};
use evenkeel::{Call, ChatRequest, Endpoint, LlmClient, RequestQueue, SemanticCache};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::answers;

const CALLS: usize = 20_000;
const SCOPES: usize = 500;
const ENTRIES: usize = 300;

fn client(metrics: &Metrics) -> LlmClient {
    let limits = || Limits::new().tokens_per_minute(100);
    let quota = QuotaLimiter::builder().per_tenant(limits()).per_tenant_and_model(limits());
    LlmClient::builder()
        .endpoint(Endpoint::new(answers("p", "hi")))
        .quota(quota.per_key("project", limits()).most_scopes(SCOPES).build().unwrap())
        .queue(RequestQueue::builder().max_depth(10).build().unwrap())
        .cache(SemanticCache::builder().max_entries(ENTRIES).build().unwrap())
        .observer(metrics.clone())
        .build()
        .unwrap()
}

/// Nothing of one call is in another.
fn call(number: usize) -> Call {
    let of = |what: &str| format!("{what}-{number}");
    ChatRequest::new(of("model"))
        .user(of("question"))
        .max_output_tokens(4)
        .tenant(of("tenant"))
        .session(of("session"))
        .tag(of("tag"))
        .quota_key("project", of("project"))
}

#[test]
fn whatever_callers_make_up_leaves_memory_bounded() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let metrics = Metrics::with_tenants(usize::MAX);
            let client = client(&metrics);
            let mut served = 0;
            for number in 0..CALLS {
                served += usize::from(client.complete(call(number)).await.is_ok());
                if number % 100 == 0 {
                    tokio::time::advance(std::time::Duration::from_secs(70)).await;
                    assert_within(&client);
                }
            }
            assert!(served > CALLS / 2, "{served} were served");
            assert_within(&client);
            metrics.sample(&client.stats());
            let state = format!("{client:?} {:?}", client.balancer());
            assert!(state.len() < 20_000, "{} bytes of state are shown", state.len());
        });
    });
    let rendered = recorder.handle().render();
    for label in [names::REQUEST_MODEL, "model", "tenant"] {
        let label = format!("{}=\"", label.replace('.', "_"));
        let values: std::collections::BTreeSet<_> =
            rendered.split(&label).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(values.len() <= MOST_VALUES + 1, "{label} has {}", values.len());
    }
    assert!(rendered.lines().count() < 5_000, "{} lines", rendered.lines().count());
}

fn assert_within(client: &LlmClient) {
    let stats = client.stats();
    assert!(stats.quota.unwrap().scopes <= SCOPES, "scopes of quotas");
    assert!(stats.cache.unwrap().entries <= ENTRIES, "entries of the cache");
    assert_eq!(stats.queue.unwrap().depth, 0, "places of the queue");
    assert_eq!(stats.running, 0, "running calls");
    assert_eq!(stats.endpoints[0].models.len(), 0, "models of an endpoint that serves any");
}
