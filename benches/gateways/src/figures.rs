//! Figures of several rounds: what is in the middle, and how far they lie apart.

use std::fmt;

/// The middle of some values, the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

impl Spread {
    /// Of `values`; not a number where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share| quantile(&values, share);
        Self { median: at(0.5), low: at(0.0), high: at(1.0) }
    }
}

/// As `median,low,high`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1},{:.1},{:.1}", self.median, self.low, self.high)
    }
}

/// The value that `share` of `sorted` do not exceed.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spoilt_round_moves_the_spread_and_not_the_middle() {
        let spread = Spread::of([2.0, 900.0, 1.0]);
        assert_eq!(spread, Spread { median: 2.0, low: 1.0, high: 900.0 });
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn a_quantile_was_seen() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99)), (100.0, 198.0));
    }
}
