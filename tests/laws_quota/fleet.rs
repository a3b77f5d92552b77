//! A fleet on one store, with everything that happens to fleets: calls that use less or more than they
//! reserved, are dropped, or die with their instance; a store that hangs, fails, is slow or loses its
//! answers. In any window no more is used than there was.

use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::store::MemoryQuotaStore;
use evenkeel::quota::{Dimension, Limit, Limits, QuotaLimiter, Reservation, SharedQuota, Whose};
use evenkeel::rng::Rng;
use evenkeel::time::{Instant, after, now, sleep_until};

use crate::faulty::{Fault, Faulty};
use crate::support::{SECOND, tokens};

const SEEDS: u64 = 3_000;
const STEPS: usize = 100;
const INSTANCES: u64 = 4;
const WINDOW: Duration = Duration::from_secs(5);

struct Fleet {
    rng: Rng,
    instances: Vec<Instance>,
    tenants: [TenantId; 2],
    running: Vec<Running>,
    done: Vec<Done>,
    limits: [u64; 2],
    leases: bool,
}

struct Instance {
    quota: QuotaLimiter,
    store: Faulty,
    faulty_until: Instant,
    lives: bool,
}

struct Running {
    reservation: Reservation,
    instance: usize,
    done: usize,
    ends: Instant,
}

/// A call that was let in.
#[derive(Debug, Clone, Copy)]
struct Done {
    tenant: usize,
    /// When it asked, and when it was let in.
    asked: Instant,
    let_in: Instant,
    /// What was used of what was reserved.
    used: u64,
    /// Without the store.
    alone: bool,
}

/// What is used in any window, beside what a call uses beyond its reservation: that is its own fault,
/// and is paid for by those that come later.
#[test]
fn no_window_of_a_fleet_holds_more_than_there_was() {
    let (alone, all) = run_all(0..SEEDS / 2);
    assert!(alone * 20 > all && alone * 2 < all, "{alone} of {all} alone");
}

/// On another core.
#[test]
fn no_window_of_another_fleet_holds_more_than_there_was() {
    let (alone, all) = run_all(SEEDS / 2..SEEDS);
    assert!(alone * 20 > all && alone * 2 < all, "{alone} of {all} alone");
}

/// How many calls were let in without the store, and how many in all.
fn run_all(seeds: std::ops::Range<u64>) -> (usize, usize) {
    let (mut alone, mut all) = (0, 0);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let done = runtime.block_on(run(seed));
        all += done.len();
        alone += done.iter().filter(|call| call.alone).count();
    }
    (alone, all)
}

async fn run(seed: u64) -> Vec<Done> {
    let mut fleet = Fleet::new(seed);
    for _ in 0..STEPS {
        fleet.step().await;
    }
    fleet.check(seed);
    fleet.all_comes_back(seed).await;
    fleet.done
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        let store = MemoryQuotaStore::new();
        let leases = rng.below(2) == 0;
        let tenant = 400 + rng.below(1_000);
        let limits = [tenant, tenant + rng.below(tenant)];
        let instance = |_| {
            let store = Faulty::new(&store);
            let shared = SharedQuota::new(store.clone()).secret([7; 32]);
            let shared = shared.min_instances(INSTANCES as u32).grants_expire_in(SECOND * 20);
            let shared = if leases { shared } else { shared.without_leases() };
            let [tenant, global] =
                limits.map(|it| Limits::new().limit(Limit::new(Dimension::Tokens, it, WINDOW)));
            let quota = QuotaLimiter::builder().per_tenant(tenant).global(global).shared(shared);
            let quota = quota.build().unwrap();
            Instance { quota, store, faulty_until: now(), lives: true }
        };
        let instances = (0..INSTANCES).map(instance).collect();
        let tenants = ["a", "b"].map(TenantId::new);
        Self { rng, instances, tenants, running: Vec::new(), done: Vec::new(), limits, leases }
    }

    async fn step(&mut self) {
        match self.rng.below(100) {
            0..2 => self.fault(),
            2 => self.kill(),
            3..6 => self.pass(SECOND).await,
            6..8 => self.rush().await,
            8..50 => self.pass(Duration::from_millis(150)).await,
            _ => self.call().await,
        }
        self.settle();
    }

    async fn pass(&self, longest: Duration) {
        sleep_until(after(now(), self.rng.jitter(longest))).await;
    }

    /// Something happens to the store, for one instance or for all.
    fn fault(&mut self) {
        let fault = match self.rng.below(5) {
            0 => Fault::Hangs,
            1 => Fault::Fails,
            2 => Fault::LosesReplies,
            3 => Fault::LosesSomeReplies,
            _ => Fault::Slow(self.rng.jitter(Duration::from_millis(40))),
        };
        let until = after(now(), self.rng.jitter(SECOND * 4));
        let (one, all) = (self.rng.below(INSTANCES), self.rng.below(2) == 0);
        for (at, instance) in (0..).zip(&mut self.instances) {
            if instance.lives && (all || at == one) {
                instance.store.set(fault);
                instance.faulty_until = until;
            }
        }
    }

    /// An instance dies, and its calls with it.
    fn kill(&mut self) {
        let killed = self.rng.below(INSTANCES) as usize;
        if self.instances.iter().filter(|instance| instance.lives).count() < 3 {
            return;
        }
        self.instances[killed].lives = false;
        self.instances[killed].store.set(Fault::Fails);
        self.running.retain(|call| call.instance != killed);
    }

    /// Hundreds of small calls of one instance or of all, so that it comes to leases.
    async fn rush(&mut self) {
        let (one, all) = (self.rng.below(INSTANCES) as usize, self.rng.below(2) == 0);
        for _ in 0..if self.leases { 70 } else { 10 } {
            for at in 0..INSTANCES as usize {
                if all || at == one {
                    self.call_of(at, 0, 1 + self.rng.below(4)).await;
                }
            }
            sleep_until(after(now(), Duration::from_millis(10))).await;
            self.settle();
        }
    }

    async fn call(&mut self) {
        let instance = self.rng.below(INSTANCES) as usize;
        let tenant = self.rng.below(2) as usize;
        let amount = 1 + self.rng.below(self.limits[0] / 6);
        self.call_of(instance, tenant, amount).await;
    }

    async fn call_of(&mut self, at: usize, tenant: usize, amount: u64) {
        let instance = &self.instances[at];
        if !instance.lives {
            return;
        }
        let asked = now();
        let alone = || instance.quota.shared().unwrap().alone;
        let before = alone();
        let whose = Whose::tenant(&self.tenants[tenant]);
        let Ok(reservation) = instance.quota.reserve(&whose, &tokens(amount), asked).await else {
            return;
        };
        let alone = alone() > before;
        let done = self.done.len();
        // Until it is settled all of it counts; of one that died with its instance, for ever.
        self.done.push(Done { tenant, asked, let_in: now(), used: amount, alone });
        let ends = after(now(), self.rng.jitter(SECOND * 2));
        self.running.push(Running { reservation, instance: at, done, ends });
    }

    fn settle(&mut self) {
        for instance in self.instances.iter().filter(|it| it.lives && it.faulty_until <= now()) {
            instance.store.set(Fault::None);
        }
        let ended = self.running.extract_if(.., |call| call.ends <= now());
        for Running { reservation, done, .. } in ended {
            let reserved = self.done[done].used;
            let used = self.rng.below(reserved + 1) * (1 + self.rng.below(5) / 4);
            self.done[done].used = used.min(reserved);
            reservation.settle(&tokens(used));
        }
    }

    fn check(&self, seed: u64) {
        for (tenant, limit) in [(Some(0), self.limits[0]), (Some(1), self.limits[0])]
            .into_iter()
            .chain([(None, self.limits[1])])
        {
            let of = |alone| {
                let calls = self.done.iter().filter(move |call| call.alone == alone);
                calls.filter(move |call| tenant.is_none_or(|tenant| call.tenant == tenant))
            };
            // What leases hold was paid for up to two seconds before, and is half a burst at the most.
            let per_second = limit as f64 / WINDOW.as_secs_f64();
            let ahead = if self.leases { (per_second * 2.0).min(limit as f64 / 2.0) } else { 0.0 };
            windows(seed, "with the store", of(false), 1.0, limit, ahead);
            // A call that was let in without the store for one of its scopes may have had a lease for the
            // other.
            windows(seed, "without it", of(true), 0.9, limit, ahead);
        }
    }

    /// When everything is over, nothing is taken any more.
    async fn all_comes_back(&mut self, seed: u64) {
        self.running.clear();
        for instance in self.instances.iter().filter(|instance| instance.lives) {
            instance.store.set(Fault::None);
        }
        sleep_until(after(now(), SECOND * 40)).await;
        let quota = &self.instances.iter().find(|instance| instance.lives).unwrap().quota;
        let state = quota.shared().unwrap();
        assert_eq!((state.waiting, state.owed, state.leases), (0, 0, 0), "seed {seed}");
        let whose = Whose::tenant(&self.tenants[0]);
        let all = quota.reserve(&whose, &tokens(self.limits[0]), now()).await;
        assert!(all.is_ok(), "seed {seed}: {all:?}");
    }
}

/// Looks at every window that begins and ends with a call, in one pass: of all that end here, the one
/// that is fullest for its length is remembered by where it began.
fn windows<'a>(
    seed: u64,
    what: &str,
    calls: impl Iterator<Item = &'a Done>,
    share: f64,
    limit: u64,
    ahead: f64,
) {
    let rate = share * limit as f64 / WINDOW.as_secs_f64();
    let most = share * limit as f64 + ahead + 1.0;
    let (mut used, mut epoch, mut fullest) = (0.0, None, f64::MIN);
    for call in calls {
        let since = *epoch.get_or_insert(call.asked);
        let came_in = |at: Instant| rate * (at - since).as_secs_f64();
        fullest = f64::max(fullest, came_in(call.asked) - used);
        used += call.used as f64;
        let over = used - came_in(call.let_in) + fullest;
        assert!(over <= most, "seed {seed}, {what}: {over} of {most} with a limit of {limit}");
    }
}
