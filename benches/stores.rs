//! What quotas on Redis cost beside the cheapest things the same server can be asked, in one run and
//! over the same kind of connection: many tasks, one connection each, answers awaited one by one.
//!
//! ```text
//! cargo bench --bench stores --features redis,test-util [-- --quick]
//! ```
//!
//! Needs `redis-server`, which it starts for itself. Medians over rounds that take turns. *Server* is
//! the time a command took inside the server, by the server's own count, without network and parsing;
//! *CPU* is all that its process used.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::sync::Arc;

use evenkeel::quota::store::{Demand, QuotaStore, StoredScope, Verdict};
use evenkeel::quota::{Amounts, Level, Limits};
use evenkeel::rng::Rng;
use evenkeel::stores::redis::{RedisQuotaStore, RedisShared};
use evenkeel::time::now;
use futures::future::join_all;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/stores_redis/server.rs"]
mod server;

use server::Server;

/// As many calls start at once.
const TASKS: usize = 64;

/// Tenants, so that not all calls meet in one scope.
const TENANTS: u64 = 1_000;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, each) = if quick { (3, 100) } else { (9, 1_000) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(rounds, each));
}

async fn measure(rounds: usize, each: usize) {
    let server = Server::start().await;
    let bench = Bench::new(&server, each);
    let rows = ["ping", "incr", "quota, one scope", "quota, two scopes"];
    let mut measured = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for (at, measured) in measured.iter_mut().enumerate() {
            measured.push(bench.round(at).await);
        }
    }
    let medians: Vec<_> = measured.into_iter().map(median).collect();
    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>8}",
        "", "per second", "server us", "CPU us", "of ping"
    );
    for (name, row) in rows.iter().zip(&medians) {
        println!(
            "{name:<20} {:>10.0} {:>10.2} {:>10.2} {:>8.3}",
            row.rate,
            row.inside,
            row.cpu,
            row.rate / medians[0].rate
        );
    }
}

struct Bench<'a> {
    server: &'a Server,
    plain: ConnectionManager,
    store: RedisQuotaStore,
    rng: Rng,
    each: usize,
}

/// Of one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Commands per second; for quotas, a reservation and its settlement are two.
    rate: f64,
    /// Microseconds a command inside the server.
    inside: f64,
    /// Microseconds of the server's process a command.
    cpu: f64,
}

impl<'a> Bench<'a> {
    fn new(server: &'a Server, each: usize) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        let config = ConnectionManagerConfig::new().set_pipeline_buffer_size(2_048);
        let plain = ConnectionManager::new_lazy_with_config(client, config).unwrap();
        let secret = "not a secret, a benchmark";
        let store = RedisShared::connect(server.url(), secret).unwrap().quotas();
        Self { server, plain, store, rng: Rng::from_seed(1), each }
    }

    async fn round(&self, row: usize) -> Round {
        let _: String = self.server.ask(&["CONFIG", "RESETSTAT"]).await;
        let (cpu, start) = (self.cpu().await, now());
        let tasks = (0..TASKS).map(|task| async move {
            for _ in 0..self.each {
                match row {
                    0 => self.ask(&["PING"]).await,
                    1 => self.ask(&["INCR", &format!("counter-{task}")]).await,
                    scopes => self.call(scopes - 1).await,
                }
            }
        });
        join_all(tasks).await;
        let took = now() - start;
        let a_turn = if row < 2 { 1 } else { 2 };
        let commands = (TASKS * self.each * a_turn) as f64;
        let command = ["ping", "incr", "evalsha", "evalsha"][row];
        Round {
            rate: commands / took.as_secs_f64(),
            inside: self.inside(command).await,
            cpu: (self.cpu().await - cpu) / commands,
        }
    }

    async fn ask(&self, words: &[&str]) {
        let mut call = redis::cmd(words[0]);
        call.arg(&words[1..]);
        let _: redis::Value = call.query_async(&mut self.plain.clone()).await.unwrap();
    }

    /// A reservation of a tenant's two limits, of the service's too with two scopes, and its settlement.
    async fn call(&self, scopes: usize) {
        let limits = Limits::new().requests_per_minute(1 << 40).tokens_per_minute(1 << 40);
        let tenant = StoredScope::new(
            format!("tenant-{}", self.rng.below(TENANTS)),
            Level::Tenant,
            limits.clone(),
        );
        let global = StoredScope::new("global", Level::Global, limits);
        let all = [tenant, global].into_iter().take(scopes).collect();
        let demand =
            Arc::new(Demand::new(self.rng.next_u64().into(), Amounts::tokens(200, 800), all));
        let Verdict::Granted(grant) = self.store.reserve(&demand).await.unwrap() else {
            panic!("the limits are out of reach");
        };
        self.store.settle(&grant, &Amounts::tokens(200, 300)).await.unwrap();
    }

    async fn inside(&self, command: &str) -> f64 {
        let stats: String = self.server.ask(&["INFO", "commandstats"]).await;
        let prefix = format!("cmdstat_{command}:");
        let line = stats.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
        let field = line.split(',').find_map(|field| field.strip_prefix("usec_per_call="));
        field.unwrap().parse().unwrap()
    }

    /// Microseconds that the server's process used so far.
    async fn cpu(&self) -> f64 {
        let info: String = self.server.ask(&["INFO", "cpu"]).await;
        let of = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().parse::<f64>().unwrap()
        };
        (of("used_cpu_user:") + of("used_cpu_sys:")) * 1e6
    }
}

fn median(rounds: Vec<Round>) -> Round {
    let middle = |of: fn(&Round) -> f64| {
        let mut values: Vec<_> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Round {
        rate: middle(|round| round.rate),
        inside: middle(|round| round.inside),
        cpu: middle(|round| round.cpu),
    }
}
