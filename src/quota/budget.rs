//! Budgets by calendar. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::quota::limits::Dimension;
use crate::quota::store::OnStoreFailure;
use crate::usage::Cost;

/// So much per calendar day or month, in universal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Budget {
    /// What it counts.
    pub dimension: Dimension,
    /// How much of it.
    pub amount: u64,
    /// Per what.
    pub period: Period,
    /// What happens while the store that keeps the budget does not answer; unless set, what its
    /// [`Limits`](crate::quota::Limits) say. Means nothing where no store does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_store_failure: Option<OnStoreFailure>,
}

/// A stretch of the calendar, in universal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
}

impl Budget {
    /// `amount` of `dimension` per `period`.
    #[must_use]
    pub const fn new(dimension: Dimension, amount: u64, period: Period) -> Self {
        Self { dimension, amount, period, on_store_failure: None }
    }

    /// With what happens while the store that keeps the budget does not answer.
    #[must_use]
    pub const fn on_store_failure(mut self, policy: OnStoreFailure) -> Self {
        self.on_store_failure = Some(policy);
        self
    }

    /// Money per day.
    #[must_use]
    pub const fn daily_cost(amount: Cost) -> Self {
        Self::new(Dimension::Cost, amount.nano_dollars(), Period::Day)
    }

    /// Money per month.
    #[must_use]
    pub const fn monthly_cost(amount: Cost) -> Self {
        Self::new(Dimension::Cost, amount.nano_dollars(), Period::Month)
    }

    /// Input and output tokens per day.
    #[must_use]
    pub const fn daily_tokens(amount: u64) -> Self {
        Self::new(Dimension::Tokens, amount, Period::Day)
    }
}

const DAY: u64 = 86_400;

impl Period {
    /// The number of the period that contains `since`, counted from 1970.
    const fn number(self, since: Duration) -> u32 {
        let day = since.as_secs() / DAY;
        match self {
            Self::Day => day as u32,
            Self::Month => month_of(day as i64),
        }
    }

    /// When the period of a number ends, since 1970.
    fn end(self, number: u32) -> Duration {
        let day = match self {
            Self::Day => u64::from(number) + 1,
            Self::Month => first_day(number.saturating_add(1)).unsigned_abs(),
        };
        Duration::from_secs(day.saturating_mul(DAY))
    }
}

/// Months since year 0 of the civil date of a day since 1970. After Hinnant's `civil_from_days`.
const fn month_of(day: i64) -> u32 {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years of this calendar begin in March.
    let from_march = (5 * of_year + 2) / 153;
    ((year_of_era + era * 400) * 12 + from_march + 2) as u32
}

/// The day since 1970 on which a month begins. The inverse of [`month_of`].
const fn first_day(month: u32) -> i64 {
    let (year, month) = (month as i64 / 12, month as i64 % 12 + 1);
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * from_march + 2) / 5;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// How much of a budget is used, in which period.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BudgetState {
    period: u32,
    used: u64,
    moved: bool,
}

impl BudgetState {
    /// What the state that takes its place starts with. What is taken here later is lost.
    pub(crate) const fn hand_over(&mut self) -> Self {
        let handed_over = *self;
        self.moved = true;
        handed_over
    }

    /// Whether another has taken its place, so that nothing is to be taken here.
    pub(crate) const fn is_moved(&self) -> bool {
        self.moved
    }

    /// Takes `amount` if it fits; else how long until the period ends, or `None` if it never fits.
    pub(crate) fn reserve(
        &mut self,
        budget: &Budget,
        amount: u64,
        wall: SystemTime,
    ) -> Result<u32, Option<Duration>> {
        match self.objection(budget, amount, wall) {
            Some(left) => Err(left),
            None => {
                self.used += amount;
                Ok(self.period)
            }
        }
    }

    /// Why `amount` does not fit: for how long, or `Some(None)` for ever.
    pub(crate) fn objection(
        &mut self,
        budget: &Budget,
        amount: u64,
        wall: SystemTime,
    ) -> Option<Option<Duration>> {
        let since = since_1970(wall);
        self.turn_to(budget.period.number(since));
        if amount > budget.amount {
            return Some(None);
        }
        let over = self.used > budget.amount - amount;
        over.then(|| Some(budget.period.end(self.period).saturating_sub(since)))
    }

    /// Corrects what was reserved in `period` to what was used. What was reserved in a period that
    /// is over stays there; only what was used beyond it counts now.
    pub(crate) fn settle(&mut self, period: u32, reserved: u64, actual: u64) {
        if period == self.period {
            self.used = self.used.saturating_sub(reserved);
        }
        let added = if period == self.period { actual } else { actual.saturating_sub(reserved) };
        self.used = self.used.saturating_add(added);
    }

    /// The clock of a machine may be set back a little; a period that has begun is not left again.
    /// A clock that is set back by more was far ahead before: the period is then the one it says,
    /// or the budget would stay used up until that future comes. Neither opens anything.
    fn turn_to(&mut self, period: u32) {
        if period > self.period {
            (self.period, self.used) = (period, 0);
        } else if period.saturating_add(1) < self.period {
            self.period = period;
        }
    }

    pub(crate) fn used(&mut self, budget: &Budget, wall: SystemTime) -> u64 {
        self.turn_to(budget.period.number(since_1970(wall)));
        self.used
    }
}

fn since_1970(wall: SystemTime) -> Duration {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn months_end_where_the_calendar_says() {
        // 2024-02-28T12:00:00Z, 2024-02-29T23:59:59Z, 2100-02-28T00:00:00Z, 2023-12-31T23:00:00Z
        for (second, left) in [
            (1_709_121_600, DAY / 2 + DAY),
            (1_709_251_199, 1),
            (4_107_456_000, DAY),
            (1_704_063_600, 3_600),
        ] {
            let since = Duration::from_secs(second);
            let end = Period::Month.end(Period::Month.number(since));
            assert_eq!(end - since, Duration::from_secs(left), "{second}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_lies_in_its_month() {
        let mut month = month_of(-1);
        for day in 0..146_097 {
            let next = month_of(day);
            assert!(next == month || (next == month + 1 && first_day(next) == day), "day {day}");
            month = next;
        }
    }

    #[test]
    fn a_budget_is_whole_again_in_the_next_period_only() {
        let budget = Budget::daily_tokens(100);
        let mut state = BudgetState::default();
        let noon = 1_709_121_600;
        let period = state.reserve(&budget, 80, at(noon)).unwrap();
        assert_eq!(state.reserve(&budget, 30, at(noon)), Err(Some(Duration::from_secs(DAY / 2))));
        assert_eq!(state.reserve(&budget, 101, at(noon)), Err(None));
        state.settle(period, 80, 60);
        assert!(state.reserve(&budget, 40, at(noon)).is_ok());
        assert_eq!(state.used(&budget, at(noon + DAY)), 0);
        state.settle(period, 60, 75);
        assert_eq!(state.used(&budget, at(noon + DAY)), 15, "the overrun is not forgotten");
        assert_eq!(state.used(&budget, at(noon)), 15, "a clock that is set back opens nothing");
    }

    #[test]
    fn a_budget_that_was_handed_over_stays_so_and_its_successor_is_whole_in_the_next_period() {
        let budget = Budget::daily_tokens(100);
        let mut state = BudgetState::default();
        let noon = 1_709_121_600;
        assert!(state.reserve(&budget, 80, at(noon)).is_ok());
        let mut after = state.hand_over();
        assert!(state.is_moved() && !after.is_moved());
        assert_eq!(after.used(&budget, at(noon)), 80);
        let next = [&mut state, &mut after].map(|state| state.used(&budget, at(noon + DAY)));
        assert_eq!(next, [0, 0]);
        assert!(state.is_moved() && !after.is_moved());
    }

    #[test]
    fn a_clock_that_is_set_back_over_midnight_says_when_the_budget_is_whole() {
        let budget = Budget::daily_tokens(100);
        let mut state = BudgetState::default();
        let midnight = 1_709_164_800;
        assert!(state.reserve(&budget, 100, at(midnight)).is_ok());
        let wait = Duration::from_secs(DAY + 60);
        assert_eq!(state.reserve(&budget, 1, at(midnight - 60)), Err(Some(wait)));
        assert!(state.reserve(&budget, 100, at(midnight - 60) + wait).is_ok());
    }

    #[test]
    fn a_clock_that_was_years_ahead_locks_nobody_out() {
        let budget = Budget::daily_tokens(100);
        let mut state = BudgetState::default();
        let noon = 1_709_121_600;
        let _ = state.reserve(&budget, 100, at(noon + 10_000 * DAY));
        assert_eq!(state.reserve(&budget, 1, at(noon)), Err(Some(Duration::from_secs(DAY / 2))));
        assert!(state.reserve(&budget, 100, at(noon + DAY / 2)).is_ok());
    }

    #[test]
    fn the_end_of_time_is_no_reason_to_panic() {
        let latest = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        for period in [Period::Day, Period::Month] {
            let budget = Budget::new(Dimension::Tokens, u64::MAX, period);
            let mut state = BudgetState::default();
            let _ = state.reserve(&budget, u64::MAX, latest);
            let _ = state.reserve(&budget, u64::MAX, UNIX_EPOCH - Duration::from_secs(1));
            state.settle(0, u64::MAX, u64::MAX);
            let _ = state.used(&budget, latest);
        }
    }
}
