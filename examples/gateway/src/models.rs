//! `GET /v1/models`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use evenkeel::time;
use serde_json::{Value, json};

use crate::chat;
use crate::failure::Failure;
use crate::gateway::Gateway;

/// The models that endpoints name. An endpoint that names none serves any, and adds none.
pub async fn models(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    gateway.callers.of(&headers)?;
    let endpoints = gateway.client.balancer().status(time::now());
    let names = endpoints.into_iter().flat_map(|endpoint| endpoint.models);
    let names: BTreeSet<String> = names.map(|(model, _)| model).collect();
    let data: Vec<Value> = names.into_iter().map(model).collect();
    Ok(chat::json(&json!({"object": "list", "data": data})))
}

fn model(id: String) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "evenkeel"})
}
