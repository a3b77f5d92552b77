//! What was let through while the store was away, and is still to be told to it. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::quota::amounts::Amounts;
use crate::quota::limits::{Dimension, Limits};
use crate::quota::store::StoredScope;
use crate::rng::Rng;
use crate::time::{Instant, after};

/// So many scopes are written at a time.
const BATCH: usize = 64;

/// All instances find the store again together: each begins somewhere within so long.
const SPREAD: Duration = Duration::from_secs(2);

/// Between batches, and at least so long before one that was refused is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// A scope is charged so many bursts at the most: who was let through must not be locked out for long.
const BURSTS: u64 = 2;

/// The debts of an instance, by scope.
#[derive(Debug)]
pub(super) struct Debts {
    owed: HashMap<Arc<str>, Debt>,
    most: usize,
    due: Option<Instant>,
    /// Calls that were let through and are not written down: there were too many scopes.
    pub(super) forgotten: u64,
}

/// What one scope owes.
#[derive(Debug)]
pub(super) struct Debt {
    pub(super) scope: StoredScope,
    pub(super) amounts: Amounts,
}

impl Debts {
    pub(super) fn new(most: usize) -> Self {
        Self { owed: HashMap::new(), most, due: None, forgotten: 0 }
    }

    /// A call that was let through has used `amounts` of `scope`.
    pub(super) fn add(&mut self, scope: &StoredScope, amounts: &Amounts) {
        if *amounts == Amounts::NONE {
            return;
        }
        if !self.owed.contains_key(&scope.key) && self.owed.len() >= self.most {
            self.forgotten += 1;
            return;
        }
        let new = || Debt { scope: scope.clone(), amounts: Amounts::NONE };
        let debt = self.owed.entry(Arc::clone(&scope.key)).or_insert_with(new);
        debt.amounts = capped(debt.amounts.plus(amounts), &debt.scope.limits);
    }

    /// What is to be written now that the store answers.
    pub(super) fn due(&mut self, at: Instant, rng: &Rng) -> Vec<Debt> {
        if self.owed.is_empty() {
            self.due = None;
            return Vec::new();
        }
        if *self.due.get_or_insert_with(|| after(at, rng.jitter(SPREAD))) > at {
            return Vec::new();
        }
        self.due = Some(after(at, PAUSE));
        let batch: Vec<_> = self.owed.keys().take(BATCH).cloned().collect();
        batch.iter().filter_map(|key| self.owed.remove(key)).collect()
    }

    /// When there is something to write, if there is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.filter(|_| !self.owed.is_empty())
    }

    /// Those who wait for everything to be written do not wait for jitter.
    pub(super) fn hurry(&mut self, at: Instant) {
        self.due = Some(at);
    }

    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }
}

/// A debt that no limit counts more than two bursts of. Where budgets count it too it is whole: money
/// that was spent stays spent, and a rate is locked out for no longer than it was exceeded.
fn capped(mut amounts: Amounts, limits: &Limits) -> Amounts {
    if !limits.budgets.is_empty() {
        return amounts;
    }
    for limit in &limits.rates {
        let most = limit.rate().map_or(u64::MAX, |rate| rate.burst().saturating_mul(BURSTS));
        match limit.dimension {
            Dimension::Requests => amounts.requests = amounts.requests.min(most),
            Dimension::InputTokens => amounts.input_tokens = amounts.input_tokens.min(most),
            Dimension::OutputTokens => amounts.output_tokens = amounts.output_tokens.min(most),
            Dimension::Tokens => {
                amounts.input_tokens = amounts.input_tokens.min(most);
                let output = most - amounts.input_tokens;
                amounts.output_tokens = amounts.output_tokens.min(output);
            }
            Dimension::Cost => {
                let cost = amounts.cost.nano_dollars().min(most);
                amounts.cost = crate::usage::Cost::from_nano_dollars(cost);
            }
        }
    }
    amounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::denied::Level;
    use crate::time::now;

    fn scope(key: &str) -> StoredScope {
        StoredScope::new(key, Level::Tenant, Limits::new().tokens_per_minute(100))
    }

    #[test]
    fn a_scope_owes_the_sum_and_at_most_two_bursts() {
        let mut debts = Debts::new(9);
        debts.add(&scope("a"), &Amounts::tokens(40, 30));
        debts.add(&scope("a"), &Amounts::tokens(40, 30));
        debts.add(&scope("b"), &Amounts::tokens(5_000, 5_000));
        debts.hurry(now());
        let mut due = debts.due(now(), &Rng::from_seed(1));
        due.sort_by_key(|debt| debt.amounts.requests);
        let owed: Vec<_> = due.iter().map(|debt| debt.amounts.of(Dimension::Tokens)).collect();
        assert_eq!(owed, [200, 140]);
    }

    #[test]
    fn many_scopes_are_written_in_batches_from_some_instant_within_two_seconds_on() {
        let (mut debts, rng, start) = (Debts::new(1_000), Rng::from_seed(1), now());
        (0..150).for_each(|i| debts.add(&scope(&i.to_string()), &Amounts::tokens(1, 1)));
        assert!(debts.due(start, &rng).is_empty(), "not all instances at once");
        let begins = debts.next().unwrap();
        assert!(begins <= after(start, SPREAD));
        let mut at = begins;
        for left in [86, 22, 0] {
            debts.due(at, &rng);
            assert_eq!(debts.len(), left);
            assert!(debts.due(at, &rng).is_empty(), "one batch at a time");
            at = after(at, PAUSE);
        }
        assert!(debts.next().is_none());
    }

    #[test]
    fn a_flood_of_scopes_is_not_written_down() {
        let mut debts = Debts::new(2);
        ["a", "b", "c"].iter().for_each(|key| debts.add(&scope(key), &Amounts::tokens(1, 1)));
        assert_eq!((debts.len(), debts.forgotten), (2, 1));
    }
}
