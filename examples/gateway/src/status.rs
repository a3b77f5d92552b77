//! `GET /` and `GET /status.json`: what the client is doing right now.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use evenkeel::balance::EndpointStatus;
use evenkeel::{RequestQueue, SemanticCache, TenantId, time};
use serde_json::{Value, json};

use crate::chat;
use crate::gateway::Gateway;
use crate::latency::{Timing, quantile};

/// How many of the latest answers the page draws.
const DRAWN: usize = 60;

/// How many tenants the page names.
const NAMED: usize = 20;

/// The page. It has no parts elsewhere, and may have none.
pub async fn page() -> Response {
    let mut response = Html(include_str!("status.html")).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  connect-src 'self'; frame-ancestors 'none'";
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// What the page shows.
pub async fn json(State(gateway): State<Arc<Gateway>>) -> Response {
    let client = &gateway.client;
    let now = time::now();
    let endpoints = client.balancer().status(now);
    chat::json(&json!({
        "closed": client.is_closed(),
        "running": client.running(),
        "endpoints": endpoints.iter().map(|status| endpoint(status, now)).collect::<Vec<_>>(),
        "latency": latency(&gateway.latency.latest()),
        "queue": client.queue().map(queue),
        "cache": client.cache().map(cache),
        "tenants": tenants(&gateway.busy.tenants(), gateway.settings.show_tenants),
    }))
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn endpoint(status: &EndpointStatus, now: time::Instant) -> Value {
    let condition = status.condition;
    let resting = |until: time::Instant| until.saturating_duration_since(now).as_secs_f64().ceil();
    json!({
        "id": status.id.as_str(),
        "state": condition.label(),
        "why": condition.why().map(|kind| kind.label()),
        "for_seconds": condition.until().map(resting),
        "running": status.in_flight,
        "weight": status.weight,
        "tier": status.tier,
        "ttft_ms": status.ttft.map(millis),
        "ms_per_token": status.time_per_token.map(millis),
        "models": status.models.iter().map(|(model, condition)| {
            json!({"model": model, "state": condition.label()})
        }).collect::<Vec<_>>(),
    })
}

fn latency(latest: &[Timing]) -> Value {
    let ttfts = || latest.iter().filter_map(|timing| timing.ttft);
    let totals = || latest.iter().map(|timing| timing.total);
    let pair = |times: Vec<Duration>| {
        let at = |share| quantile(times.iter().copied(), share).map(millis);
        json!({"p50": at(0.5), "p95": at(0.95)})
    };
    let drawn = &latest[latest.len().saturating_sub(DRAWN)..];
    json!({
        "answers": latest.len(),
        "ttft_ms": pair(ttfts().collect()),
        "total_ms": pair(totals().collect()),
        "latest_ms": drawn.iter().map(|timing| {
            json!([timing.ttft.map(millis), millis(timing.total)])
        }).collect::<Vec<_>>(),
    })
}

fn queue(queue: &RequestQueue) -> Value {
    let stats = queue.stats();
    let [batch, normal, interactive] = stats.by_class;
    json!({
        "waiting": stats.depth,
        "running": stats.running,
        "oldest_ms": stats.oldest_wait.map(millis),
        "by_class": {"interactive": interactive, "normal": normal, "batch": batch},
        "limit": stats.concurrency_limit,
    })
}

fn cache(cache: &SemanticCache) -> Value {
    let stats = cache.stats();
    json!({
        "exact_hits": stats.exact_hits,
        "similar_hits": stats.similar_hits,
        "misses": stats.misses,
        "entries": stats.entries,
        "bytes": stats.bytes,
        "saved_dollars": stats.saved.nano_dollars() as f64 / 1e9,
    })
}

fn tenants(busy: &[(Option<TenantId>, usize)], named: bool) -> Value {
    let name = |tenant: &Option<TenantId>| tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
    let names = busy.iter().take(NAMED).map(|(tenant, calls)| json!([name(tenant), calls]));
    json!({
        "in_use": busy.len(),
        "by_name": named.then(|| names.collect::<Vec<_>>()),
    })
}
