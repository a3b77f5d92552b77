//! The Anthropic wire: who leaves closes the connection, which ends the work at the other end.

use evenkeel::providers::Anthropic;
use evenkeel::time::now;
use evenkeel::{CallContext, ChatRequest, Provider as _};
use serde_json::{Value, json};

use crate::SECOND;
use crate::wire::{self, Server};

fn provider(server: &Server) -> Anthropic {
    Anthropic::builder().base_url(server.url("")).api_key("sk-test").model("m").build().unwrap()
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

#[tokio::test]
async fn everything_is_let_go_of_wherever_it_is_dropped() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    });
    let server = Server::start(wire::json(&message)).await;
    let (request, cx) =
        (ChatRequest::new("m").user("hello"), CallContext::new(now() + 60 * SECOND));
    let asked = provider(&server);
    let answer = server.sweep(|| asked.complete(&request, &cx)).await;
    assert_eq!(answer.unwrap().text(), "hi");
    server.sweep(|| asked.probe()).await.unwrap();
    drop(asked);
    server.is_left().await;

    let delta = |text| {
        let delta = json!({"type": "text_delta", "text": text});
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    };
    let block = json!({"type": "text", "text": ""});
    let usage = json!({"output_tokens": 2});
    let events = [
        json!({"type": "message_start", "message": {"id": "m1", "model": "m", "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        delta("a"),
        delta("b"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    let events: Vec<_> = events.iter().map(event).collect();
    let server = Server::start(wire::events(&events)).await;
    let asked = provider(&server);
    let read = || async { wire::text(asked.stream(&request, &cx).await).await };
    assert_eq!(server.sweep(read).await, "ab");
    drop(asked);
    server.is_left().await;
}
