//! `GET /healthz` and `GET /readyz`, for whatever starts instances and sends them traffic.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use evenkeel::time;

use crate::gateway::Gateway;

/// The process lives and its runtime runs.
pub async fn alive() -> &'static str {
    "ok"
}

/// Calls are taken, and some endpoint can serve them.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    let serves = || {
        let endpoints = gateway.client.balancer().status(time::now());
        endpoints.iter().any(|endpoint| endpoint.condition.is_serving())
    };
    if gateway.client.is_closed() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if serves() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no endpoint can take calls")
    }
}
