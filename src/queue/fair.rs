//! Fair order among the tenants of one class and lane. Pure.
//!
//! The virtual token counter of Sheng et al. (OSDI 2024): every tenant has a counter of what it was
//! served, in tokens over its weight, and the one with the least goes next. A tenant that comes back
//! is lifted to the least of those that wait, so that nobody saves up by staying away; one that was
//! served more than that keeps its own. Within a tenant the earliest deadline goes first, then the
//! earliest arrival.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::time::Instant;

/// Names a waiter; larger ones came later.
pub(crate) type WaiterId = u64;

/// Names a tenant; a number that the queue gave it.
pub(crate) type TenantNo = u32;

/// A waiter's place within its tenant.
type Turn = (Instant, WaiterId);

/// Accounts of tenants that are away are kept while they are above the floor, but no more than this.
const MOST_AWAY: usize = 4096;

/// Tokens are counted in so many parts, so that weights divide them without loss that matters.
const PARTS: u64 = 1024;

/// The tenants of one class and lane.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    accounts: HashMap<TenantNo, Account>,
    /// Tenants with waiters, by what they were served.
    active: BTreeSet<(u64, TenantNo)>,
    /// Tenants without, for forgetting.
    away: BTreeSet<(u64, TenantNo)>,
    /// What the tenant that was served last had been served.
    floor: u64,
}

#[derive(Debug)]
struct Account {
    served: u64,
    weight: u32,
    waiting: BTreeMap<Turn, u64>,
    /// What waits, in tokens.
    backlog: u64,
}

impl Fair {
    /// Adds a waiter. One that was let through before goes to the front of its tenant.
    pub(crate) fn push(&mut self, tenant: TenantNo, weight: u32, turn: Turn, cost: u64) {
        let floor = self.active.first().map_or(self.floor, |&(served, _)| served);
        let account = self.accounts.entry(tenant).or_insert_with(|| Account::new(floor, weight));
        if account.waiting.is_empty() {
            self.away.remove(&(account.served, tenant));
            account.served = account.served.max(floor);
            self.active.insert((account.served, tenant));
        }
        account.weight = weight;
        account.backlog = account.backlog.saturating_add(cost);
        account.waiting.insert(turn, cost);
    }

    /// Takes a waiter out that was let through, and charges its tenant.
    pub(crate) fn serve(&mut self, tenant: TenantNo, turn: Turn) {
        let Some(cost) = self.remove(tenant, turn) else { return };
        self.floor = self.accounts.get(&tenant).map_or(self.floor, |account| account.served);
        self.charge(tenant, cost as i64);
    }

    /// Takes a waiter out that left.
    pub(crate) fn remove(&mut self, tenant: TenantNo, turn: Turn) -> Option<u64> {
        let account = self.accounts.get_mut(&tenant)?;
        let cost = account.waiting.remove(&turn)?;
        account.backlog = account.backlog.saturating_sub(cost);
        if account.waiting.is_empty() {
            self.active.remove(&(account.served, tenant));
            self.away.insert((account.served, tenant));
            self.forget();
        }
        Some(cost)
    }

    /// Corrects what a tenant was served: by more or less than was expected.
    pub(crate) fn charge(&mut self, tenant: TenantNo, tokens: i64) {
        let Some(account) = self.accounts.get_mut(&tenant) else { return };
        let side = if account.waiting.is_empty() { &mut self.away } else { &mut self.active };
        side.remove(&(account.served, tenant));
        let parts = tokens.unsigned_abs().saturating_mul(PARTS) / u64::from(account.weight);
        account.served = if tokens < 0 {
            account.served.saturating_sub(parts)
        } else {
            account.served.saturating_add(parts)
        };
        side.insert((account.served, tenant));
    }

    /// An account that is not above the floor is the same as none.
    fn forget(&mut self) {
        let floor = self.active.first().map_or(self.floor, |&(served, _)| served);
        while let Some(&(served, tenant)) = self.away.first()
            && (served <= floor || self.away.len() > MOST_AWAY)
        {
            self.away.remove(&(served, tenant));
            self.accounts.remove(&tenant);
        }
    }

    /// The waiters whose turn it is, tenant by tenant, each tenant's first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (TenantNo, Turn)> {
        self.active.iter().filter_map(|&(_, tenant)| {
            let (&turn, _) = self.accounts.get(&tenant)?.waiting.first_key_value()?;
            Some((tenant, turn))
        })
    }

    /// The tenant's waiter that came last in order.
    pub(crate) fn last_of(&self, tenant: TenantNo) -> Option<WaiterId> {
        let waiting = &self.accounts.get(&tenant)?.waiting;
        waiting.keys().map(|&(_, id)| id).max()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// About how many tokens are served before a new waiter of `tenant`, which has `cost`: its own
    /// tenant's backlog, and as much of every other tenant, but no more than there is.
    pub(crate) fn ahead(&self, tenant: TenantNo, cost: u64, backlog: u64) -> u64 {
        let own = self.accounts.get(&tenant).map_or(0, |account| account.backlog);
        let others = self.active.len() as u64 - u64::from(own > 0);
        own.saturating_add(own.saturating_add(cost).saturating_mul(others)).min(backlog)
    }

    #[cfg(test)]
    fn validate(&self) {
        for (&tenant, account) in &self.accounts {
            let side = if account.waiting.is_empty() { &self.away } else { &self.active };
            assert!(side.contains(&(account.served, tenant)));
            assert_eq!(account.backlog, account.waiting.values().sum::<u64>());
        }
        assert_eq!(self.accounts.len(), self.active.len() + self.away.len());
        assert!(self.away.len() <= MOST_AWAY);
    }
}

impl Account {
    const fn new(served: u64, weight: u32) -> Self {
        Self { served, weight, waiting: BTreeMap::new(), backlog: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;
    use proptest::prelude::*;
    use std::time::Duration;

    fn next(fair: &mut Fair) -> Option<(TenantNo, WaiterId)> {
        let (tenant, turn) = fair.heads().next()?;
        fair.serve(tenant, turn);
        Some((tenant, turn.1))
    }

    #[test]
    fn tokens_are_shared_and_not_calls() {
        let (mut fair, at) = (Fair::default(), now());
        for id in 0..100 {
            fair.push(0, 1, (at, id), 400);
            fair.push(1, 1, (at, 1_000 + id), 100);
        }
        let served: Vec<_> = (0..50).filter_map(|_| next(&mut fair)).collect();
        let calls = served.iter().filter(|(tenant, _)| *tenant == 0).count();
        assert_eq!(calls, 10, "a quarter as many calls of four times the size");
    }

    #[test]
    fn weights_divide_what_is_served() {
        let (mut fair, at) = (Fair::default(), now());
        for id in 0..700 {
            for (tenant, weight) in [(0, 1), (1, 2), (2, 4)] {
                fair.push(tenant, weight, (at, u64::from(tenant) * 1_000 + id), 10);
            }
        }
        let mut counts = [0u32; 3];
        for _ in 0..700 {
            counts[next(&mut fair).unwrap().0 as usize] += 1;
        }
        assert!(counts[0].abs_diff(100) <= 1 && counts[1].abs_diff(200) <= 1, "{counts:?}");
    }

    #[test]
    fn nobody_gains_by_staying_away() {
        let (mut fair, at) = (Fair::default(), now());
        (0..100).for_each(|id| fair.push(0, 1, (at, id), 10));
        (0..50).for_each(|_| assert!(next(&mut fair).is_some()));
        (0..50).for_each(|id| fair.push(1, 1, (at, 1_000 + id), 10));
        let first: Vec<_> =
            (0..20).filter_map(|_| next(&mut fair)).map(|(tenant, _)| tenant).collect();
        let of_the_new = first.iter().filter(|&&tenant| tenant == 1).count();
        assert!((9..=11).contains(&of_the_new), "{first:?}");
    }

    #[test]
    fn within_a_tenant_the_earliest_deadline_goes_first() {
        let (mut fair, at) = (Fair::default(), now());
        let later = at + Duration::from_secs(1);
        fair.push(0, 1, (later, 1), 1);
        fair.push(0, 1, (at, 2), 1);
        fair.push(0, 1, (later, 0), 1);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut fair)).map(|(_, id)| id).collect();
        assert_eq!(order, [2, 0, 1]);
    }

    proptest! {
        #[test]
        fn books_balance_and_the_backlogged_stay_together(ops in prop::collection::vec((0u8..4, 0u32..6, 1u64..500), 0..400)) {
            let (mut fair, at) = (Fair::default(), now());
            let mut waiting: Vec<(TenantNo, Turn)> = Vec::new();
            for (id, (op, tenant, cost)) in ops.into_iter().enumerate() {
                let turn = (at, id as u64);
                match op {
                    0 | 1 => {
                        fair.push(tenant, 1, turn, cost);
                        waiting.push((tenant, turn));
                    }
                    2 => {
                        let head = fair.heads().next();
                        if let Some((tenant, turn)) = head {
                            fair.serve(tenant, turn);
                            waiting.retain(|other| *other != (tenant, turn));
                        }
                    }
                    _ => {
                        if let Some((tenant, turn)) = waiting.pop() {
                            fair.remove(tenant, turn);
                        }
                    }
                }
                fair.validate();
                prop_assert_eq!(fair.is_empty(), waiting.is_empty());
            }
        }
    }
}
