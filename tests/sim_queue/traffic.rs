//! Calls that arrive whether or not the ones before were answered.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::testing::SimulatedProvider;
use evenkeel::time::{after, now, sleep_until};
use evenkeel::{Call, CallContext, ChatRequest, ErrorKind, LlmClient, Provider};
use futures::future::{join, join_all};

use crate::plain::PlainClient;
use crate::scenario::{self, DEADLINE, Scenario};
use crate::setup::{self, Policy};
use crate::tally::{Ended, Run, Upstream};

/// Whatever answers calls.
pub(crate) trait Answers {
    /// How long the call waited before the attempt started that was answered; `None` where none
    /// was by the deadline.
    async fn answers(&self, request: &Arc<ChatRequest>) -> Option<Duration>;
}

impl Answers for LlmClient {
    async fn answers(&self, request: &Arc<ChatRequest>) -> Option<Duration> {
        let call = Call::new(Arc::clone(request)).deadline_in(DEADLINE);
        let done = self.complete(call).await.ok()?;
        done.report.attempts.last().map(|attempt| attempt.started)
    }
}

/// How one run of a scenario went.
pub(crate) async fn play(scenario: Scenario, policy: Policy, seed: u64) -> Run {
    let server = scenario::server(seed);
    let others = unseen(scenario, &server, seed);
    let (calls, others) = match policy {
        Policy::Plain(_, retries) => {
            let client = PlainClient::new(retries, &server, seed);
            join(arrive_at(&client, scenario, seed), others).await
        }
        Policy::Client(_, settings) => {
            let client = setup::client(settings, &server, seed);
            join(arrive_at(&client, scenario, seed), others).await
        }
    };
    let all = server.stats().calls;
    let all = Upstream { attempts: all.started, refused: all.rate_limited };
    Run { length: scenario.length(), calls, upstream: all.without(others) }
}

/// The calls of one run, in the order of their arrival.
async fn arrive_at(client: &impl Answers, scenario: Scenario, seed: u64) -> Vec<Ended> {
    let start = now();
    let call = async |(offset, request): (Duration, Arc<ChatRequest>)| {
        sleep_until(after(start, offset)).await;
        let waited = client.answers(&request).await;
        Ended { waited, at: start.elapsed() }
    };
    let arrivals = scenario.arrivals(seed);
    join_all(arrivals.into_iter().zip(scenario::requests(seed)).map(call)).await
}

/// Others use the key, and come to terms with what they are refused.
async fn unseen(scenario: Scenario, server: &SimulatedProvider, seed: u64) -> Upstream {
    let start = now();
    // Draws of its own: neither its arrivals nor its requests follow the client's.
    let seed = !seed;
    let send = async |(offset, request): (Duration, Arc<ChatRequest>)| {
        let at = after(start, offset);
        sleep_until(at).await;
        let answer = server.complete(&request, &CallContext::new(after(at, DEADLINE))).await;
        answer.is_err_and(|error| error.kind() == ErrorKind::RateLimited)
    };
    let arrivals = scenario.unseen_arrivals(seed);
    let refused = join_all(arrivals.into_iter().zip(scenario::requests(seed)).map(send)).await;
    let (attempts, refused) = (refused.len(), refused.into_iter().filter(|refused| *refused));
    Upstream { attempts: attempts as u64, refused: refused.count() as u64 }
}
