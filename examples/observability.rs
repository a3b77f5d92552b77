//! What can be seen of a client: metrics in Prometheus' format, its statistics and its readiness. Some
//! calls go to three backends, of which one is slow, one is often overloaded, and one out of money.
//! Needs no key.
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
use evenkeel::{
    ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, Price, Provider, ProviderError,
    RequestQueue, SemanticCache, Usage, provider_fn,
};
use futures::future::join_all;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ADDRESS: &str = "127.0.0.1:9464";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // First the recorder, then the client: what is recorded before there is one is lost.
    let exporter = exporter()?;
    let metrics = Metrics::new();
    let client = client(&metrics)?;
    if std::env::args().any(|argument| argument == "--serve") {
        return serve(&exporter, &metrics, &client).await;
    }
    traffic(&client).await;
    println!("{}", scrape(&exporter, &metrics, &client));
    println!("{}", serde_json::to_string_pretty(&client.stats())?);
    println!("{}", serde_json::to_string_pretty(&client.health())?);
    Ok(())
}

/// An exporter that knows where the boundaries of the histograms are.
fn exporter() -> Result<PrometheusHandle, Box<dyn Error>> {
    let mut builder = PrometheusBuilder::new().with_recommended_naming(true);
    for (name, bounds) in buckets::all() {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds)?;
    }
    Ok(builder.install_recorder()?)
}

fn client(metrics: &Metrics) -> Result<LlmClient, evenkeel::BuildError> {
    LlmClient::builder()
        .endpoint(endpoint("slow", 80, None))
        .endpoint(endpoint("overloaded", 5, Some(ErrorKind::Overloaded)))
        .endpoint(endpoint("poor", 5, Some(ErrorKind::QuotaExhausted)))
        .queue(RequestQueue::builder().build()?)
        .cache(SemanticCache::builder().build()?)
        .observer(metrics.clone())
        .build()
}

fn endpoint(id: &'static str, millis: u64, error: Option<ErrorKind>) -> Endpoint {
    let backend = backend(id, Duration::from_millis(millis), error);
    Endpoint::new(backend).model("smart").price(Price::new(2_500, 10_000))
}

/// A backend that answers after `delay`, and fails every third attempt where it has an error.
fn backend(id: &'static str, delay: Duration, error: Option<ErrorKind>) -> impl Provider {
    let attempts = AtomicU64::new(0);
    provider_fn(id, move |_, _| {
        let third = attempts.fetch_add(1, Ordering::Relaxed) % 3 == 2;
        async move {
            sleep_until(after(now(), delay)).await;
            match error.filter(|_| third) {
                Some(kind) => Err(ProviderError::new(kind, "no")),
                None => Ok(ChatResponse::text_only("Yes.").with_usage(Usage::counted(12, 3))),
            }
        }
    })
}

/// Thirty calls at a time, some of them the same.
async fn traffic(client: &LlmClient) {
    let ask =
        |question: u64| ChatRequest::new("smart").user(format!("Question {}?", question % 20));
    join_all((0..30).map(|question| client.complete(ask(question)))).await;
}

/// What Prometheus is given. What no event tells is looked up now.
fn scrape(exporter: &PrometheusHandle, metrics: &Metrics, client: &LlmClient) -> String {
    metrics.sample(&client.stats());
    exporter.run_upkeep();
    exporter.render()
}

async fn serve(
    exporter: &PrometheusHandle,
    metrics: &Metrics,
    client: &LlmClient,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(ADDRESS).await?;
    println!("http://{ADDRESS}/metrics, /stats, /ready");
    loop {
        let (mut stream, _) = listener.accept().await?;
        traffic(client).await;
        let (status, body) = match path(&mut stream).await?.as_str() {
            "/metrics" => (200, scrape(exporter, metrics, client)),
            "/stats" => (200, serde_json::to_string(&client.stats())?),
            "/ready" => {
                let health = client.health();
                (if health.ready { 200 } else { 503 }, serde_json::to_string(&health)?)
            }
            _ => (404, String::new()),
        };
        let head = format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

/// The path of a request, as far as it fits.
async fn path(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = [0; 1024];
    let read = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..read]);
    Ok(head.split(' ').nth(1).unwrap_or_default().to_owned())
}
