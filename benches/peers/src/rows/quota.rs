//! Taking a call from its tenant's quota and settling it, against a pair of keyed checks.
//!
//! Two limits a tenant, calls and tokens per minute; `now` is passed in to both. Ours takes the most
//! the call may use and settles what it used; the pair takes the same and can give nothing back.
//! Tenants take turns in an order that a cache cannot foresee; each is known beforehand.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use evenkeel::TenantId;
use evenkeel::quota::{Amounts, Limits, QuotaLimiter, Whose};
use evenkeel::time::{Instant, now};

use super::{Goal, Row};
use crate::alloc::{allocations_of, live_bytes};
use crate::governor_pair::Pair;
use crate::measure::{self, Effort};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "quota_keyed_1", goal: Goal::AtLeast(1.0), run: |effort| keyed(1, effort) },
    Row { name: "quota_keyed", goal: Goal::AtLeast(1.5), run: |effort| keyed(10_000, effort) },
    Row { name: "quota_keyed_1m", goal: Goal::AtLeast(1.5), run: |effort| keyed(MILLION, effort) },
    Row { name: "quota_handle", goal: Goal::AtLeast(2.0), run: handle },
    Row { name: "quota_allocs", goal: Goal::AtMost(0.0), run: |_| allocations() as f64 },
    Row { name: "quota_bytes", goal: Goal::AtMost(140.0), run: |_| bytes_a_tenant() },
];

const MILLION: usize = 1_000_000;

/// More than the rows below ever take: both sides are to say yes.
const REQUESTS: u32 = 1_000_000_000;
const TOKENS: u32 = 4_000_000_000;

/// What a call is expected to use, and what it used.
const EXPECTED: Amounts = Amounts::tokens(200, 800);
const USED: Amounts = Amounts::tokens(200, 300);

/// Between two calls.
const TICK: Duration = Duration::from_micros(100);

fn keyed(tenants: usize, effort: Effort) -> f64 {
    measure::ratio(effort, pair(tenants), reserve_and_settle(tenants))
}

/// Against the pair at one tenant.
fn handle(effort: Effort) -> f64 {
    measure::ratio(effort, pair(1), through_a_handle())
}

/// Those of ten thousand reservations, keyed and through a handle.
fn allocations() -> u64 {
    let runs = |mut work: Box<dyn FnMut()>| {
        work();
        allocations_of(|| (0..10_000).for_each(|_| work()))
    };
    runs(Box::new(reserve_and_settle(10_000))) + runs(Box::new(through_a_handle()))
}

/// What the limiter takes for each of a million tenants that have called.
fn bytes_a_tenant() -> f64 {
    let tenants = names(MILLION);
    let before = live_bytes();
    let (quota, start) = (limiter(), now());
    for tenant in &tenants {
        cycle(&quota, tenant, start);
    }
    let bytes = live_bytes() - before;
    drop(quota);
    bytes as f64 / MILLION as f64
}

fn pair(tenants: usize) -> impl FnMut() {
    let names: Vec<String> = (0..tenants).map(name).collect();
    let pair = Pair::new(REQUESTS, TOKENS);
    let tokens = NonZeroU32::new(1_000).expect("above zero");
    names.iter().for_each(|name| assert!(pair.take(name, tokens, 0)));
    let mut turns = Turns::new(tenants);
    let mut nanos = 0;
    move || {
        nanos += TICK.as_nanos() as u64;
        assert!(pair.take(black_box(&names[turns.next()]), tokens, nanos));
    }
}

fn reserve_and_settle(tenants: usize) -> impl FnMut() {
    let names = names(tenants);
    let (quota, mut at) = (limiter(), now());
    names.iter().for_each(|tenant| cycle(&quota, tenant, at));
    let mut turns = Turns::new(tenants);
    move || {
        at += TICK;
        cycle(&quota, black_box(&names[turns.next()]), at);
    }
}

fn through_a_handle() -> impl FnMut() {
    let (quota, mut at) = (limiter(), now());
    let handle = quota.handle(&TenantId::new(name(0))).expect("there is room");
    move || {
        at += TICK;
        let reservation = handle.try_reserve_at(&EXPECTED, at).expect("it fits");
        reservation.settle_at(black_box(&USED), at);
    }
}

fn cycle(quota: &QuotaLimiter, tenant: &TenantId, at: Instant) {
    let reservation = quota.try_reserve_at(&Whose::tenant(tenant), &EXPECTED, at);
    reservation.expect("it fits").settle_at(black_box(&USED), at);
}

fn limiter() -> QuotaLimiter {
    let limits = Limits::new();
    let limits = limits.requests_per_minute(REQUESTS.into()).tokens_per_minute(TOKENS.into());
    QuotaLimiter::builder().per_tenant(limits).most_scopes(2 * MILLION).build().expect("valid")
}

fn names(tenants: usize) -> Vec<TenantId> {
    (0..tenants).map(|tenant| TenantId::new(name(tenant))).collect()
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

/// Whose turn it is: a full cycle over the tenants in steps that are no pattern to a prefetcher.
struct Turns {
    state: u64,
    tenants: u64,
}

impl Turns {
    fn new(tenants: usize) -> Self {
        Self { state: 1, tenants: tenants as u64 }
    }

    fn next(&mut self) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((u128::from(self.state) * u128::from(self.tenants)) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tenant_costs_no_allocation() {
        assert_eq!(allocations(), 0);
    }

    #[test]
    fn both_sides_refuse_what_does_not_fit() {
        let pair = Pair::new(10, 1_000);
        let tenant = name(0);
        let tokens = |amount| NonZeroU32::new(amount).expect("above zero");
        assert!(pair.take(&tenant, tokens(1_000), 0));
        assert!(!pair.take(&tenant, tokens(1), 0));
        assert!(pair.take(&tenant, tokens(1), 60_000_000_000));

        let limits = Limits::new().requests_per_minute(10).tokens_per_minute(1_000);
        let quota = QuotaLimiter::builder().per_tenant(limits).build().expect("valid");
        let tenant = TenantId::new(tenant);
        let whose = Whose::tenant(&tenant);
        let _all = quota.try_reserve(&whose, &Amounts::tokens(1_000, 0)).expect("it fits");
        assert!(quota.try_reserve(&whose, &Amounts::tokens(1, 0)).is_err());
    }
}
