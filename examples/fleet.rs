//! Four processes share one tenant's limit through Redis, while one of them and Redis itself are killed.
//! Do they keep it?
//!
//! Starts a `redis-server` of its own on loopback, and itself four times. Every process writes down what
//! it is let use; at the end the sum is held against the limit, and the status is 1 where it is broken.
//!
//! ```text
//! cargo run --release --example fleet --features redis,test-util -- --seconds 15
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use evenkeel::client::Shared;
use evenkeel::quota::{Dimension, Limit, Limits, QuotaLimiter};
use evenkeel::stores::redis::RedisShared;
use evenkeel::testing::{Distribution, SimulatedProvider};
use evenkeel::time::{after, now, sleep_until, wall_clock};
use evenkeel::{ChatRequest, Endpoint, Event, LlmClient, Observer};
use parking_lot::Mutex;
use tokio::task::JoinSet;

const INSTANCES: usize = 4;
const TASKS: usize = 64;

/// The tenant's limit, a tenth of what the processes ask for.
const LIMIT: u64 = 200_000;
const WINDOW: Duration = Duration::from_secs(10);

/// The same in all processes. Yours is random, and kept like a password.
const SECRET: &str = "a secret of the whole fleet";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match *words {
        ["instance", url, record, ends] => {
            runtime.block_on(instance(url, Path::new(record), ends.parse()?))?;
            Ok(ExitCode::SUCCESS)
        }
        [] => runtime.block_on(fleet(15)),
        ["--seconds", seconds] => runtime.block_on(fleet(seconds.parse()?)),
        _ => Err("usage: fleet [--seconds N]".into()),
    }
}

/// One process: a client like any other, with what it shares.
async fn instance(url: &str, record: &Path, ends: u64) -> Result<(), Box<dyn Error>> {
    let provider = SimulatedProvider::builder("simulated")
        .time_to_first_token(Distribution::log_normal(0.1, 0.5))
        .tokens_per_second(2_000.0)
        .output_tokens(Distribution::log_normal(150.0, 0.8));
    let limit = Limits::new().limit(Limit::new(Dimension::Tokens, LIMIT, WINDOW));
    let quota = QuotaLimiter::builder().per_tenant(limit).build()?;
    let redis = RedisShared::connect(url, SECRET)?;
    let client = LlmClient::builder()
        .endpoint(Endpoint::new(provider.build()?))
        .quota(quota.clone())
        // While Redis is away, each of so many takes its part of the limit.
        .shared(Shared::from(redis).quota_with(|quota| quota.min_instances(INSTANCES as u32)))
        .observer(Records::at(record, quota.clone())?)
        .build()?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(call_until(client.clone(), ends));
    }
    tasks.join_all().await;
    quota.flush(after(now(), Duration::from_secs(2))).await;
    Ok(())
}

async fn call_until(client: LlmClient, ends: u64) {
    while micros() < ends {
        let request = ChatRequest::new("any").user("Tell me something.").max_output_tokens(500);
        if let Err(error) = client.complete(request.tenant("acme")).await {
            let wait = error.retry_after().unwrap_or_default();
            pause(wait.clamp(Duration::from_millis(50), Duration::from_millis(250))).await;
        }
    }
}

/// Writes down what the process is let use as it happens: what is written outlives it.
struct Records {
    quota: QuotaLimiter,
    written: Mutex<(File, u64)>,
}

impl Records {
    fn at(path: &Path, quota: QuotaLimiter) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { quota, written: Mutex::new((file, 0)) })
    }

    /// Whether the call that was just let in was so without Redis. There is one thread, and calls are
    /// told of as they are let in: if there is one more than before, it is this one.
    fn is_alone(&self, before: &mut u64) -> bool {
        let alone = self.quota.shared().map_or(0, |shared| shared.alone);
        std::mem::replace(before, alone) < alone
    }
}

impl Observer for Records {
    fn on_event(&self, event: &Event<'_>) {
        let (file, alone) = &mut *self.written.lock();
        let line = match event {
            Event::QuotaGranted { call, tokens, .. } => {
                let alone = u8::from(self.is_alone(alone));
                format!("{} granted {call} {tokens} {alone}\n", micros())
            }
            Event::QuotaSettled { call, charged, .. } => {
                format!("{} settled {call} {charged} 0\n", micros())
            }
            Event::QuotaDenied { call, .. } => format!("{} denied {call} 0 0\n", micros()),
            _ => return,
        };
        if let Err(error) = file.write_all(line.as_bytes()) {
            eprintln!("nothing can be written down: {error}");
        }
    }
}

/// Starts everything, kills some of it, and adds up.
async fn fleet(seconds: u64) -> Result<ExitCode, Box<dyn Error>> {
    let directory = Directory::new()?;
    let mut redis = Redis::start(&directory.0).await?;
    println!("Redis at {}; {INSTANCES} processes, {TASKS} tasks each", redis.url());
    println!("one tenant, {LIMIT} tokens in {} s", WINDOW.as_secs());
    let (starts, share) = (micros(), Duration::from_secs(seconds) / 10);
    let ends = starts + seconds * 1_000_000;
    let records: Vec<PathBuf> =
        (0..INSTANCES).map(|number| directory.0.join(number.to_string())).collect();
    let start = |record: &PathBuf| start_instance(&redis.url(), record, ends);
    let mut instances = records.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    pause(share * 3).await;
    instances[0].0.kill()?;
    say(starts, "process 0 is killed");
    pause(share * 2).await;
    redis.kill();
    say(starts, "Redis is killed");
    pause(share).await;
    redis.run().await?;
    say(starts, "Redis is back");
    for instance in &mut instances[1..] {
        if !instance.0.wait()?.success() {
            return Err("a process failed".into());
        }
    }
    let used: Vec<Used> = records.iter().map(|it| Used::read(it)).collect::<Result<_, _>>()?;
    Ok(report(&used))
}

/// What one process used.
#[derive(Default)]
struct Used {
    calls: usize,
    denied: usize,
    tokens: u64,
    /// Of these, without Redis.
    alone: u64,
    /// Beyond what was reserved.
    overdraft: u64,
    first: Option<u64>,
    last: u64,
}

impl Used {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let (mut used, mut calls) = (Self::default(), BTreeMap::new());
        let text = std::fs::read_to_string(path)?;
        // The last line of a process that was killed may be half a line.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [at, what, call, tokens, alone] = words[..] else { return Err(line.into()) };
            let (at, tokens): (u64, u64) = (at.parse()?, tokens.parse()?);
            match what {
                "granted" => {
                    used.first.get_or_insert(at);
                    used.last = at;
                    calls.insert(call.to_owned(), (tokens, tokens, alone == "1"));
                }
                "settled" => {
                    calls.entry(call.to_owned()).and_modify(|call| call.1 = tokens);
                }
                _ => used.denied += 1,
            }
        }
        used.calls = calls.len();
        for (reserved, charged, alone) in calls.into_values() {
            used.tokens += charged;
            used.alone += if alone { charged } else { 0 };
            used.overdraft += charged.saturating_sub(reserved);
        }
        Ok(used)
    }
}

/// What each used, all together, and whether that is within the limit.
fn report(processes: &[Used]) -> ExitCode {
    println!("\nprocess  calls  refused   tokens  without Redis");
    for (number, used) in processes.iter().enumerate() {
        let Used { calls, denied, tokens, alone, .. } = used;
        println!("{number:>7}  {calls:>5}  {denied:>7}  {tokens:>7}  {alone:>13}");
    }
    let sum = |of: fn(&Used) -> u64| processes.iter().map(of).sum::<u64>();
    let first = processes.iter().filter_map(|used| used.first).min().unwrap_or_default();
    let last = processes.iter().map(|used| used.last).max().unwrap_or_default();
    let came_in = LIMIT * (last - first) / WINDOW.as_micros() as u64;
    let (tokens, alone, overdraft) =
        (sum(|it| it.tokens), sum(|it| it.alone), sum(|it| it.overdraft));
    let most = LIMIT + came_in + overdraft + alone;
    println!("\nB {LIMIT} + rW {came_in} + overdraft {overdraft} + without Redis {alone} = {most}");
    println!("used {tokens}");
    // Alone, all processes together stay a tenth below the limit.
    let most_alone = (LIMIT + came_in) * 9 / 10;
    let kept = tokens <= most && alone <= most_alone && tokens > came_in / 2;
    println!(
        "{}",
        if kept { "the limit was kept" } else { "THE LIMIT WAS BROKEN, or hardly used" }
    );
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_instance(url: &str, record: &Path, ends: u64) -> std::io::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("instance").arg(url).arg(record).arg(ends.to_string());
    command.spawn().map(Process)
}

/// A server that knows after it was killed what it knew before: it writes everything down.
struct Redis {
    port: u16,
    directory: PathBuf,
    process: Option<Process>,
}

impl Redis {
    async fn start(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut redis = Self { port, directory: directory.to_owned(), process: None };
        redis.run().await?;
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "no", "--dir"])
            .arg(&self.directory)
            .stdout(Stdio::null())
            .spawn();
        let missing = "redis-server is needed on the path (Debian: apt-get install redis-server)";
        self.process = Some(Process(child.map_err(|error| format!("{missing}: {error}"))?));
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            pause(Duration::from_millis(25)).await;
        }
        Err("redis-server does not listen".into())
    }

    fn kill(&mut self) {
        drop(self.process.take());
    }
}

/// Gone with everything in it when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("evenkeel-fleet-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn say(starts: u64, what: &str) {
    println!("{:>6.1} s  {what}", (micros() - starts) as f64 / 1e6);
}

/// The present on the clock that the processes have in common.
fn micros() -> u64 {
    wall_clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

async fn pause(time: Duration) {
    sleep_until(after(now(), time)).await;
}
