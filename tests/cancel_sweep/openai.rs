//! The OpenAI wire: who leaves closes the connection, which ends the work at the other end.

use evenkeel::providers::OpenAi;
use evenkeel::time::now;
use evenkeel::{CallContext, ChatRequest, Embedder as _, Provider as _};
use serde_json::json;

use crate::SECOND;
use crate::wire::{self, Server};

fn provider(server: &Server) -> OpenAi {
    OpenAi::compatible("wire", server.url("/v1"), "sk-test").unwrap()
}

fn asked() -> (ChatRequest, CallContext) {
    (ChatRequest::new("m").user("hello"), CallContext::new(now() + 60 * SECOND))
}

#[tokio::test]
async fn an_answer_is_let_go_of_wherever_it_is_dropped() {
    let choice = json!({"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"});
    let server = Server::start(wire::json(&json!({"id": "c1", "choices": [choice]}))).await;
    let (provider, (request, cx)) = (provider(&server), asked());
    let answer = server.sweep(|| provider.complete(&request, &cx)).await;
    assert_eq!(answer.unwrap().text(), "hi");
    drop(provider);
    server.is_left().await;
}

#[tokio::test]
async fn a_stream_is_let_go_of_wherever_it_is_dropped() {
    let event = |choice| format!("data: {}\n\n", json!({"id": "c1", "choices": [choice]}));
    let mut events: Vec<_> =
        ["a", "b", "c"].map(|text| event(json!({"index": 0, "delta": {"content": text}}))).into();
    events.push(event(json!({"index": 0, "delta": {}, "finish_reason": "stop"})));
    events.push("data: [DONE]\n\n".into());
    let server = Server::start(wire::events(&events)).await;
    let (provider, (request, cx)) = (provider(&server), asked());
    let read = || async { wire::text(provider.stream(&request, &cx).await).await };
    assert_eq!(server.sweep(read).await, "abc");
    drop(provider);
    server.is_left().await;
}

#[tokio::test]
async fn what_else_is_asked_is_let_go_of_wherever_it_is_dropped() {
    let vector = json!({"index": 0, "embedding": [1.0, 0.0]});
    let server = Server::start(wire::json(&json!({"data": [vector]}))).await;
    let provider = provider(&server);
    server.sweep(|| provider.probe()).await.unwrap();
    let embedder = provider.embedder("e");
    let vectors = server.sweep(|| embedder.embed(&["one"])).await.unwrap();
    assert_eq!(vectors.len(), 1);
    drop((provider, embedder));
    server.is_left().await;
}
