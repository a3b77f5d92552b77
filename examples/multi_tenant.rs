//! Three tenants share one rate-limited backend, and one of them floods it. What do the others get?
//! Once without a queue, once with one, and once with quotas as well. Needs no key and no network;
//! tokio's clock is paused, so that a minute of traffic takes a moment.
//!
//! ```text
//! cargo run --example multi_tenant
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use evenkeel::balance::EndpointLimits;
use evenkeel::client::LlmClientBuilder;
use evenkeel::quota::{Amounts, Dimension, Limit, Limits, QuotaLimiter, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{
    Call, ChatRequest, ChatResponse, Completion, Endpoint, ErrorKind, LlmClient, Provider,
    ProviderError, RequestQueue, Usage, provider_fn,
};
use futures::future::{join, join_all};

const SECOND: Duration = Duration::from_secs(1);

/// Names, and calls a minute. Together they ask for three times what the backend allows.
const TENANTS: [(&str, u64); 3] = [("flood", 1_080), ("acme", 60), ("zoe", 60)];

/// What every call uses, and what the backend allows in a second.
const INPUT: u64 = 100;
const OUTPUT: u64 = 200;
const ALLOWED: u64 = 2_000;

const ANSWERING: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

/// A row of the table shows so much time.
const SLICE: Duration = Duration::from_secs(15);
const SLICES: u32 = 4;

/// A backend that allows so many tokens a second, and says when to come back. It keeps count with a
/// limiter of its own: that needs no client.
fn backend() -> Result<impl Provider, Box<dyn Error>> {
    let allowed = Limits::new().limit(Limit::new(Dimension::Tokens, ALLOWED, SECOND));
    let limiter = QuotaLimiter::builder().global(allowed).build()?;
    Ok(provider_fn("backend", move |_, _| {
        let taken = limiter.try_reserve(&Whose::default(), &Amounts::tokens(INPUT, OUTPUT));
        async move {
            let taken = taken.map_err(|denied| {
                ProviderError::new(ErrorKind::RateLimited, "too many tokens")
                    .with_retry_after(denied.retry_after().unwrap_or(SECOND))
            })?;
            sleep_until(after(now(), ANSWERING)).await;
            taken.settle(&Amounts::tokens(INPUT, OUTPUT));
            let usage = Usage::counted(INPUT, OUTPUT);
            Ok(ChatResponse::text_only("Because.").with_usage(usage))
        }
    }))
}

/// Asks, and where no endpoint has room asks again when it is told to, though not at the same
/// instant as all others. A client with a queue does the waiting itself.
async fn ask(client: &LlmClient, call: Call, rng: &Rng) -> Option<Completion> {
    let deadline = after(now(), PATIENCE);
    loop {
        let again = match client.complete(call.clone().deadline(deadline)).await {
            Ok(done) => return Some(done),
            Err(evenkeel::Error::Unavailable(not_yet)) => after(now(), not_yet.retry_after?),
            Err(_) => return None,
        };
        sleep_until(after(again, rng.jitter(SECOND)).min(deadline)).await;
    }
}

/// A tenant's calls that ended in a slice of time.
#[derive(Default)]
struct Tally {
    ended: u32,
    answered: u32,
    waited: Duration,
    tokens: u64,
}

impl Tally {
    fn add(&mut self, answer: Option<Completion>, elapsed: Duration) {
        self.ended += 1;
        self.waited += elapsed;
        if let Some(done) = answer {
            self.answered += 1;
            self.waited -= ANSWERING;
            self.tokens += done.response.usage.total_tokens();
        }
    }
}

/// A tenant's calls, at random instants of the minute.
async fn traffic(client: &LlmClient, (name, calls): (&str, u64), tally: &RefCell<Tally>) {
    let rng = &Rng::from_seed(name.len() as u64);
    let request = ChatRequest::new("model").user("Why? ".repeat(80)).max_output_tokens(OUTPUT);
    let call = &Call::new(request).tenant(name);
    let start = now();
    let calls = (0..calls).map(|_| async move {
        let asked = after(start, rng.jitter(SLICE * SLICES));
        sleep_until(asked).await;
        let answer = ask(client, call.clone(), rng).await;
        tally.borrow_mut().add(answer, asked.elapsed());
    });
    join_all(calls).await;
}

/// Prints a row whenever a slice of time has passed.
async fn watch(tallies: &[RefCell<Tally>]) {
    let start = now();
    for slice in 1..=SLICES {
        sleep_until(start + SLICE * slice).await;
        print!("{:>4} s", start.elapsed().as_secs());
        for tally in tallies {
            let Tally { ended, answered, waited, tokens } = tally.take();
            let (share, wait) = (100 * answered / ended.max(1), waited / ended.max(1));
            print!(" |{share:>7} %{:>6.1} s{tokens:>8}", wait.as_secs_f64());
        }
        println!();
    }
}

async fn show(title: &str, client: LlmClientBuilder) -> Result<(), Box<dyn Error>> {
    let limits = EndpointLimits::new().tokens_per_minute(60 * ALLOWED).burst(SECOND);
    let client = client.endpoint(Endpoint::new(backend()?).limits(limits)).seed(1).build()?;

    println!("\n{title}");
    println!("       | {}", TENANTS.map(|(name, _)| format!("{name:^24}")).join("| "));
    println!("  time{}", " | answered    wait  tokens".repeat(TENANTS.len()));
    let tallies = <[RefCell<Tally>; TENANTS.len()]>::default();
    let tenants = TENANTS.into_iter().zip(&tallies);
    let traffic = join_all(tenants.map(|(tenant, tally)| traffic(&client, tenant, tally)));
    join(traffic, watch(&tallies)).await;
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    // Half of the time is left for the answer.
    let queue = || RequestQueue::builder().max_wait(PATIENCE / 2).build();
    let third = Limit::new(Dimension::Tokens, 10 * ALLOWED / 3, 10 * SECOND);
    let quota = QuotaLimiter::builder().per_tenant(Limits::new().limit(third)).build()?;

    let plain = LlmClient::builder();
    show("No queue: who asks more gets more, and the others wait in vain", plain).await?;
    let queued = LlmClient::builder().queue(queue()?);
    show("A queue: everyone gets its share, and the flood what is left", queued).await?;
    let limited = LlmClient::builder().queue(queue()?).quota(quota);
    show("A queue, and a third for each: the flood hears no at once", limited).await
}
