//! The rules, without what is around them.

use serde::{Deserialize, Serialize};

use super::calibrated::Calibration;
use super::labellers::Labellers;
use crate::cache::key::ScopeKey;
use crate::cache::lexical::Difference;
use crate::error::BuildError;

/// When a similar question's answer is served.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// From this cosine on, whatever the words say. Blind to what embeddings do not see: "enable"
    /// and "disable" are close. The default, at 0.97.
    Threshold(f32),
    /// By how the words differ: never where they [conflict](crate::cache::Conflict), else from these
    /// cosines on. The right figures depend on the embedder; [`Decision::tiered`] has those for
    /// sentence encoders such as all-MiniLM-L6-v2.
    Tiered {
        /// Where the words are the same but for grammar and order.
        same: f32,
        /// Where one word was put in the place of another, or one was added.
        substituted: f32,
        /// Where several words differ.
        other: f32,
    },
    /// Learns for each kind of difference from which cosine on at most this part of what it serves is
    /// wrong, and serves nothing until it can tell. It needs an
    /// [`AnswerJudge`](crate::cache::AnswerJudge).
    Calibrated {
        /// The most wrong answers among those it serves, in `(0, 0.5]`.
        max_wrong_per_hit: f64,
    },
}

impl Default for Decision {
    fn default() -> Self {
        Self::Threshold(0.97)
    }
}

impl Decision {
    /// Tiers for sentence encoders. On labelled questions with all-MiniLM-L6-v2 these serve three
    /// times what a threshold of 0.97 does, and none of the traps that differ in one word.
    #[must_use]
    pub const fn tiered() -> Self {
        Self::Tiered { same: 0.84, substituted: 0.94, other: 0.89 }
    }

    /// At most `max_wrong_per_hit` wrong answers among those served.
    #[must_use]
    pub const fn calibrated(max_wrong_per_hit: f64) -> Self {
        Self::Calibrated { max_wrong_per_hit }
    }

    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        match *self {
            Self::Threshold(threshold) => similarity("decision.threshold", threshold),
            Self::Tiered { same, substituted, other } => {
                similarity("decision.same", same)?;
                similarity("decision.substituted", substituted)?;
                similarity("decision.other", other)
            }
            Self::Calibrated { max_wrong_per_hit } => {
                let possible = max_wrong_per_hit > 0.0 && max_wrong_per_hit <= 0.5;
                let field = "decision.max_wrong_per_hit";
                possible.then_some(()).ok_or_else(|| BuildError::new(field, "must be in (0, 0.5]"))
            }
        }
    }
}

pub(crate) fn similarity(field: &'static str, value: f32) -> Result<(), BuildError> {
    let possible = value > 0.0 && value <= 1.0;
    possible.then_some(()).ok_or_else(|| BuildError::new(field, "a similarity is in (0, 1]"))
}

/// A decision with what it has learnt. Pure.
#[derive(Debug)]
pub(crate) struct Rule {
    decision: Decision,
    pub(crate) calibration: Option<Calibration>,
    labellers: Labellers,
}

/// Pairs below this teach nothing: nobody would serve them.
const LEAST_TAUGHT: f32 = 0.55;

impl Rule {
    /// One scope gives at most the part `label_share` of the labels, where others give some too.
    pub(crate) fn new(decision: Decision, label_share: f64) -> Self {
        let calibration = match decision {
            Decision::Calibrated { max_wrong_per_hit } => Some(Calibration::new(max_wrong_per_hit)),
            _ => None,
        };
        Self { decision, calibration, labellers: Labellers::new(label_share) }
    }

    /// The lowest similarity of a pair that has to be looked at.
    pub(crate) fn floor(decision: Decision) -> f32 {
        match decision {
            Decision::Threshold(threshold) => threshold,
            Decision::Tiered { same, substituted, other } => same.min(substituted).min(other),
            Decision::Calibrated { .. } => LEAST_TAUGHT,
        }
    }

    /// Whether words count at all.
    pub(crate) const fn reads_words(decision: Decision) -> bool {
        !matches!(decision, Decision::Threshold(_))
    }

    /// From which similarity on a pair that differs so is served; `None` for never.
    pub(crate) fn threshold(&self, difference: Difference) -> Option<f32> {
        match (self.decision, difference) {
            (Decision::Threshold(threshold), _) => Some(threshold),
            (_, Difference::Conflict(_)) => None,
            (Decision::Tiered { same, substituted, other }, _) => Some(match difference {
                Difference::Same => same,
                Difference::Substituted => substituted,
                Difference::Other | Difference::Conflict(_) => other,
            }),
            (Decision::Calibrated { .. }, _) => self.calibration.as_ref()?.threshold(difference),
        }
    }

    /// Whether its thresholds come from what was learnt.
    pub(crate) const fn learns(&self) -> bool {
        self.calibration.is_some()
    }

    /// Goes on from what another has learnt of the same embedder. What does not fit is left alone.
    pub(crate) fn adopt(&mut self, learnt: Calibration) {
        if let Some(calibration) = &mut self.calibration {
            calibration.adopt(learnt);
        }
    }

    /// Takes over that an answer served, or would have served, right or wrong, unless its scope has
    /// taught enough.
    pub(crate) fn learn(&mut self, scope: ScopeKey, pair: (Difference, f32), right: bool) {
        let Some(calibration) = &mut self.calibration else { return };
        if self.labellers.admit(scope) {
            let (difference, similarity) = pair;
            calibration.learn(difference, similarity, right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::lexical::Conflict;

    #[test]
    fn words_decide_from_which_similarity_on() {
        let tiers = Decision::Tiered { same: 0.8, substituted: 0.9, other: 0.85 };
        let rule = Rule::new(tiers, 1.0);
        assert_eq!(rule.threshold(Difference::Same), Some(0.8));
        assert_eq!(rule.threshold(Difference::Substituted), Some(0.9));
        assert_eq!(rule.threshold(Difference::Other), Some(0.85));
        assert_eq!(rule.threshold(Difference::Conflict(Conflict::Number)), None);
        assert_eq!(Rule::floor(tiers), 0.8);
    }

    #[test]
    fn a_threshold_does_not_read() {
        let rule = Rule::new(Decision::Threshold(0.9), 1.0);
        assert_eq!(rule.threshold(Difference::Conflict(Conflict::Number)), Some(0.9));
    }

    #[test]
    fn figures_that_are_none_are_refused_by_name() {
        for (decision, field) in [
            (Decision::Threshold(0.0), "decision.threshold"),
            (Decision::Threshold(f32::NAN), "decision.threshold"),
            (Decision::Tiered { same: 0.8, substituted: 1.1, other: 0.9 }, "decision.substituted"),
            (Decision::calibrated(0.0), "decision.max_wrong_per_hit"),
            (Decision::calibrated(f64::NAN), "decision.max_wrong_per_hit"),
        ] {
            assert_eq!(decision.validate().unwrap_err().field(), field);
        }
        assert_eq!(Decision::default().validate(), Ok(()));
        assert_eq!(Decision::tiered().validate(), Ok(()));
    }
}
