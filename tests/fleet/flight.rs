//! A cold key: however many callers of however many instances ask the same at once, one of them asks
//! upstream, and one more for each that is killed while it does.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::cache::SemanticCache;
use evenkeel::cache::shared::FleetFlight;
use evenkeel::stores::redis::RedisShared;
use evenkeel::{ChatRequest, ChatResponse, Endpoint, Event, LlmClient, Observer, provider_fn};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::MACHINE;
use crate::process::{Directory, Instance, Part, in_micros, micros};
use crate::records::Records;
use crate::server::{Server, pause};

pub(crate) const ROLE: &str = "flight";

const INSTANCES: u64 = 4;
const CALLERS: u64 = 500;
const QUESTION: &str = "What is asked by all?";

/// How long a lead lasts that nobody renews.
const LEASE: Duration = Duration::from_millis(1_500);

/// What a process needs before it can ask.
const START: Duration = Duration::from_millis(2_000);

/// The callers of an instance come within so long: all in one instant, they would keep a busy machine
/// from noticing within a store's deadline that it has answered.
const COME_WITHIN: Duration = Duration::from_millis(1_200);

/// One instance: callers that ask the same.
pub(crate) fn run(part: &Part) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(async {
        let records = Arc::new(Mutex::new(Records::at(&part.record)));
        let client = client(part, &records);
        // Connections are made, and the scripts known.
        for number in 0..3 {
            let other = format!("Are you there, {}? ({number})", part.seed);
            client.complete(ChatRequest::new("any").user(other)).await.unwrap();
        }
        pause(Duration::from_micros(part.starts.saturating_sub(micros()))).await;
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let client = client.clone();
            callers.spawn(async move {
                pause(COME_WITHIN * number as u32 / CALLERS as u32).await;
                let request = ChatRequest::new("any").user(QUESTION);
                client.complete(request).await.unwrap().text()
            });
        }
        let answers = callers.join_all().await;
        assert!(answers.iter().all(|answer| answer == "This."));
        records.lock().line("answered\n");
    });
}

fn client(part: &Part, records: &Arc<Mutex<Records>>) -> LlmClient {
    let (written, takes) = (Arc::clone(records), Duration::from_millis(part.setting));
    let upstream = provider_fn("upstream", move |request, _| {
        let is_asked_by_all = request.messages.iter().any(|message| message.text() == QUESTION);
        if is_asked_by_all {
            written.lock().line("upstream\n");
        }
        async move {
            pause(if is_asked_by_all { takes } else { Duration::ZERO }).await;
            Ok(ChatResponse::text_only("This."))
        }
    });
    let store = RedisShared::connect(&part.url, "a secret of the whole fleet").unwrap().answers();
    let cache = SemanticCache::builder()
        .secret([7; 32])
        .shared(store)
        .fleet_flight(FleetFlight::new().lease(LEASE));
    let client =
        LlmClient::builder().endpoint(Endpoint::new(upstream)).cache(cache.build().unwrap());
    client.observer(Failures(Arc::clone(records))).build().unwrap()
}

/// Writes down when the store does not answer in time: then an instance asks by itself.
struct Failures(Arc<Mutex<Records>>);

impl Observer for Failures {
    fn on_event(&self, event: &Event<'_>) {
        if matches!(event, Event::StoreFailed { .. }) {
            self.0.lock().line("failed\n");
        }
    }
}

struct Fleet {
    instances: Vec<Instance>,
    directory: Directory,
    _redis: Server,
}

impl Fleet {
    /// One whose upstream takes so long.
    async fn start(name: &str, takes: Duration) -> Self {
        let (redis, directory) = (Server::start().await, Directory::new(name));
        let starts = micros() + in_micros(START);
        let instance = |number: u64| {
            let record = directory.file(&number.to_string());
            let (url, setting) = (redis.url(), takes.as_millis() as u64);
            Part { role: ROLE, url, record, seed: number, starts, ends: 0, setting }.start()
        };
        let instances = (0..INSTANCES).map(instance).collect();
        Self { instances, directory, _redis: redis }
    }

    /// The instance that asks upstream first.
    async fn leader(&self) -> usize {
        loop {
            let leads = |number| count(&self.record(number), "upstream") > 0;
            if let Some(leader) = (0..INSTANCES).find(|number| leads(*number)) {
                return leader as usize;
            }
            pause(Duration::from_millis(20)).await;
        }
    }

    /// Waits for those that are left, and counts what all of them wrote.
    fn end(mut self) -> Counts {
        self.instances.drain(..).for_each(Instance::end);
        let all: String = (0..INSTANCES).map(|number| self.record(number)).collect();
        let [upstream, answered, failed] =
            ["upstream", "answered", "failed"].map(|word| count(&all, word));
        Counts { upstream, answered, failed }
    }

    fn record(&self, number: u64) -> String {
        std::fs::read_to_string(self.directory.file(&number.to_string())).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Counts {
    upstream: usize,
    answered: usize,
    failed: usize,
}

impl Counts {
    /// Every caller has its answer, and upstream was asked once and once more for each lead that
    /// expired. Whether the store answered in time; where it did not, no more was asked than that
    /// explains.
    fn is_the_law(&self, instances: usize, expired: usize) -> bool {
        println!("{self:?}");
        assert_eq!(self.answered, instances);
        let asked = 1 + expired..=1 + expired + self.failed;
        assert!(asked.contains(&self.upstream), "{self:?}");
        self.failed == 0
    }
}

fn count(text: &str, word: &str) -> usize {
    text.lines().filter(|line| *line == word).count()
}

/// On a machine that is too busy a store may answer too late, and whoever it was asked by then asks
/// upstream. So many tries it gets to answer in time.
const TRIES: usize = 5;

#[tokio::test]
async fn two_thousand_callers_of_four_processes_on_a_cold_key_ask_upstream_once() {
    let _machine = MACHINE.lock().await;
    for number in 0..TRIES {
        let fleet = Fleet::start(&format!("cold-{number}"), Duration::from_millis(2_000)).await;
        let counts = fleet.end();
        if counts.is_the_law(4, 0) {
            return;
        }
    }
    println!("the store never answered in time: the machine is too busy to see one call alone");
}

#[tokio::test]
async fn when_the_process_that_asks_is_killed_another_one_asks_once_more() {
    let _machine = MACHINE.lock().await;
    for number in 0..TRIES {
        let takes = Duration::from_millis(2_500);
        let mut fleet = Fleet::start(&format!("killed-{number}"), takes).await;
        let leader = fleet.leader().await;
        fleet.instances.remove(leader).kill();
        let counts = fleet.end();
        if counts.is_the_law(3, 1) {
            return;
        }
    }
    println!("the store never answered in time: the machine is too busy to see two calls alone");
}
