//! The law of a fleet: in any window no more is used than there was, though instances and Redis are
//! killed while calls run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{
    Amounts, Dimension, Limit, Limits, QuotaLimiter, Reservation, SharedQuota, Whose,
};
use evenkeel::rng::Rng;
use evenkeel::stores::redis::RedisShared;
use evenkeel::time::now;
use tokio::task::LocalSet;

use crate::MACHINE;
use crate::process::{Directory, Instance, Part, in_micros, micros};
use crate::records::{Done, Records, read};
use crate::server::{Server, pause};
use crate::windows::burst_needed;

pub(crate) const ROLE: &str = "calls";

const INSTANCES: u64 = 4;
const TASKS: u64 = 64;

/// Much less than the calls ask for.
const LIMIT: u64 = 200_000;
const WINDOW: Duration = Duration::from_secs(10);
const PER_SECOND: u64 = LIMIT / WINDOW.as_secs();

const LARGEST: u64 = 1_000;

/// One way of asking the store.
const EVERY_CALL: u64 = 0;
const LEASES: u64 = 1;

/// One instance: tasks that call as fast as they are let, until it is over.
pub(crate) fn run(part: &Part) {
    // One thread: what is counted between a task's question and its return is the task's own doing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let caller = Rc::new(Caller {
        quota: limiter(part),
        tenant: TenantId::new("acme"),
        records: RefCell::new(Records::at(&part.record)),
        alone: Cell::new(0),
        ends: part.ends,
    });
    let tasks = LocalSet::new();
    for task in 0..TASKS {
        let (caller, rng) = (Rc::clone(&caller), Rng::from_seed(part.seed * TASKS + task));
        tasks.spawn_local(async move { caller.call_until_it_is_over(&rng).await });
    }
    runtime.block_on(tasks);
}

fn limiter(part: &Part) -> QuotaLimiter {
    let store = RedisShared::connect(&part.url, "a secret of the whole fleet").unwrap().quotas();
    let shared = SharedQuota::new(store).secret([7; 32]).min_instances(INSTANCES as u32);
    let shared = if part.setting == LEASES { shared } else { shared.without_leases() };
    let limits = Limits::new().limit(Limit::new(Dimension::Tokens, LIMIT, WINDOW));
    QuotaLimiter::builder().per_tenant(limits).shared(shared).build().unwrap()
}

struct Caller {
    quota: QuotaLimiter,
    tenant: TenantId,
    records: RefCell<Records>,
    /// How many calls were let in without the store, as counted last.
    alone: Cell<u64>,
    ends: u64,
}

impl Caller {
    async fn call_until_it_is_over(&self, rng: &Rng) {
        while micros() < self.ends {
            let asked = micros();
            let amount = 1 + rng.below(LARGEST);
            let whose = Whose::tenant(&self.tenant);
            match self.quota.reserve(&whose, &Amounts::tokens(amount, 0), now()).await {
                Ok(reservation) => self.use_up(asked, amount, reservation, rng).await,
                Err(denied) => {
                    let wait = denied.retry_after().unwrap_or_default();
                    pause(wait.min(ms(500)) + ms(100 + rng.below(300))).await;
                }
            }
        }
    }

    async fn use_up(&self, asked: u64, amount: u64, reservation: Reservation, rng: &Rng) {
        let total = self.quota.shared().unwrap().alone;
        let alone = self.alone.replace(total) < total;
        let let_in = micros().max(asked);
        let call = self.records.borrow_mut().let_in(Done { asked, let_in, used: amount, alone });
        pause(ms(rng.below(300))).await;
        // A fifth uses up to half as much again: its own fault, and paid for by those that come later.
        let used = rng.below(amount + 1) + rng.below(5) / 4 * amount / 2;
        reservation.settle(&Amounts::tokens(used, 0));
        self.records.borrow_mut().ended(call, used.min(amount));
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn no_window_holds_more_than_there_was_though_instances_and_redis_are_killed() {
    let _machine = MACHINE.lock().await;
    let calls = fleet("every-call", EVERY_CALL).await;
    check(&calls, 0);
}

#[tokio::test]
async fn nor_where_instances_take_a_part_in_advance() {
    let _machine = MACHINE.lock().await;
    let calls = fleet("leases", LEASES).await;
    // What lies with instances was counted up to two seconds before, and is half a burst at the most.
    check(&calls, (2 * PER_SECOND).min(LIMIT / 2));
}

/// The calls of all processes there were, by process.
async fn fleet(name: &str, setting: u64) -> Vec<Vec<Done>> {
    let (rng, directory) = (Rng::from_entropy(), Directory::new(name));
    // What it let in it still knows when it has been killed: that was written, if not yet on the disk.
    let mut redis = Server::with(&["--appendonly", "yes", "--appendfsync", "no"]).await;
    let (url, starts) = (redis.url(), micros());
    let ends = starts + in_micros(seconds());
    let mut records = Vec::new();
    let mut start = || {
        let (number, url) = (records.len() as u64, url.clone());
        let record = directory.file(&number.to_string());
        records.push(record.clone());
        Part { role: ROLE, url, record, seed: number, starts, ends, setting }.start()
    };
    let mut instances: Vec<Instance> = (0..INSTANCES).map(|_| start()).collect();
    let mut is_redis_to_die = true;
    while micros() + 2_000_000 < ends {
        pause(ms(700 + rng.below(1_000))).await;
        if is_redis_to_die && micros() > starts.midpoint(ends) {
            redis.kill();
            pause(ms(1_000)).await;
            redis.run().await;
            is_redis_to_die = false;
        } else {
            let victim = &mut instances[rng.below(INSTANCES) as usize];
            victim.kill();
            *victim = start();
        }
    }
    instances.into_iter().for_each(Instance::end);
    records.iter().map(|record| read(record)).collect()
}

fn seconds() -> Duration {
    let seconds = std::env::var("FLEET_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

fn check(processes: &[Vec<Done>], ahead: u64) {
    let of = |alone| -> Vec<Done> {
        processes.iter().flatten().filter(|call| call.alone == alone).copied().collect()
    };
    let (asked, alone) = (of(false), of(true));
    let used = |calls: &[Done]| calls.iter().map(|call| call.used).sum::<u64>();
    let (needed, needed_alone) =
        (burst_needed(&asked, PER_SECOND), burst_needed(&alone, PER_SECOND));
    // Each process starts with a share of its own: a tenth less than the limit by the instances.
    let were_alone = processes.iter().filter(|calls| calls.iter().any(|call| call.alone));
    let share = LIMIT * 9 / 10 / INSTANCES * were_alone.count() as u64;
    println!(
        "{} processes: {} calls with Redis used {}, the fullest window {needed:.0} of {} beyond what \
         came in; {} without it used {}, {needed_alone:.0} of {share}",
        processes.len(),
        asked.len(),
        used(&asked),
        LIMIT + ahead,
        alone.len(),
        used(&alone),
    );
    assert!(needed <= (LIMIT + ahead) as f64 + 1.0, "with Redis");
    assert!(needed_alone <= share as f64, "without Redis");
    let came_in = PER_SECOND * seconds().as_secs();
    assert!(used(&asked) > came_in / 4 && !alone.is_empty(), "the fleet has hardly run");
}
