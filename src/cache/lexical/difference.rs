//! The verdict on two texts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pair::Pair;
use super::words::Words;

/// How two questions differ, by their words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// In nothing but grammar, order and politeness.
    Same,
    /// One word about the subject stands in the place of another, or one was added.
    Substituted,
    /// In several words.
    Other,
    /// In something that changes the answer.
    Conflict(Conflict),
}

/// A difference that changes the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Conflict {
    /// Other numbers.
    Number,
    /// Other days, months or moments.
    Calendar,
    /// One is turned round, the other is not.
    Negation,
    /// A word and one that excludes it.
    Opposite,
    /// Other names.
    Name,
    /// The same words, the other way round.
    Direction,
}

impl Difference {
    /// A stable label of low cardinality, for events and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Substituted => "substituted",
            Self::Other => "other",
            Self::Conflict(conflict) => conflict.label(),
        }
    }

    /// How two texts differ; what follows the first 256 words counts as a difference.
    ///
    /// Some microseconds for two questions, most of them to read the texts. Each word of one that has
    /// no partner in the other is compared with all words of that.
    #[must_use]
    pub fn between(a: &str, b: &str) -> Self {
        Self::of(&Words::of(a), &Words::of(b))
    }

    pub(crate) fn of(a: &Words, b: &Words) -> Self {
        let pair = Pair::new(a, b);
        match pair.conflict() {
            Some(conflict) => Self::Conflict(conflict),
            None => pair.tier(),
        }
    }
}

impl Conflict {
    /// A stable label of low cardinality.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Calendar => "calendar",
            Self::Negation => "negation",
            Self::Opposite => "opposite",
            Self::Name => "name",
            Self::Direction => "direction",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Difference::{Other, Same, Substituted};

    #[track_caller]
    fn expect(expected: Difference, pairs: &[(&str, &str)]) {
        for (a, b) in pairs {
            assert_eq!(Difference::between(a, b), expected, "{a} | {b}");
            assert_eq!(Difference::between(b, a), expected, "{b} | {a}");
        }
    }

    #[test]
    fn grammar_order_politeness_and_slips_are_no_difference() {
        expect(
            Same,
            &[
                ("How do I renew my passport?", "hi, how can I renew the passport please"),
                ("Where do I send the meter readings?", "where should I send a meter reading"),
                ("How do I change my address?", "How do I chnage my adress?"),
                ("Residents' parking permit", "parking permit for residents"),
                ("How do I log in?", "how do I login"),
                ("a table for two", "a table for 2"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn one_word_that_was_swapped_or_added_is_a_substitution() {
        expect(
            Substituted,
            &[
                ("How do I cook rice?", "How do I cook quinoa?"),
                ("What are the symptoms of flu?", "What are the symptoms of flu in babies?"),
                ("When did the shop start?", "Why did the shop start?"),
            ],
        );
        expect(Other, &[("How do I cook rice quickly at home?", "Which pans do chefs like?")]);
    }

    #[test]
    fn what_changes_the_answer_conflicts() {
        let cases = [
            (Conflict::Number, "Convert 100 USD", "Convert 1000 USD"),
            (Conflict::Number, "a table for two", "a table for three"),
            (Conflict::Calendar, "Remind me at 7am", "Remind me at 7pm"),
            (Conflict::Calendar, "my bill in January", "my bill in June"),
            (Conflict::Negation, "Cancel my order", "Don't cancel my order"),
            (Conflict::Negation, "Is it refundable?", "Is it non-refundable?"),
            (Conflict::Opposite, "How do I enable it?", "How do I disable it?"),
            (Conflict::Opposite, "was it successful", "was it unsuccessful"),
            (Conflict::Name, "Do you fly to Canada?", "Do you fly to China?"),
            (Conflict::Direction, "from Word to PDF", "from PDF to Word"),
        ];
        for (conflict, a, b) in cases {
            expect(Difference::Conflict(conflict), &[(a, b)]);
        }
    }

    #[test]
    fn whether_or_not_is_no_negation() {
        expect(Same, &[("Do you trust luck? Why or why not?", "Why do you trust luck?")]);
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        let long = "word ".repeat(10_000);
        assert_eq!(Difference::between(&long, &long), Other);
        for text in ["''''", "1,.,2", "\u{130}\u{130}x", "\u{4f60}\u{597d}", "a'", "\u{301}"] {
            assert_ne!(Difference::between(text, "\u{df}\u{1f980} 3."), Same, "{text}");
        }
    }
}
