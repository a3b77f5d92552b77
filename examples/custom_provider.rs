//! A backend of your own: one trait, two required methods, and streaming where the backend can.
//!
//! ```text
//! cargo run --example custom_provider
//! ```

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    CallContext, Capabilities, ChatRequest, ChatResponse, Chunk, ChunkStream, Endpoint, ErrorKind,
    FinishReason, LlmClient, Provider, ProviderError, async_trait,
};
use futures::StreamExt as _;

/// A model that runs in this process and only knows how to count.
struct Counter;

impl Counter {
    /// The number it is asked to count to. What a backend cannot accept is the request's fault,
    /// which tells the client that trying elsewhere would not help.
    fn target(request: &ChatRequest) -> Result<u32, ProviderError> {
        let text = request.messages.last().map(|message| message.text()).unwrap_or_default();
        text.trim().parse().map_err(|error| {
            ProviderError::new(ErrorKind::InvalidRequest, "not a number").with_source(error)
        })
    }
}

#[async_trait]
impl Provider for Counter {
    fn id(&self) -> &str {
        "counter"
    }

    async fn complete(
        &self,
        request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChatResponse, ProviderError> {
        let words: Vec<_> = (1..=Self::target(request)?).map(|n| n.to_string()).collect();
        Ok(ChatResponse::text_only(words.join(" ")))
    }

    /// The stream owns its work and does it when polled, so dropping it stops the counting.
    async fn stream(
        &self,
        request: &ChatRequest,
        _cx: &CallContext,
    ) -> Result<ChunkStream, ProviderError> {
        let target = Self::target(request)?;
        let counting = futures::stream::unfold(1, move |n| async move {
            if n > target {
                return None;
            }
            sleep_until(after(now(), Duration::from_millis(100))).await;
            Some((Ok(Chunk::text(0, format!("{n} "))), n + 1))
        });
        let done = futures::stream::iter([Ok(Chunk::done(FinishReason::Stop))]);
        Ok(counting.chain(done).boxed())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::text_only().streaming(true)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = LlmClient::builder().endpoint(Endpoint::new(Counter)).build()?;

    let mut stream = client.stream("5").await?;
    while let Some(chunk) = stream.next().await {
        print!("{}", chunk?.as_text().unwrap_or_default());
        std::io::stdout().flush()?;
    }
    if let Some(report) = stream.report() {
        println!("\nfirst token after {:?}, all of it after {:?}", report.ttft, report.total);
    }

    let refused = client.complete("five").await;
    println!("asked for \"five\": {}", refused.expect_err("the counter takes digits only"));
    Ok(())
}
