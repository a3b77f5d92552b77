//! What one instance lets through by itself while the store is away. Pure.

use std::time::Duration;

use crate::quota::amounts::Amounts;
use crate::quota::budget::Budget;
use crate::quota::denied::Reason;
use crate::quota::limits::{Dimension, Limit, Limits};
use crate::quota::store::OnStoreFailure;

/// How an instance stands that has no store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone {
    /// Among how many the limits are divided.
    pub(super) instances: u32,
    /// What limits do that do not say so.
    pub(super) otherwise: OnStoreFailure,
    /// Until the store is asked again.
    pub(super) rest: Duration,
}

impl Alone {
    /// The part of `limits` that is this instance's, for a call of `amounts`.
    ///
    /// # Errors
    /// Why the call may not pass, whatever others do: a limit is closed, or its share smaller than the
    /// call. Shares are rounded down to whole numbers, so that all together stay below the limit.
    pub(super) fn share(&self, limits: &Limits, amounts: &Amounts) -> Result<Limits, Reason> {
        let mut share = Limits { on_concurrency: limits.on_concurrency, ..Limits::default() };
        for limit in &limits.rates {
            share.rates.extend(self.of_rate(limit, limits, amounts.of(limit.dimension))?);
        }
        for budget in &limits.budgets {
            share.budgets.extend(self.of_budget(budget, limits, amounts.of(budget.dimension))?);
        }
        if let Some(calls) = limits.concurrency {
            share.concurrency = self.of_concurrency(calls, limits)?;
        }
        Ok(share)
    }

    fn of_rate(&self, limit: &Limit, all: &Limits, need: u64) -> Result<Option<Limit>, Reason> {
        let most = limit.rate().map_or(0, |rate| rate.burst());
        let policy = limit.on_store_failure.or(all.on_store_failure).unwrap_or(self.otherwise);
        let Some(burst) = self.fits(policy, limit.dimension, most, need)? else { return Ok(None) };
        let amount = policy.allowance(limit.amount, self.instances).unwrap_or(0);
        // A limit of nothing is not one; whatever needs it was refused.
        Ok((amount > 0 && burst > 0).then_some(Limit { amount, burst: Some(burst), ..*limit }))
    }

    fn of_budget(
        &self,
        budget: &Budget,
        all: &Limits,
        need: u64,
    ) -> Result<Option<Budget>, Reason> {
        let otherwise = match budget.dimension {
            Dimension::Cost => OnStoreFailure::Closed,
            _ => self.otherwise,
        };
        let policy = budget.on_store_failure.or(all.on_store_failure).unwrap_or(otherwise);
        let amount = self.fits(policy, budget.dimension, budget.amount, need)?;
        Ok(amount.filter(|amount| *amount > 0).map(|amount| Budget { amount, ..*budget }))
    }

    fn of_concurrency(&self, calls: u32, all: &Limits) -> Result<Option<u32>, Reason> {
        let policy = all.on_store_failure.unwrap_or(self.otherwise);
        match policy.allowance(calls.into(), self.instances) {
            Some(0) => Err(self.away("concurrency")),
            // Not above the number it is a part of.
            Some(share) => Ok(Some(share as u32)),
            None => Ok(None),
        }
    }

    /// The share of `most`, if `need` fits into it; `None` where everything does.
    fn fits(
        &self,
        policy: OnStoreFailure,
        dimension: Dimension,
        most: u64,
        need: u64,
    ) -> Result<Option<u64>, Reason> {
        if need > most {
            return Err(Reason::TooLarge { dimension, amount: need, most });
        }
        match policy.allowance(most, self.instances) {
            // A call that needs nothing of a limit may still not pass one that is closed: that it is
            // not exceeded already nobody can tell.
            Some(share) if need > share || policy == OnStoreFailure::Closed => {
                Err(self.away(dimension.label()))
            }
            share => Ok(share),
        }
    }

    const fn away(&self, limit: &'static str) -> Reason {
        Reason::StoreAway { limit, retry_after: self.rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Cost;

    const REST: Duration = Duration::from_millis(300);

    fn alone(instances: u32) -> Alone {
        Alone { instances, otherwise: OnStoreFailure::LocalShare, rest: REST }
    }

    #[test]
    fn a_share_is_nine_tenths_of_the_limit_by_the_number_of_instances() {
        let limits = Limits::new().tokens_per_minute(1_000).concurrency(10);
        let share = alone(3).share(&limits, &Amounts::tokens(100, 200)).unwrap();
        assert_eq!((share.rates[0].amount, share.rates[0].burst), (300, Some(300)));
        assert_eq!(share.concurrency, Some(3));
    }

    #[test]
    fn a_call_larger_than_the_share_is_told_when_to_come_back_and_one_larger_than_the_limit_never()
    {
        let limits = Limits::new().tokens_per_minute(1_000);
        let refused = alone(3).share(&limits, &Amounts::tokens(301, 0)).unwrap_err();
        assert_eq!(refused, Reason::StoreAway { limit: "tokens", retry_after: REST });
        let refused = alone(3).share(&limits, &Amounts::tokens(1_001, 0)).unwrap_err();
        assert!(matches!(refused, Reason::TooLarge { most: 1_000, .. }));
    }

    #[test]
    fn budgets_of_money_are_closed_unless_they_say_otherwise() {
        let budget = Budget::daily_cost(Cost::from_nano_dollars(1_000));
        let call = Amounts::tokens(1, 1).with_cost(Cost::from_nano_dollars(5));
        let limits = Limits::new().budget(budget);
        let refused = alone(2).share(&limits, &call).unwrap_err();
        assert_eq!(refused, Reason::StoreAway { limit: "cost", retry_after: REST });
        for open in [
            limits.on_store_failure(OnStoreFailure::LocalShare),
            Limits::new().budget(budget.on_store_failure(OnStoreFailure::LocalShare)),
        ] {
            assert_eq!(alone(2).share(&open, &call).unwrap().budgets[0].amount, 450);
        }
    }

    #[test]
    fn each_limit_may_have_a_policy_of_its_own() {
        let tokens = |policy| {
            let limit = Limit::new(Dimension::Tokens, 100, Duration::from_secs(60));
            Limits::new().limit(limit.on_store_failure(policy)).requests_per_minute(60)
        };
        let call = Amounts::tokens(90, 0);
        let open = alone(2).share(&tokens(OnStoreFailure::Open), &call).unwrap();
        assert_eq!((open.rates.len(), open.rates[0].amount), (1, 27));
        let closed = alone(2).share(&tokens(OnStoreFailure::Closed), &call).unwrap_err();
        assert!(matches!(closed, Reason::StoreAway { limit: "tokens", .. }));
    }

    #[test]
    fn strict_limits_stay_strict() {
        let limit = Limit::new(Dimension::Tokens, 1_000, Duration::from_secs(60)).strict();
        let share = alone(1).share(&Limits::new().limit(limit), &Amounts::tokens(90, 0)).unwrap();
        let rate = share.rates[0].rate().unwrap();
        assert_eq!((share.rates[0].strict, share.rates[0].amount, rate.burst()), (true, 900, 90));
    }
}
