//! What must hold when all is over.

use std::fmt;
use std::time::Duration;

use evenkeel::quota::{Amounts, SharedQuota, Whose};
use evenkeel::time::{Instant, after, now, sleep_until};
use evenkeel::{Error, LlmClient, QuotaLimiter, TenantId};

use crate::caller::{End, Told};
use crate::stores::Stores;
use crate::world::{FLEET_GRANT, FLEET_PLACES, GRANT, Mood, SECRET, WINDOW, World, fleet_limits};

/// What happened in a run, or in many.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    answered: u64,
    shared: u64,
    left: u64,
    failed: u64,
    denied: u64,
    attempts: u64,
    hedges: u64,
    faults: u64,
    blind: u64,
}

/// Checks every account of a world that has come to its end.
pub(crate) async fn balance(world: &World, told: &[Told]) -> Tally {
    every_call_ended_once(world, told);
    nothing_is_held(world);
    match world.mood {
        Mood::Calm => every_token_was_charged_once(world, told),
        Mood::Tight => no_tenant_is_over_its_bound(world, told),
        Mood::Wild => the_charge_is_between_what_was_told_and_what_was_done(world, told),
        Mood::Fleet => every_token_was_charged_once_in_the_store(world, told).await,
    }
    it_drains(world).await;
    Tally::of(world, told)
}

fn every_call_ended_once(world: &World, told: &[Told]) {
    if world.watch.is_blind() {
        return;
    }
    let begun = told.iter().filter(|told| !matches!(told.end, End::NeverBegun)).count();
    assert_eq!(world.watch.calls_ended(), begun as u64, "each call ends once");
    let (started, ended) = world.watch.attempts();
    assert_eq!(started, ended, "each attempt ends once");
    let (started, ended) = world.watch.hedges();
    assert_eq!(started, ended, "each hedge ends once");
}

fn nothing_is_held(world: &World) {
    for client in &world.clients {
        nothing_is_held_by(client);
    }
    for server in &world.servers {
        assert_eq!(server.stats().calls.open, 0, "{server:?} works for nobody");
    }
    for tenant in 0..world.tenants {
        let usage = world.clients[0].quota().unwrap().usage(&name(tenant));
        assert_eq!(usage.map_or(0, |usage| usage.running), 0, "no call of t{tenant} runs");
    }
}

fn nothing_is_held_by(client: &LlmClient) {
    assert_eq!(client.running(), 0);
    if let Some(queue) = client.queue() {
        let stats = queue.stats();
        assert_eq!((stats.depth, stats.running), (0, 0), "places and slots are back");
    }
    for status in client.balancer().status(now()) {
        assert_eq!(status.in_flight, 0, "the leases of {} are back", status.id);
    }
}

/// What a tenant was charged, of tokens.
fn charged(world: &World, tenant: u64) -> Option<u64> {
    let usage = world.clients[0].quota().unwrap().usage(&name(tenant))?;
    usage.budgets.first().map(|(_, used)| *used)
}

fn told_tokens(told: &[Told], tenant: u64) -> u64 {
    let of = told.iter().filter(|told| told.tenant == tenant);
    of.map(|told| told.upstream_tokens()).sum()
}

fn every_token_was_charged_once(world: &World, told: &[Told]) {
    let mut sum = 0;
    for tenant in 0..world.tenants {
        let charge = charged(world, tenant).unwrap_or(0);
        assert_eq!(charge, told_tokens(told, tenant), "the account of t{tenant}:");
        sum += charge;
    }
    assert_eq!(sum, done_by_servers(world), "what tenants paid is what servers did");
}

fn done_by_servers(world: &World) -> u64 {
    world
        .servers
        .iter()
        .map(|server| server.stats().input_tokens + server.stats().output_tokens)
        .sum()
}

/// What was told to callers was charged to them, and no more was charged than providers were given
/// and servers wrote: an attempt that fails may cost its input.
fn the_charge_is_between_what_was_told_and_what_was_done(world: &World, told: &[Told]) {
    let charges: Vec<_> = (0..world.tenants).map(|tenant| charged(world, tenant)).collect();
    for (tenant, charge) in (0..).zip(&charges) {
        let relimited = world.relimited.get() >> tenant & 1 == 1;
        if let Some(charge) = charge.filter(|_| !relimited) {
            let told = told_tokens(told, tenant);
            assert!(charge >= told, "t{tenant} was told {told} and charged {charge}");
        }
    }
    let sum: u64 = charges.iter().flatten().sum();
    let written: u64 = world.servers.iter().map(|server| server.stats().output_tokens).sum();
    let most = world.watch.input_given() + written;
    assert!(world.lies || sum <= most, "charged {sum} of {most} that were given and written");
}

/// Whatever became of single questions to the store: once it is well, it has been told of every call
/// what it used, once, and every place is back. Where callers left, what they left behind is charged
/// as well.
async fn every_token_was_charged_once_in_the_store(world: &World, told: &[Told]) {
    let stores = world.stores.as_ref().expect("a fleet shares");
    // Instances try again within seconds once the store is back.
    sleep_until(after(stores.well_from().max(now()), Duration::from_secs(20))).await;
    for client in &world.clients {
        let flushed = client.quota().unwrap().flush(after(now(), Duration::from_secs(60))).await;
        assert!(flushed, "what was used is told");
    }
    let ledger = another_instance(stores);
    let sum: u64 = (0..world.tenants).map(|tenant| told_tokens(told, tenant)).sum();
    // Of all tenants together it is known what was used beyond what they were told.
    let written: u64 = world.servers.iter().map(|server| server.stats().output_tokens).sum();
    let beyond = if world.leave { world.watch.input_given() + written - sum } else { 0 };
    for tenant in 0..world.tenants {
        let rest = FLEET_GRANT - told_tokens(told, tenant);
        assert!(!fits(&ledger, tenant, rest + 1).await, "t{tenant} was charged less than told");
        assert!(fits(&ledger, tenant, rest - beyond).await, "t{tenant} was charged more than told");
    }
    for tenant in 0..world.tenants {
        every_place_is_back(&ledger, tenant).await;
    }
}

/// Knows nothing but what is in the store.
fn another_instance(stores: &Stores) -> QuotaLimiter {
    let shared = SharedQuota::new(stores.quotas.clone()).secret(SECRET).without_leases();
    QuotaLimiter::builder().per_tenant(fleet_limits()).shared(shared).build().unwrap()
}

async fn fits(ledger: &QuotaLimiter, tenant: u64, tokens: u64) -> bool {
    let (tenant, amounts) = (name(tenant), Amounts::tokens(tokens, 0));
    let reserved = ledger.reserve(&Whose::tenant(&tenant), &amounts, now()).await;
    let Ok(reservation) = reserved else { return false };
    reservation.cancel();
    assert!(ledger.flush(after(now(), Duration::from_secs(60))).await);
    true
}

async fn every_place_is_back(ledger: &QuotaLimiter, tenant: u64) {
    let (tenant, mut places) = (name(tenant), Vec::new());
    for _ in 0..FLEET_PLACES {
        let place = ledger.reserve(&Whose::tenant(&tenant), &Amounts::NONE, now()).await;
        places.push(place.expect("every place is back"));
    }
    let more = ledger.reserve(&Whose::tenant(&tenant), &Amounts::NONE, now()).await;
    assert!(more.is_err(), "a place was given back twice");
}

/// Settled tokens of any window W are at most B + rW. What is reserved is the most a call may use,
/// so no overdraft comes on top.
fn no_tenant_is_over_its_bound(world: &World, told: &[Told]) {
    for tenant in 0..world.tenants {
        let of = |told: &&Told| told.tenant == tenant && told.upstream_tokens() > 0;
        let settled: Vec<&Told> = told.iter().filter(of).collect();
        for first in &settled {
            for last in &settled {
                let sum = tokens_between(&settled, first.began, last.ended);
                let bound = bound(last.ended.saturating_duration_since(first.began));
                assert!(sum <= bound, "t{tenant}: {sum} tokens where {bound} are allowed");
            }
        }
    }
}

/// Of the calls that lie within a window as a whole: where in it they were admitted, nobody knows.
fn tokens_between(settled: &[&Told], from: Instant, to: Instant) -> u64 {
    let within = |told: &&&Told| told.began >= from && told.ended <= to;
    settled.iter().filter(within).map(|told| told.upstream_tokens()).sum()
}

fn bound(window: Duration) -> u64 {
    GRANT + (GRANT as f64 * window.as_secs_f64() / WINDOW.as_secs_f64()).ceil() as u64
}

/// After the end nothing is let in, and there is nothing to be waited for.
async fn it_drains(world: &World) {
    for client in &world.clients {
        let start = now();
        let drained = client.drain(after(start, Duration::from_secs(60))).await;
        assert_eq!((drained.cut_off, now()), (0, start), "nothing ran any more");
        let refused = client.complete("anybody there?").await.unwrap_err();
        assert!(matches!(refused, Error::Closed { .. }), "{refused}");
    }
}

fn name(tenant: u64) -> TenantId {
    TenantId::new(format!("t{tenant}"))
}

impl Told {
    const fn upstream_tokens(&self) -> u64 {
        match self.end {
            End::Answered { upstream: true, tokens } => tokens,
            _ => 0,
        }
    }
}

impl Tally {
    fn of(world: &World, told: &[Told]) -> Self {
        let count = |is: fn(&End) -> bool| told.iter().filter(|told| is(&told.end)).count() as u64;
        Self {
            answered: count(|end| matches!(end, End::Answered { upstream: true, .. })),
            shared: count(|end| matches!(end, End::Answered { upstream: false, .. })),
            left: count(|end| matches!(end, End::Left | End::NeverBegun)),
            failed: count(|end| matches!(end, End::Failed(_))),
            denied: count(|end| matches!(end, End::Failed(e) if matches!(**e, Error::Quota(_)))),
            attempts: world.watch.attempts().0,
            hedges: world.watch.hedges().0,
            faults: world.stores.as_ref().map_or(0, Stores::faults),
            blind: u64::from(world.watch.is_blind()),
        }
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.shared += other.shared;
        self.left += other.left;
        self.failed += other.failed;
        self.denied += other.denied;
        self.attempts += other.attempts;
        self.hedges += other.hedges;
        self.faults += other.faults;
        self.blind += other.blind;
    }

    /// A world in which nothing happens proves nothing.
    pub(crate) fn must_have_seen_what_it_is_for(&self, mood: Mood) {
        assert!(self.answered > 0, "{self}");
        match mood {
            Mood::Calm => assert!(self.shared > 0 && self.failed + self.left == 0, "{self}"),
            Mood::Tight => assert!(self.denied > 0 && self.attempts > self.answered, "{self}"),
            Mood::Wild => assert!(self.left > 0 && self.failed > 0 && self.hedges > 0, "{self}"),
            Mood::Fleet => assert!(self.shared > 0 && self.left > 0 && self.faults > 0, "{self}"),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, shared, left, failed, denied, attempts, hedges, faults, blind } = self;
        write!(
            f,
            "answered={answered} shared={shared} left={left} failed={failed} denied={denied} \
             attempts={attempts} hedges={hedges} store_faults={faults} blind={blind}"
        )
    }
}
