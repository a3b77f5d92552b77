//! Fair order among the tenants of one class and lane. Pure.
//!
//! The virtual token counter of Sheng et al. (OSDI 2024): every tenant has a counter of what it was
//! served, in tokens over its weight, and the one with the least goes next. A tenant that comes back
//! is lifted to the least of those that wait, so that nobody saves up by staying away; one that was
//! served more than that keeps its own. Within a tenant the earliest deadline goes first, then the
//! earliest arrival.

use std::collections::BTreeSet;

use crate::queue::by_number::ByNumber;
use crate::queue::seats::WaiterId;
use crate::time::Instant;

/// Names a tenant; a number that the queue gave it.
pub(crate) type TenantNo = u64;

/// A waiter's place within its tenant.
pub(crate) type Turn = (Instant, WaiterId);

/// What a tenant was served, in parts of a token for its weight. So wide that no number of calls,
/// however large, comes to its end.
pub(crate) type Served = u128;

/// Accounts of tenants that are away are kept while they are above the floor, but no more than this.
const MOST_AWAY: usize = 4096;

/// A token is so many parts: the largest weight divides it without coming to nothing.
const PARTS: u64 = 1 << 32;

/// The tenants of one class and lane.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    accounts: ByNumber<Account>,
    /// Tenants with waiters, by what they were served.
    active: BTreeSet<(Served, TenantNo)>,
    /// Tenants without, for forgetting.
    away: BTreeSet<(Served, TenantNo)>,
    /// What the tenant that was served last had been served.
    floor: Served,
}

#[derive(Debug)]
struct Account {
    served: Served,
    /// Where it was lifted to when it came back last. What it had before is forgiven, so no refund
    /// brings it below.
    lifted: Served,
    weight: u32,
    waiting: BTreeSet<Turn>,
    /// What waits, in tokens.
    backlog: u64,
}

/// What was expected of a call and what it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Correction {
    pub(crate) charged: u32,
    pub(crate) actual: u32,
}

impl Fair {
    /// Adds a waiter.
    pub(crate) fn push(&mut self, tenant: TenantNo, weight: u32, turn: Turn, cost: u32) {
        let floor = self.floor();
        let account = self.accounts.entry(tenant).or_insert_with(|| Account::new(floor, weight));
        if account.waiting.is_empty() {
            self.away.remove(&(account.served, tenant));
            if account.served < floor {
                (account.served, account.lifted) = (floor, floor);
            }
            self.active.insert((account.served, tenant));
        }
        account.weight = weight;
        account.backlog += u64::from(cost);
        account.waiting.insert(turn);
    }

    /// Takes a waiter out that was let through, and charges its tenant. Returns what the tenant was
    /// served then.
    pub(crate) fn serve(&mut self, tenant: TenantNo, turn: Turn, cost: u32) -> Served {
        let Some(account) = self.accounts.get_mut(&tenant) else { return self.floor };
        self.floor = account.served;
        self.active.remove(&(account.served, tenant));
        account.served += parts(cost, account.weight);
        let served = account.served;
        self.take_out(tenant, turn, cost);
        served
    }

    /// Takes a waiter out that left.
    pub(crate) fn remove(&mut self, tenant: TenantNo, turn: Turn, cost: u32) {
        let Some(account) = self.accounts.get(&tenant) else { return };
        self.active.remove(&(account.served, tenant));
        self.take_out(tenant, turn, cost);
    }

    /// Its tenant stands on neither side; afterwards it does.
    fn take_out(&mut self, tenant: TenantNo, turn: Turn, cost: u32) {
        let Some(account) = self.accounts.get_mut(&tenant) else { return };
        if account.waiting.remove(&turn) {
            account.backlog -= u64::from(cost);
        }
        if account.waiting.is_empty() {
            self.away.insert((account.served, tenant));
            self.forget();
        } else {
            self.active.insert((account.served, tenant));
        }
    }

    /// Corrects what a tenant was charged for a call, after which it had been served `booked`.
    pub(crate) fn correct(
        &mut self,
        tenant: TenantNo,
        weight: u32,
        booked: Served,
        by: Correction,
    ) {
        let Some(account) = self.accounts.get_mut(&tenant) else {
            return self.remember(tenant, weight, by.applied(booked, 0, weight));
        };
        let side = if account.waiting.is_empty() { &mut self.away } else { &mut self.active };
        side.remove(&(account.served, tenant));
        account.served = by.applied(account.served, account.lifted, account.weight);
        side.insert((account.served, tenant));
        self.forget();
    }

    /// A tenant that was forgotten counts again when a call of it took more than was expected.
    fn remember(&mut self, tenant: TenantNo, weight: u32, served: Served) {
        if served > self.floor() {
            self.accounts.insert(tenant, Account::new(served, weight));
            self.away.insert((served, tenant));
            self.forget();
        }
    }

    /// An account that is not above the floor is the same as none.
    fn forget(&mut self) {
        let floor = self.floor();
        while let Some(&(served, tenant)) = self.away.first()
            && (served <= floor || self.away.len() > MOST_AWAY)
        {
            self.away.remove(&(served, tenant));
            self.accounts.remove(&tenant);
        }
    }

    /// Where a tenant that comes back begins.
    fn floor(&self) -> Served {
        self.active.first().map_or(self.floor, |&(served, _)| served)
    }

    /// The waiters whose turn it is, tenant by tenant, each tenant's first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Turn> {
        self.active
            .iter()
            .filter_map(|(_, tenant)| self.accounts.get(tenant)?.waiting.first().copied())
    }

    /// A tenant's first.
    pub(crate) fn first_of(&self, tenant: TenantNo) -> Option<Turn> {
        self.accounts.get(&tenant)?.waiting.first().copied()
    }

    /// About how many tokens are served before a new waiter of `tenant`, which has `cost`: its own
    /// tenant's backlog, and as much of every other tenant, but no more than there is.
    pub(crate) fn ahead(&self, tenant: TenantNo, cost: u32, backlog: u64) -> u64 {
        let own = self.accounts.get(&tenant).map_or(0, |account| account.backlog);
        let others = self.active.len() as u64 - u64::from(own > 0);
        own.saturating_add((own + u64::from(cost)).saturating_mul(others)).min(backlog)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn validate(&self) {
        for (&tenant, account) in &self.accounts {
            let side = if account.waiting.is_empty() { &self.away } else { &self.active };
            assert!(side.contains(&(account.served, tenant)));
            assert!(account.backlog >= account.waiting.len() as u64);
        }
        assert_eq!(self.accounts.len(), self.active.len() + self.away.len());
        assert!(self.away.len() <= MOST_AWAY);
    }
}

impl Correction {
    fn applied(self, served: Served, lifted: Served, weight: u32) -> Served {
        if self.actual >= self.charged {
            return served + parts(self.actual - self.charged, weight);
        }
        let less = served.saturating_sub(parts(self.charged - self.actual, weight));
        less.max(lifted.min(served))
    }
}

fn parts(tokens: u32, weight: u32) -> Served {
    Served::from(u64::from(tokens) * PARTS / u64::from(weight.max(1)))
}

impl Account {
    const fn new(served: Served, weight: u32) -> Self {
        Self { served, lifted: served, weight, waiting: BTreeSet::new(), backlog: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// A line whose waiters are known, as its caller knows them.
    #[derive(Default)]
    struct Line {
        fair: Fair,
        waiting: BTreeMap<Turn, (TenantNo, u32)>,
        came: u64,
    }

    impl Line {
        fn push(&mut self, tenant: TenantNo, weight: u32, deadline: Instant, cost: u32) -> Turn {
            let turn = (deadline, WaiterId::nth(self.came));
            self.came += 1;
            self.fair.push(tenant, weight, turn, cost);
            self.waiting.insert(turn, (tenant, cost));
            turn
        }

        fn push_all(&mut self, n: usize, tenant: TenantNo, weight: u32, at: Instant, cost: u32) {
            for _ in 0..n {
                self.push(tenant, weight, at, cost);
            }
        }

        fn serve(&mut self) -> Option<(TenantNo, Turn, Served)> {
            let turn = self.fair.heads().next()?;
            let (tenant, cost) = self.waiting.remove(&turn).unwrap();
            Some((tenant, turn, self.fair.serve(tenant, turn, cost)))
        }

        fn served(&mut self, calls: usize) -> Vec<TenantNo> {
            (0..calls).filter_map(|_| self.serve()).map(|(tenant, ..)| tenant).collect()
        }
    }

    fn count(served: &[TenantNo], tenant: TenantNo) -> usize {
        served.iter().filter(|&&other| other == tenant).count()
    }

    #[test]
    fn tokens_are_shared_and_not_calls() {
        let (mut line, at) = (Line::default(), now());
        for _ in 0..100 {
            line.push(0, 1, at, 400);
            line.push(1, 1, at, 100);
        }
        let served = line.served(50);
        assert_eq!(count(&served, 0), 10, "a quarter as many calls of four times the size");
    }

    #[test]
    fn weights_divide_what_is_served() {
        let (mut line, at) = (Line::default(), now());
        for _ in 0..700 {
            for (tenant, weight) in [(0, 1), (1, 2), (2, 4)] {
                line.push(tenant, weight, at, 10);
            }
        }
        let served = line.served(700);
        assert!(count(&served, 0).abs_diff(100) <= 1, "{}", count(&served, 0));
        assert!(count(&served, 1).abs_diff(200) <= 1, "{}", count(&served, 1));
    }

    #[test]
    fn nobody_gains_by_staying_away() {
        let (mut line, at) = (Line::default(), now());
        line.push_all(100, 0, 1, at, 10);
        assert_eq!(line.served(50).len(), 50);
        line.push_all(50, 1, 1, at, 10);
        let served = line.served(20);
        assert!((9..=11).contains(&count(&served, 1)), "{served:?}");
    }

    #[test]
    fn nobody_gains_by_waiting_with_one_call_at_a_time() {
        let (mut line, at) = (Line::default(), now());
        line.push_all(1_000, 0, 1, at, 10);
        let mut calls = 0;
        for _ in 0..110 {
            if line.waiting.values().all(|&(tenant, _)| tenant != 1) {
                line.push(1, 1, at, 100);
            }
            calls += usize::from(line.serve().unwrap().0 == 1);
        }
        assert!((9..=11).contains(&calls), "{calls} of ten times the size");
    }

    #[test]
    fn a_refund_does_not_bring_back_what_was_forgiven() {
        let (mut line, at) = (Line::default(), now());
        line.push(1, 1, at, 1_000);
        let (_, _, booked) = line.serve().unwrap();
        // Meanwhile the others were served much more, so that the one who returns is lifted.
        line.push_all(300, 0, 1, at, 100);
        assert_eq!(line.served(100).len(), 100);
        line.push(1, 1, at, 100);
        line.fair.correct(1, 1, booked, Correction { charged: 1_000, actual: 0 });
        line.push_all(50, 1, 1, at, 100);
        let served = line.served(20);
        assert!((9..=11).contains(&count(&served, 1)), "{served:?}");
    }

    #[test]
    fn a_call_that_took_more_than_expected_is_not_forgotten() {
        let (mut line, at) = (Line::default(), now());
        line.push_all(100, 0, 1, at, 10);
        line.push(1, 1, at, 1);
        let mut booked = None;
        for _ in 0..20 {
            let (tenant, _, served) = line.serve().unwrap();
            booked = booked.or_else(|| (tenant == 1).then_some(served));
        }
        line.fair.correct(1, 1, booked.unwrap(), Correction { charged: 1, actual: 500 });
        line.push_all(100, 1, 1, at, 1);
        assert_eq!(count(&line.served(30), 1), 0, "it has had three hundred more than the others");
    }

    #[test]
    fn the_largest_cost_and_weight_leave_the_order_what_it_is() {
        let (mut line, at) = (Line::default(), now());
        for _ in 0..50 {
            line.push(0, 1, at, u32::MAX);
            line.push(1, u32::MAX, at, 1);
            line.push(2, u32::MAX, at, u32::MAX);
        }
        let served = line.served(102);
        assert_eq!([0, 1, 2].map(|tenant| count(&served, tenant)), [2, 50, 50]);
        line.fair.validate();
    }

    #[test]
    fn within_a_tenant_the_earliest_deadline_goes_first() {
        let (mut line, at) = (Line::default(), now());
        let later = at + Duration::from_secs(1);
        let turns = [line.push(0, 1, later, 1), line.push(0, 1, at, 1), line.push(0, 1, later, 1)];
        let order: Vec<_> = std::iter::from_fn(|| line.serve()).map(|(_, turn, _)| turn).collect();
        assert_eq!(order, [turns[1], turns[0], turns[2]]);
    }

    proptest! {
        #[test]
        fn books_balance(ops in prop::collection::vec((0u8..5, 0u64..6, 1u32..500), 0..400)) {
            let (mut line, at) = (Line::default(), now());
            let mut passed = Vec::new();
            for (op, tenant, cost) in ops {
                match op {
                    0 | 1 => line.push_all(1, tenant, 1, at, cost),
                    2 => passed.extend(line.serve()),
                    3 => {
                        if let Some((turn, (tenant, cost))) = line.waiting.pop_last() {
                            line.fair.remove(tenant, turn, cost);
                        }
                    }
                    _ => {
                        if let Some((tenant, _, booked)) = passed.pop() {
                            let by = Correction { charged: 250, actual: cost };
                            line.fair.correct(tenant, 1, booked, by);
                        }
                    }
                }
                line.fair.validate();
                prop_assert_eq!(line.fair.is_empty(), line.waiting.is_empty());
            }
        }

        /// Two tenants that both have calls waiting are never further apart, in tokens for their
        /// weight, than the largest call of either.
        #[test]
        fn the_backlogged_stay_together(
            costs in prop::collection::vec(1u32..1_000, 100),
            weights in prop::array::uniform3(1u32..8),
        ) {
            let (mut line, at) = (Line::default(), now());
            for &cost in &costs {
                for (tenant, weight) in (0..).zip(weights) {
                    line.push(tenant, weight, at, cost);
                }
            }
            let mut served = [0f64; 3];
            while line.waiting.len() > 3 && weights.len() == 3 {
                let (turn, before) = (line.fair.heads().next().unwrap(), line.waiting.clone());
                let (tenant, ..) = line.serve().unwrap();
                let (_, cost) = before[&turn];
                served[tenant as usize] += f64::from(cost) / f64::from(weights[tenant as usize]);
                let backlogged = |tenant| line.waiting.values().any(|&(other, _)| other == tenant);
                if !(0..3).all(backlogged) {
                    break;
                }
                let least = weights.into_iter().min().unwrap();
                let gap = served.iter().fold(0f64, |most, &s| most.max(s))
                    - served.iter().fold(f64::MAX, |least, &s| least.min(s));
                prop_assert!(gap <= 1_000.0 / f64::from(least), "{served:?}");
            }
        }
    }
}
