//! What can be seen of a client that calls three backends, of which one is slow, one often overloaded
//! and one out of money: metrics in Prometheus' format, statistics, readiness. Needs no key.
//!
//! ```text
//! cargo run --example observability --features metrics              # prints all three once
//! cargo run --example observability --features metrics -- --serve   # serves them on loopback
//! ```
//!
//! Served are `/metrics`, `/stats` and `/ready` on 127.0.0.1:9464, where the Prometheus configuration
//! in `examples/observability/` looks for them; beside it are alert rules and a Grafana dashboard.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::observe::metrics::{Metrics, buckets};
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, Price, ProviderError};
use evenkeel::{RequestQueue, SemanticCache, Usage, provider_fn};
use futures::future::join_all;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // First the recorder, then the client: what is recorded before there is one is lost.
    let mut exporter = PrometheusBuilder::new().with_recommended_naming(true);
    for (name, bounds) in buckets::all() {
        exporter = exporter.set_buckets_for_metric(Matcher::Full(name.into()), bounds)?;
    }
    let exporter = exporter.install_recorder()?;
    let metrics = Metrics::new();
    let client = LlmClient::builder()
        .endpoint(endpoint("slow", 80, None))
        .endpoint(endpoint("overloaded", 5, Some(ErrorKind::Overloaded)))
        .endpoint(endpoint("poor", 5, Some(ErrorKind::QuotaExhausted)))
        .queue(RequestQueue::builder().build()?)
        .cache(SemanticCache::builder().build()?)
        .observer(metrics.clone())
        .build()?;
    let page = |path: &str| -> Page {
        // What no event tells is looked up now.
        metrics.sample(&client.stats());
        exporter.run_upkeep();
        let (stats, health) = (client.stats(), client.health());
        Ok(match path {
            "/metrics" => (200, exporter.render()),
            "/stats" => (200, serde_json::to_string_pretty(&stats)?),
            "/ready" if health.ready => (200, serde_json::to_string_pretty(&health)?),
            "/ready" => (503, serde_json::to_string_pretty(&health)?),
            _ => (404, String::new()),
        })
    };
    if std::env::args().any(|argument| argument == "--serve") {
        return serve(&client, page).await;
    }
    traffic(&client).await;
    for path in ["/metrics", "/stats", "/ready"] {
        println!("{}", page(path)?.1);
    }
    Ok(())
}

type Page = serde_json::Result<(u16, String)>;

async fn serve(client: &LlmClient, page: impl Fn(&str) -> Page) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:9464").await?;
    println!("http://{}/metrics, /stats, /ready", listener.local_addr()?);
    loop {
        let ((mut stream, _), mut head) = (listener.accept().await?, [0; 1024]);
        traffic(client).await;
        let read = stream.read(&mut head).await?;
        let head = String::from_utf8_lossy(&head[..read]);
        let (status, body) = page(head.split(' ').nth(1).unwrap_or_default())?;
        let head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await?;
    }
}

/// A backend that takes its time, and fails every third attempt where it has an error.
fn endpoint(id: &'static str, millis: u64, error: Option<ErrorKind>) -> Endpoint {
    let attempts = AtomicU64::new(0);
    let backend = provider_fn(id, move |_, _| {
        let error = error.filter(|_| attempts.fetch_add(1, Ordering::Relaxed) % 3 == 2);
        async move {
            sleep_until(after(now(), Duration::from_millis(millis))).await;
            let answer = ChatResponse::text_only("Yes.").with_usage(Usage::counted(12, 3));
            error.map_or(Ok(answer), |kind| Err(ProviderError::new(kind, "no")))
        }
    });
    Endpoint::new(backend).model("smart").price(Price::new(2_500, 10_000))
}

/// Thirty calls at a time, some of them the same.
async fn traffic(client: &LlmClient) {
    let ask = |number: u64| ChatRequest::new("smart").user(format!("Question {}?", number % 20));
    join_all((0..30).map(|number| client.complete(ask(number)))).await;
}
