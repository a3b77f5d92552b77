//! What does a semantic cache answer, what does it refuse to, and what does it save?
//!
//! ```text
//! cargo run --example semantic_cache
//! ```
//!
//! The embedder is the built-in one, which knows spelling and not meaning; with a model behind it more
//! of the paraphrases would hit. The guards are the same for any embedder.

use std::error::Error;

use evenkeel::cache::{Decision, LexicalEmbedder, SemanticCache};
use evenkeel::{
    ChatRequest, ChatResponse, Endpoint, LlmClient, Price, ServedBy, Usage, provider_fn,
};

/// What a user of a travel site might ask, one after the other.
const QUESTIONS: &[&str] = &[
    "What is the baggage allowance on flights from Berlin to Oslo?",
    "What is the baggage allowance on flights from Berlin to Oslo?",
    "what is the baggage allowance on flights from Berlin to Oslo",
    "Please, what is the baggage allowance on flights from Berlin to Oslo?",
    "What is the baggage allowance on flights from Oslo to Berlin?",
    "What is the baggage allowance on flights from Berlin to Rome?",
    "Can I take 2 bags on a flight from Berlin to Oslo?",
    "Can I take 3 bags on a flight from Berlin to Oslo?",
    "Is a dog allowed on the flight?",
    "Is a dog not allowed on the flight?",
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let model = provider_fn("model", |request, _| async move {
        let question = request.messages.last().map(|last| last.text()).unwrap_or_default();
        let answer = ChatResponse::text_only(format!("about {question:?}"));
        Ok(answer.with_usage(Usage::counted(400, 250)))
    });
    let cache = SemanticCache::builder()
        .embedder(LexicalEmbedder::default())
        .decision(Decision::tiered())
        .build()?;
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(model).price(Price::per_million(2.5, 10.0)))
        .cache(cache)
        .build()?;

    let mut paid = 0;
    for question in QUESTIONS {
        let done = client.complete(ChatRequest::new("travel").user(*question)).await?;
        let cost = done.report.cost.unwrap_or_default().nano_dollars();
        paid += cost;
        let how = match done.report.served_by {
            ServedBy::ExactHit => "exact hit".to_owned(),
            ServedBy::SemanticHit { similarity } => format!("hit at {similarity:.2}"),
            _ => "asked".to_owned(),
        };
        println!("{how:>11}  {:>7.4} ct  {question}", cost as f64 / 1e7);
    }

    let stats = client.cache().expect("it has one").stats();
    println!();
    println!(
        "paid {:.4} ct, saved {:.4} ct",
        paid as f64 / 1e7,
        stats.saved.nano_dollars() as f64 / 1e7
    );
    println!(
        "{} exact and {} similar hits; {} similar questions refused, for their words conflict",
        stats.exact_hits, stats.similar_hits, stats.conflicts
    );
    Ok(())
}
