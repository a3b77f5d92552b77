//! Prompts, answers and tenants are in no `Debug` and in no error.

use evenkeel::testing::{Answer, ScriptedProvider};
use evenkeel::{Call, ChatRequest, ErrorKind, ProviderError};
use futures::StreamExt as _;

use crate::doubles::{Notebook, always, builder_over, client_over};

const CANARY: &str = "canary-7f3a";

fn assert_clean(what: &str, shown: &str) {
    assert!(!shown.contains(CANARY), "{what} shows it: {shown}");
}

#[tokio::test(start_paused = true)]
async fn no_debug_and_no_error_of_a_call_shows_prompt_answer_or_tenant() {
    let call = || Call::from(format!("prompt {CANARY}")).tenant(CANARY).session(CANARY);
    let answer = || Answer::text(format!("answer {CANARY}"));
    let echo = ProviderError::new(ErrorKind::Server, format!("you sent {CANARY}"));
    let notebook = Notebook::default();

    let good = always("good", answer());
    let client = builder_over([&good]).observer(notebook.clone()).build().unwrap();
    let done = client.complete(call()).await.unwrap();
    assert_clean("the completion", &format!("{done:?}"));
    let mut stream = client.stream(call()).await.unwrap();
    while let Some(chunk) = stream.next().await {
        assert_clean("a chunk", &format!("{:?}", chunk.unwrap()));
        assert_clean("the stream", &format!("{stream:?}"));
    }
    assert_clean("the client", &format!("{client:?}"));
    assert_clean("the balancer", &format!("{:?}", client.balancer()));

    for (what, script) in [
        ("a failure", Answer::fail(echo.clone())),
        ("a cut", answer().cut_after(1)),
        ("a failure after content", answer().fail_after(1, echo)),
        ("a panic", Answer::panic()),
    ] {
        let failing = ScriptedProvider::new("failing").forever(script);
        let error = client_over([&failing]).complete(call()).await.unwrap_err();
        assert_clean(what, &format!("{error} {error:?}"));
    }
    assert_clean("an event", &notebook.lines().concat());
}

#[test]
fn no_debug_of_a_request_or_its_options_shows_content() {
    let request = ChatRequest::new("m").system(CANARY).user(CANARY).extra("k", CANARY);
    let call = request.clone().session(CANARY).tag(CANARY).idempotency_key(CANARY).tenant(CANARY);
    assert_clean("the request", &format!("{request:?}"));
    assert_clean("the call", &format!("{call:?}"));
    assert_clean("the message", &format!("{:?}", request.messages));
}
