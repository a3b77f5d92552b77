//! `POST /v1/chat/completions`.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use evenkeel::{Call, Chunk, CompletionStream, time};
use futures::StreamExt as _;
use serde::Serialize;

use crate::answer::{Identity, completion};
use crate::busy::BusyCall;
use crate::callers::Caller;
use crate::failure::Failure;
use crate::gateway::Gateway;
use crate::request::{self, Asked};
use crate::sse::Events;

/// Answers a request. The call lasts as long as this future and the response's body: a caller that
/// leaves cancels it, upstream too.
pub async fn completions(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let caller = gateway.callers.of(&headers)?;
    let asked = request::parse(&received(&gateway, body).await?)?;
    let busy = gateway.busy.enter(caller.tenant.clone());
    let identity = gateway.identity(&asked);
    let (stream, include_usage) = (asked.stream, asked.include_usage);
    let call = call_of(asked, caller, &headers);
    if stream {
        let stream = gateway.client.stream(call).await.map_err(|error| Failure::from(&error))?;
        return Ok(streamed(gateway, stream, Events::new(identity, include_usage), busy));
    }
    let done = gateway.client.complete(call).await.map_err(|error| Failure::from(&error))?;
    gateway.latency.note(&done.report);
    Ok(json(&completion(&identity, &done)))
}

/// The whole body, within its bounds of size and time.
async fn received(gateway: &Gateway, body: Body) -> Result<Bytes, Failure> {
    let most = gateway.settings.max_body_bytes;
    let reading = tokio::time::timeout(gateway.settings.body_timeout, to_bytes(body, most));
    // A caller that broke off does not read what it is told, so every failure is told as the size.
    reading.await.map_err(|_| Failure::slow_body())?.map_err(|_| Failure::too_large(most))
}

fn call_of(asked: Asked, caller: Caller, headers: &HeaderMap) -> Call {
    let mut call = Call::new(asked.request).priority(caller.priority);
    call.options.tenant = caller.tenant;
    call.options.session = asked.session.map(Into::into);
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    call.options.idempotency_key = key.map(Into::into);
    call
}

impl Gateway {
    fn identity(&self, asked: &Asked) -> Identity {
        let created = time::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let model = asked.request.model.clone().unwrap_or_else(|| "default".to_owned());
        Identity { id: format!("chatcmpl-{:016x}", self.rng.next_u64()), created, model }
    }
}

/// A response whose body is the events of `stream`.
fn streamed(
    gateway: Arc<Gateway>,
    stream: CompletionStream,
    events: Events,
    busy: BusyCall,
) -> Response {
    let state = (gateway, stream, events, busy);
    let body =
        futures::stream::unfold(state, |(gateway, mut stream, mut events, busy)| async move {
            let bytes = match stream.next().await? {
                Ok(chunk) => {
                    note_end(&gateway, &stream, &chunk);
                    events.of(&chunk)
                }
                Err(error) => Events::broken(&error),
            };
            Some((Ok::<_, std::convert::Infallible>(bytes), (gateway, stream, events, busy)))
        });
    let body =
        body.filter(|bytes| std::future::ready(!matches!(bytes, Ok(bytes) if bytes.is_empty())));
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies must pass pieces on as they come.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn note_end(gateway: &Gateway, stream: &CompletionStream, chunk: &Chunk) {
    if let Some(report) = stream.report().filter(|_| chunk.is_done()) {
        gateway.latency.note(report);
    }
}

/// A JSON body.
pub fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("what is answered has only texts for keys");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
