//! `GET /healthz` and `GET /readyz`, for whatever starts instances and sends them traffic.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::chat;
use crate::gateway::Gateway;

/// The process lives and its runtime runs.
pub async fn alive() -> &'static str {
    "ok"
}

/// Calls are taken, and every model has an endpoint that takes them; the body says what is missing.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Response) {
    let health = gateway.client.health();
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, chat::json(&json!(health)))
}
