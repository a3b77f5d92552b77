//! Limits in the form in which the scripts keep them, and refusals in that in which they name them.

use std::time::Duration;

use redis::Cmd;

use crate::quota::store::{Demand, StoredScope};
use crate::quota::{
    Amounts, Budget, Denied, Dimension, Limit, Limits, OnLimit, Period, Reason, Refill,
};
use crate::rate::Rate;

/// The largest limit in units. The scripts count in doubles, which hold whole numbers up to 2^53, and
/// need room for debts and for what flows in.
const MOST_UNITS: u64 = 1 << 50;

/// One limit.
struct Kept {
    /// The dimension's number; eight times the power of two that a unit is of.
    dimension: u32,
    /// In microseconds; -1 for a day, -2 for a month.
    window: f64,
    /// Of a window, in units; for a budget, of its period.
    amount: f64,
    /// In units.
    burst: f64,
    /// What it was.
    limit: Source,
}

enum Source {
    Rate(Limit, Refill),
    Budget(Budget),
}

impl Kept {
    /// All of a scope, in the order in which a refusal counts them. A limit that cannot be kept is left
    /// out.
    fn of(limits: &Limits) -> impl Iterator<Item = Self> {
        let rates = limits.rates.iter().filter_map(Self::rate);
        rates.chain(limits.budgets.iter().map(Self::budget))
    }

    fn rate(limit: &Limit) -> Option<Self> {
        let refill = limit.refill();
        let Refill { amount, window, burst, .. } = refill;
        Rate::new(amount, window, burst).ok()?;
        // Windows that are no whole microseconds are a thousand times as long, for as much more.
        let nanos = window.as_nanos();
        let whole = nanos % 1_000 == 0;
        let (window, times) = if whole { (nanos / 1_000, 1.0) } else { (nanos, 1_000.0) };
        let (shift, burst) = units(burst);
        Some(Self {
            dimension: code(limit.dimension, shift),
            window: window as f64,
            // Exact below 2^53, and then to one in 2^53.
            amount: amount as f64 * times / (1u64 << shift) as f64,
            burst,
            limit: Source::Rate(*limit, refill),
        })
    }

    fn budget(budget: &Budget) -> Self {
        let (shift, amount) = units(budget.amount);
        let window = if budget.period == Period::Month { -2.0 } else { -1.0 };
        let dimension = code(budget.dimension, shift);
        Self { dimension, window, amount, burst: 0.0, limit: Source::Budget(*budget) }
    }

    /// Where even an unused limit has no room for `amounts`.
    fn never(&self, amounts: &Amounts) -> Option<Reason> {
        let (dimension, most) = match &self.limit {
            Source::Rate(limit, refill) => (limit.dimension, refill.burst),
            Source::Budget(budget) => (budget.dimension, budget.amount),
        };
        let amount = amounts.of(dimension);
        (amount > most).then_some(Reason::TooLarge { dimension, amount, most })
    }

    fn not_yet(&self, retry_after: Duration) -> (Reason, OnLimit) {
        match &self.limit {
            Source::Rate(limit, _) => {
                (Reason::Rate { dimension: limit.dimension, retry_after }, limit.on_limit)
            }
            Source::Budget(budget) => {
                (Reason::Budget { dimension: budget.dimension, retry_after }, OnLimit::Reject)
            }
        }
    }
}

/// In the finest unit of a power of two in which a limit is not too large: rounded up, for what fits
/// into it exactly must fit.
fn units(amount: u64) -> (u32, f64) {
    let shift = (0..).find(|&shift| amount.div_ceil(1 << shift) <= MOST_UNITS).unwrap_or(0);
    (shift, amount.div_ceil(1 << shift) as f64)
}

fn code(dimension: Dimension, shift: u32) -> u32 {
    8 * shift + DIMENSIONS.iter().position(|&other| other == dimension).unwrap_or(0) as u32
}

/// In the order of [`write_amounts`].
const DIMENSIONS: [Dimension; 5] = [
    Dimension::Requests,
    Dimension::InputTokens,
    Dimension::OutputTokens,
    Dimension::Tokens,
    Dimension::Cost,
];

/// The amounts as arguments.
pub(super) fn write_amounts(call: &mut Cmd, amounts: &Amounts) {
    for dimension in DIMENSIONS {
        call.arg(in_a_double(amounts.of(dimension)));
    }
}

/// As it is where a double holds it, and else the next above that one does.
fn in_a_double(amount: u64) -> u64 {
    let spare = (u64::BITS - amount.leading_zeros()).saturating_sub(f64::MANTISSA_DIGITS);
    amount.checked_next_multiple_of(1 << spare).unwrap_or(u64::MAX)
}

/// The limits of a scope as arguments.
pub(super) fn write_limits(call: &mut Cmd, limits: &Limits) {
    call.arg(limits.concurrency.map_or(-1, i64::from)).arg(Kept::of(limits).count());
    for Kept { dimension, window, amount, burst, limit: _ } in Kept::of(limits) {
        call.arg(dimension).arg(window).arg(amount).arg(burst);
    }
}

/// Why a demand can never be granted, which no server needs to be asked for.
pub(super) fn never(demand: &Demand) -> Option<Denied> {
    demand.scopes.iter().find_map(|scope| {
        let reason = Kept::of(&scope.limits).find_map(|limit| limit.never(&demand.amounts));
        reason.map(|reason| Denied::new(scope.level.clone(), reason))
    })
}

/// The refusal of what a script says is in the way: the one that lasts longest. Waiting is wanted where
/// all that is in the way want it. `None` where it names what is not there.
pub(super) fn refusal(scopes: &[&StoredScope], found: &[u64]) -> Option<Denied> {
    let (threes, rest) = found.as_chunks::<3>();
    let objections = threes.iter().map(|&[scope, limit, wait]| {
        let scope = scopes.get(usize::try_from(scope).ok()?.checked_sub(1)?)?;
        objection(scope, usize::try_from(limit).ok()?, Duration::from_micros(wait))
    });
    let objections = objections.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())?;
    let rejects = objections.iter().any(|(_, on_limit)| *on_limit == OnLimit::Reject);
    let longest = objections.into_iter().map(|(denied, _)| denied).reduce(Denied::longer)?;
    Some(longest.waiting(if rejects { OnLimit::Reject } else { OnLimit::Wait }))
}

fn objection(scope: &StoredScope, limit: usize, wait: Duration) -> Option<(Denied, OnLimit)> {
    let limits = &scope.limits;
    let (reason, on_limit) = match limit.checked_sub(1) {
        None => (Reason::Concurrency { limit: limits.concurrency? }, limits.on_concurrency),
        Some(at) => Kept::of(limits).nth(at)?.not_yet(wait),
    };
    Some((Denied::new(scope.level.clone(), reason), on_limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_rounded_up() {
        for amount in [0, 1, 1 << 50, (1 << 53) - 1, 1 << 53, 1 << 63] {
            assert_eq!(in_a_double(amount), amount);
        }
        for amount in [(1 << 53) + 1, (1 << 59) + 1, u64::MAX - 1, u64::MAX] {
            assert!(in_a_double(amount) as f64 >= amount as f64);
            assert!(in_a_double(amount) as f64 as u128 >= u128::from(amount));
            assert!(in_a_double(amount) - amount < amount >> 51);
        }
    }

    #[test]
    fn a_unit_is_the_finest_that_keeps_the_limit_below_2_to_the_50th() {
        assert_eq!(units(0), (0, 0.0));
        assert_eq!(units(1 << 50), (0, (1u64 << 50) as f64));
        assert_eq!(units((1 << 50) + 1), (1, ((1u64 << 49) + 1) as f64));
        assert_eq!(units(u64::MAX), (14, (1u64 << 50) as f64));
    }

    #[test]
    fn a_refusal_by_what_is_not_there_is_none() {
        let limits = Limits::new().tokens_per_minute(5).concurrency(1);
        let scope = StoredScope::new("a", crate::quota::Level::Tenant, limits);
        let refusal = |found: &[u64]| refusal(&[&scope], found);
        assert!(refusal(&[1, 1, 7]).is_some() && refusal(&[1, 0, 0]).is_some());
        for found in [&[][..], &[1, 1], &[0, 1, 7], &[2, 1, 7], &[1, 2, 7], &[1, u64::MAX, 7]] {
            assert_eq!(refusal(found), None, "{found:?}");
        }
    }
}
