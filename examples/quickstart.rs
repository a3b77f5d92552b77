//! Three providers behind one client: traffic follows the weights, one that fails is routed around,
//! and what was asked before is answered from the cache. Needs no key and no network.
//!
//! ```text
//! cargo run --example quickstart
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use evenkeel::cache::{LexicalEmbedder, SemanticCache};
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    CallContext, ChatRequest, ChatResponse, Endpoint, ErrorKind, LlmClient, ProviderError,
    provider_fn,
};

const THINKING: Duration = Duration::from_millis(50);

/// Answers after 50 milliseconds with what it was asked.
async fn answer(name: &str, request: ChatRequest) -> Result<ChatResponse, ProviderError> {
    sleep_until(after(now(), THINKING)).await;
    let question = request.messages.last().map(|message| message.text()).unwrap_or_default();
    Ok(ChatResponse::text_only(format!("{name} thought about {question:?}")))
}

async fn broken(_: ChatRequest, _: CallContext) -> Result<ChatResponse, ProviderError> {
    sleep_until(after(now(), THINKING)).await;
    Err(ProviderError::new(ErrorKind::Server, "temporary error").with_status(500))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = LlmClient::builder()
        .endpoint(
            Endpoint::new(provider_fn("openai", |request, _| answer("openai", request))).weight(3),
        )
        .endpoint(Endpoint::new(provider_fn("anthropic", broken)).weight(1))
        .endpoint(
            Endpoint::new(provider_fn("groq", |request, _| answer("groq", request))).weight(1),
        )
        .cache(SemanticCache::builder().embedder(LexicalEmbedder::default()).build()?)
        .build()?;

    let mut served = BTreeMap::new();
    for number in 1..=10 {
        let done = client.complete(format!("Question {number}: explain Rust")).await?;
        let report = &done.report;
        let tried: Vec<_> =
            report.attempts.iter().map(|attempt| attempt.endpoint.as_str()).collect();
        println!("{}  [{} in {:?}]", done.text(), tried.join(" failed, then "), report.total);
        *served.entry(report.served_by.to_string()).or_insert(0) += 1;
    }

    println!();
    for again in ["Question 10: explain Rust", "question 10: Explain Rust!", "Explain C"] {
        let done = client.complete(again).await?;
        println!("{again:?}: served by {} in {:?}", done.report.served_by, done.report.total);
    }

    println!("\nserved by: {served:?}");
    for endpoint in client.balancer().status(now()) {
        println!("{}: {}", endpoint.id, endpoint.condition.label());
    }
    Ok(())
}
