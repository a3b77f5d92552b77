//! Measures evenkeel beside liter-llm, in one process: `evenkeel-beside-liter PORT ROUNDS`.
//!
//! Both have what they can have on: evenkeel balancer, quotas, queue and cache; liter-llm its limits
//! of requests and tokens, its limit of calls in flight, its cache, its cooldown and its count of costs.
//! Prints for each what a call takes more than a bare one of reqwest: CPU time in microseconds, as the
//! median over the rounds, the least and the greatest, and allocations.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_beside_gateways::alloc::Counting;
use evenkeel_beside_gateways::figures::Spread;
use evenkeel_beside_gateways::in_process::{BATCH, Bare, Cost, Driver, Evenkeel, Way, base_url};
use evenkeel_beside_gateways::question::{KEY, MODEL, Questions};
use liter_llm::client::ClientConfigBuilder;
use liter_llm::{
    CacheConfig, ChatCompletionRequest, InFlightLimitConfig, LlmClient as _, ManagedClient,
    Message, RateLimitConfig, UserContent, UserMessage,
};

#[global_allocator]
static COUNTED: Counting = Counting;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|word| word.parse::<u16>().ok());
    let (Some(port), Some(rounds)) = (number(), number()) else {
        eprintln!("usage: evenkeel-beside-liter PORT ROUNDS");
        std::process::exit(2);
    };
    let bare = Driver::new(|| Bare::to(port));
    let ours = Driver::new(|| Evenkeel::to(port));
    let theirs = Driver::new(|| Liter::to(port));
    println!("client,connections,cpu_us,cpu_us_low,cpu_us_high,allocations");
    for connections in [1, 8, 64] {
        let rounds: Vec<[Cost; 3]> = (0..rounds * 8)
            .map(|_| {
                let bare = bare.run(connections, BATCH);
                [bare, ours.run(connections, BATCH), theirs.run(connections, BATCH)]
            })
            .collect();
        for (at, name) in [(1, "evenkeel"), (2, "liter-llm 2.4.4")] {
            let cpu = Spread::of(rounds.iter().map(|round| round[at].cpu - round[0].cpu));
            let more = Spread::of(rounds.iter().map(|r| r[at].allocations - r[0].allocations));
            println!("{name},{connections},{cpu},{:.0}", more.median);
        }
    }
}

#[derive(Clone)]
struct Liter {
    client: Arc<ManagedClient>,
}

impl Liter {
    fn to(port: u16) -> Self {
        let minute = Duration::from_secs(60);
        let rates = RateLimitConfig { rpm: Some(1 << 30), tpm: Some(1 << 40), window: minute };
        let cache = CacheConfig { max_entries: 2_000, ..CacheConfig::default() };
        let config = ClientConfigBuilder::new(KEY)
            .base_url(base_url(port))
            .rate_limit(rates)
            .in_flight_limit(InFlightLimitConfig { max_in_flight: Some(1_000) })
            .cache(cache)
            .cooldown(Duration::from_secs(30))
            .cost_tracking(true)
            .build();
        let client = ManagedClient::new(config, Some(MODEL)).expect("an address and a key");
        Self { client: Arc::new(client) }
    }
}

impl Way for Liter {
    async fn ask(&self, questions: &mut Questions) {
        let content = UserContent::Text(questions.prompt());
        let request = ChatCompletionRequest {
            model: MODEL.to_owned(),
            messages: vec![Message::User(UserMessage { content, name: None })],
            ..ChatCompletionRequest::default()
        };
        let done = self.client.chat(request).await.expect("the server answers");
        std::hint::black_box(done);
    }
}
