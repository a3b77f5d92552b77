//! How near is near enough, learnt. Pure.
//!
//! For each kind of difference, labels (was the stored answer right?) are counted in bins of
//! similarity. How far down each kind is served follows from a few candidate levels of risk; of these
//! the widest is taken for which an *upper confidence bound* on the part that is wrong, over all kinds
//! together, keeps the promise. The bound is Chernoff's, in its exact form with the relative entropy
//! (Hoeffding 1963, Theorem 1): it holds for every number of labels, so few labels promise nothing.
//! Kinds that conflict are neither learnt nor served.
//!
//! Labels come from misses, which are labelled before they can be served, and from audits, which are
//! drawn by lot among what would be served. Within a bin neither depends on whether the answer is
//! right. Since what lies nearer is right more often, and audits are rarer than misses, the labels
//! above a threshold are on the whole worse than what is served above it: the estimate errs to the
//! safe side.

use serde::{Deserialize, Serialize};

use crate::cache::lexical::Difference;

/// Bins of similarity, from [`LOWEST`] to 1.
const BINS: usize = 90;
const LOWEST: f32 = 0.55;

/// How bad a tail may look, in parts of the promise, to be tried. Few are, for the best of many looks
/// better than it is.
const REACHES: [f64; 5] = [0.4, 0.6, 0.8, 1.0, 1.2];

/// How sure a promise is.
const DOUBT: f64 = 0.05;

/// Labels of one kind are halved at this many, so that what is learnt follows the traffic.
const MOST_LABELS: u32 = 20_000;

/// What was learnt of each kind of difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    most_wrong: f64,
    kinds: [Kind; 3],
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kind {
    bins: Vec<Bin>,
    threshold: Option<f32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bin {
    labels: u32,
    wrong: u32,
}

impl Calibration {
    pub(crate) fn new(most_wrong: f64) -> Self {
        let kind = || Kind { bins: vec![Bin::default(); BINS], threshold: None };
        Self { most_wrong, kinds: [kind(), kind(), kind()] }
    }

    /// Takes what another has learnt for this promise, unless it is of another make.
    pub(crate) fn adopt(&mut self, learnt: Self) {
        let fits = learnt.kinds.iter().all(|kind| {
            kind.bins.len() == BINS
                && kind.bins.iter().all(|bin| bin.wrong <= bin.labels && bin.labels <= MOST_LABELS)
        });
        if fits {
            self.kinds = learnt.kinds;
            self.certify();
        }
    }

    /// From which similarity on the promise holds; `None` while that cannot be told.
    pub(crate) fn threshold(&self, difference: Difference) -> Option<f32> {
        self.kinds[index(difference)?].threshold
    }

    pub(crate) fn learn(&mut self, difference: Difference, similarity: f32, right: bool) {
        let Some(kind) = index(difference) else { return };
        self.kinds[kind].learn(similarity, right);
        self.certify();
    }

    /// Takes the widest reach that keeps the promise.
    fn certify(&mut self) {
        let mut reaches = REACHES.iter().map(|part| self.reach(part * self.most_wrong));
        let kept = |reach: &[Tail; 3]| {
            let labels = reach.iter().map(|tail| tail.labels).sum();
            let wrong = reach.iter().map(|tail| tail.wrong).sum();
            labels > 0 && rules_out(wrong, labels, self.most_wrong)
        };
        let widest = reaches.rfind(kept).unwrap_or_default();
        for (kind, tail) in self.kinds.iter_mut().zip(widest) {
            kind.threshold = tail.from;
        }
    }

    /// For each kind how far down it may be expected to be wrong no more often than `most`.
    fn reach(&self, most: f64) -> [Tail; 3] {
        [0, 1, 2].map(|kind: usize| self.kinds[kind].reach(most))
    }
}

const fn index(difference: Difference) -> Option<usize> {
    match difference {
        Difference::Same => Some(0),
        Difference::Substituted => Some(1),
        Difference::Other => Some(2),
        Difference::Conflict(_) => None,
    }
}

impl Kind {
    fn learn(&mut self, similarity: f32, right: bool) {
        let place = (similarity - LOWEST) / (1.0 - LOWEST) * BINS as f32;
        if place.is_nan() || place < 0.0 {
            return;
        }
        let bin = &mut self.bins[(place as usize).min(BINS - 1)];
        bin.labels += 1;
        bin.wrong += u32::from(!right);
        if self.bins.iter().map(|bin| bin.labels).sum::<u32>() >= MOST_LABELS {
            self.bins.iter_mut().for_each(|bin| {
                bin.wrong = bin.wrong.div_ceil(2);
                bin.labels = (bin.labels / 2).max(bin.wrong);
            });
        }
    }

    /// The longest tail that looks no worse than `most`. One wrong answer is taken for seen already, so
    /// that a kind that was hardly ever labelled looks bad.
    fn reach(&self, most: f64) -> Tail {
        let (mut sofar, mut longest) = (Tail::default(), Tail::default());
        for (at, bin) in self.bins.iter().enumerate().rev() {
            sofar.labels += bin.labels;
            sofar.wrong += bin.wrong;
            let looks = f64::from(sofar.wrong + 1) / f64::from(sofar.labels + 1);
            if bin.labels > 0 && looks <= most {
                let from = LOWEST + at as f32 / BINS as f32 * (1.0 - LOWEST);
                longest = Tail { from: Some(from), ..sofar };
            }
        }
        longest
    }
}

/// The labels from a similarity on.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    from: Option<f32>,
    labels: u32,
    wrong: u32,
}

/// Whether `wrong` of `labels` rules out that more than `most` are wrong. Who looks often sees luck as
/// well, which has its price twice: the number of reaches, for the widest of those that pass is taken,
/// and the logarithm of a logarithm, for asking again after every label (Robbins 1970).
fn rules_out(wrong: u32, labels: u32, most: f64) -> bool {
    let (labels, wrong) = (f64::from(labels), f64::from(wrong));
    let seen = wrong / labels;
    let doubt = DOUBT / REACHES.len() as f64;
    let needed = -doubt.ln() + (1.0 + labels.ln()).ln();
    seen < most && labels * relative_entropy(seen, most) >= needed
}

/// Of a coin that shows heads in `p` against one that shows them in `q`, in nats.
fn relative_entropy(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_bound_is_stricter_than_that_of_a_single_look() {
        for labels in [59, 149, 1_000] {
            let single = 1.0 - DOUBT.powf(1.0 / f64::from(labels));
            assert!(!rules_out(0, labels, single) && rules_out(0, labels, 2.5 * single));
        }
        assert!(!rules_out(5, 100, 0.10) && rules_out(5, 100, 0.17));
        assert!(!rules_out(5, 100, 0.05) && !rules_out(1, 1, 0.5));
    }

    #[test]
    fn nothing_is_served_before_it_can_be_promised() {
        let mut calibration = Calibration::new(0.02);
        let mut labels = 0;
        while calibration.threshold(Difference::Same).is_none() {
            calibration.learn(Difference::Same, 0.95, true);
            labels += 1;
        }
        assert!((149..400).contains(&labels), "{labels}");
        let threshold = calibration.threshold(Difference::Same).unwrap();
        assert!((0.94..=0.95).contains(&threshold));
        assert_eq!(calibration.threshold(Difference::Other), None);
        let conflict = Difference::Conflict(crate::cache::lexical::Conflict::Number);
        calibration.learn(conflict, 0.95, true);
        assert_eq!(calibration.threshold(conflict), None);
    }

    #[test]
    fn one_wrong_answer_takes_a_thin_promise_back() {
        let mut calibration = Calibration::new(0.02);
        while calibration.threshold(Difference::Same).is_none() {
            calibration.learn(Difference::Same, 0.95, true);
        }
        calibration.learn(Difference::Same, 0.95, false);
        assert_eq!(calibration.threshold(Difference::Same), None);
    }

    #[test]
    fn what_is_served_keeps_the_promise_for_known_odds() {
        let odds_of_wrong = |similarity: f64| (1.0 - similarity) / 2.0;
        let promise = 0.05;
        for seed in 0..10 {
            let rng = Rng::from_seed(seed);
            let mut calibration = Calibration::new(promise);
            let (mut served, mut wrong) = (0.0, 0.0);
            for _ in 0..8_000 {
                let similarity = 0.55 + 0.45 * rng.unit();
                let right = rng.unit() >= odds_of_wrong(similarity);
                let threshold = calibration.threshold(Difference::Other);
                let serves = threshold.is_some_and(|threshold| similarity as f32 >= threshold);
                if serves && rng.unit() >= 0.02 {
                    served += 1.0;
                    wrong += f64::from(u8::from(!right));
                } else {
                    calibration.learn(Difference::Other, similarity as f32, right);
                }
            }
            assert!(served > 50.0, "seed {seed} served {served}");
            assert!(wrong / served <= promise, "seed {seed}: {wrong} of {served}");
        }
    }

    #[test]
    fn what_was_learnt_is_bounded() {
        let mut calibration = Calibration::new(0.1);
        let kind = &mut calibration.kinds[0];
        (0..3 * MOST_LABELS).for_each(|_| kind.learn(1.0, true));
        let labels: u32 = calibration.kinds[0].bins.iter().map(|bin| bin.labels).sum();
        assert!(labels < MOST_LABELS);
        calibration.learn(Difference::Same, f32::NAN, true);
        calibration.learn(Difference::Same, -1.0, true);
    }
}
