//! One line of the comparison.

use super::{complete, eviction, hit, pick, queue, quota, stream, vector};
use crate::measure::Effort;

/// One line of the comparison.
pub(crate) struct Row {
    /// Its name in the output; stable, since machines read it.
    pub(crate) name: &'static str,
    /// What the value must reach.
    pub(crate) goal: Goal,
    /// Measures the value.
    pub(crate) run: fn(Effort) -> f64,
}

/// What a row's value must reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// How many times faster, or better, we are.
    AtLeast(f64),
    /// How much of something we may need.
    AtMost(f64),
}

impl Goal {
    /// The number.
    pub(crate) fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// A value that is no number reaches nothing.
    pub(crate) fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// Every row, in the order of the output.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    let subjects = [
        pick::ROWS,
        quota::ROWS,
        queue::ROWS,
        vector::ROWS,
        complete::ROWS,
        stream::ROWS,
        hit::ROWS,
        eviction::ROWS,
    ];
    subjects.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_reaches_nothing() {
        assert!(!Goal::AtLeast(1.0).is_reached(f64::NAN));
        assert!(!Goal::AtMost(1.0).is_reached(f64::NAN));
    }

    #[test]
    fn a_goal_is_reached_at_its_bound() {
        assert!(Goal::AtLeast(1.5).is_reached(1.5) && !Goal::AtLeast(1.5).is_reached(1.49));
        assert!(Goal::AtMost(1.3).is_reached(1.3) && !Goal::AtMost(1.3).is_reached(1.31));
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = all().map(|row| row.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
