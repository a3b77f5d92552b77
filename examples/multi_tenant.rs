//! Three tenants share one rate-limited backend, and one of them floods it. What do the others get?
//! Once without a queue, once with one, and once with quotas as well. Needs no key and no network;
//! tokio's clock is paused, so that a minute of traffic takes a moment.
//!
//! ```text
//! cargo run --example multi_tenant
//! ```

use std::error::Error;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::client::LlmClientBuilder;
use evenkeel::quota::{Amounts, Dimension, Limit, Limits, QuotaLimiter, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{Call, ChatRequest, ChatResponse, Completion, Endpoint, ErrorKind, LlmClient};
use evenkeel::{Provider, ProviderError, RequestQueue, Usage, provider_fn};
use futures::future::join_all;

const SECOND: Duration = Duration::from_secs(1);

/// Names, and calls a minute. Together they ask for three times what the backend allows.
const TENANTS: [(&str, u64); 3] = [("flood", 1_080), ("acme", 60), ("zoe", 60)];

/// What every call uses, and what the backend allows in a second.
const INPUT: u64 = 100;
const OUTPUT: u64 = 200;
const ALLOWED: u64 = 2_000;
const ANSWERING: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend that allows so many tokens a second, and says when to come back. It keeps count with a
/// limiter of its own: that needs no client.
fn backend() -> Result<impl Provider, Box<dyn Error>> {
    let allowed = Limits::new().limit(Limit::new(Dimension::Tokens, ALLOWED, SECOND));
    let limiter = QuotaLimiter::builder().global(allowed).build()?;
    let amounts = Amounts::tokens(INPUT, OUTPUT);
    Ok(provider_fn("backend", move |_, _| {
        let taken = limiter.try_reserve(&Whose::default(), &amounts);
        async move {
            let taken = taken.map_err(|denied| {
                ProviderError::new(ErrorKind::RateLimited, "too many tokens")
                    .with_retry_after(denied.retry_after().unwrap_or(SECOND))
            })?;
            sleep_until(after(now(), ANSWERING)).await;
            taken.settle(&amounts);
            Ok(ChatResponse::text_only("Because.").with_usage(Usage::counted(INPUT, OUTPUT)))
        }
    }))
}

/// Asks, and where no endpoint has room asks again when it is told to, though not at the same
/// instant as all others. A client with a queue does the waiting itself.
async fn ask(client: &LlmClient, call: &Call, rng: &Rng) -> Option<Completion> {
    let deadline = after(now(), PATIENCE);
    loop {
        let done = client.complete(call.clone().deadline(deadline)).await;
        let Err(evenkeel::Error::Unavailable(not_yet)) = done else { return done.ok() };
        let again = after(now(), not_yet.retry_after?);
        sleep_until(after(again, rng.jitter(SECOND)).min(deadline)).await;
    }
}

/// A tenant's calls at random instants of the minute: how many are answered, and after which wait.
async fn traffic(client: &LlmClient, (name, calls): (&str, u64)) -> String {
    let rng = &Rng::from_seed(name.len() as u64);
    let request = ChatRequest::new("model").user("Why? ".repeat(80)).max_output_tokens(OUTPUT);
    let (call, start) = (&Call::new(request).tenant(name), now());
    let answers = join_all((0..calls).map(|_| async move {
        let asked = after(start, rng.jitter(60 * SECOND));
        sleep_until(asked).await;
        ask(client, call, rng).await.map(|_| asked.elapsed() - ANSWERING)
    }));
    let waits: Vec<_> = answers.await.into_iter().flatten().collect();
    let wait = waits.iter().sum::<Duration>() / waits.len().max(1) as u32;
    format!(" | {:>4} of {calls:<5}{:>4.1} s", waits.len(), wait.as_secs_f64())
}

async fn show(title: &str, client: LlmClientBuilder) -> Result<(), Box<dyn Error>> {
    let limits = EndpointLimits::new().tokens_per_minute(60 * ALLOWED).burst(SECOND);
    let client = client.endpoint(Endpoint::new(backend()?).limits(limits)).seed(1).build()?;
    let columns = join_all(TENANTS.map(|tenant| traffic(&client, tenant))).await;
    println!("{title:<19}{}", columns.concat());
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    // Half of the time is left for the answer.
    let queue = || RequestQueue::builder().max_wait(PATIENCE / 2).build();
    let third = Limit::new(Dimension::Tokens, 10 * ALLOWED / 3, 10 * SECOND);
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().limit(third)).build()?;

    println!("answered, waited   {}", TENANTS.map(|(name, _)| format!(" | {name:^18}")).concat());
    show("no queue", LlmClient::builder()).await?;
    show("a queue", LlmClient::builder().queue(queue()?)).await?;
    show("a queue and quotas", LlmClient::builder().queue(queue()?).quota(quota)).await
}
