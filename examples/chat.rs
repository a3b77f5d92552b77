//! Streams an answer from real servers, token by token, and tells TTFT and total time apart.
//!
//! ```text
//! OPENAI_API_KEY=... cargo run --example chat --features openai,anthropic -- "Why is the sky blue?"
//! ```
//!
//! Whichever of `OPENAI_API_KEY` and `ANTHROPIC_API_KEY` is set becomes an endpoint; with both, they
//! share the traffic and stand in for each other. `*_BASE_URL` points to a compatible server, such as
//! one on your own machine, and `*_MODEL` names the model.

use std::env;
use std::error::Error;
use std::io::Write as _;

use evenkeel::providers::{Anthropic, OpenAi};
use evenkeel::{ChatRequest, Chunk, Endpoint, LlmClient};
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let question = env::args().nth(1).unwrap_or_else(|| "What is Rust ownership?".into());
    let request = ChatRequest::default().user(question).max_output_tokens(300);

    let mut stream = client()?.stream(request).await?;
    while let Some(chunk) = stream.next().await {
        match chunk? {
            Chunk::Text { text, .. } => print!("{text}"),
            Chunk::Reasoning { delta, .. } => print!("\x1b[2m{}\x1b[0m", delta.text),
            _ => {}
        }
        std::io::stdout().flush()?;
    }

    if let Some(report) = stream.report() {
        let ttft = report.ttft.unwrap_or_default();
        println!(
            "\n\nfrom {}: first token {ttft:.2?}, total {:.2?}",
            report.served_by, report.total
        );
    }
    Ok(())
}

fn client() -> Result<LlmClient, Box<dyn Error>> {
    let mut builder = LlmClient::builder();
    if env::var_os("OPENAI_API_KEY").is_some() {
        builder = builder.endpoint(Endpoint::new(OpenAi::from_env()?));
    }
    if env::var_os("ANTHROPIC_API_KEY").is_some() {
        builder = builder.endpoint(Endpoint::new(Anthropic::from_env()?));
    }
    Ok(builder
        .build()
        .map_err(|error| format!("{error}; set OPENAI_API_KEY or ANTHROPIC_API_KEY"))?)
}
