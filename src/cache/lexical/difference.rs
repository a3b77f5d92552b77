//! The rules: from two lists of words to one verdict.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::lists::{OPPOSITES, TURNING};
use super::words::{Asks, Kind, Word, Words, stem_length};

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

    /// How two texts differ. Linear in them, a microsecond for a question; what follows the first
    /// 256 words counts as a difference.
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

/// Two texts, and which words of each have no partner in the other.
struct Pair<'w> {
    a: Side<'w>,
    b: Side<'w>,
}

struct Side<'w> {
    words: &'w Words,
    alone: Vec<&'w Word>,
}

impl<'w> Side<'w> {
    fn text(&self, word: &Word) -> &'w str {
        self.words.text(word)
    }

    fn stem(&self, word: &Word) -> &'w str {
        self.words.stem(word)
    }

    fn kind(&self, kind: impl Fn(Kind) -> bool) -> impl Iterator<Item = &'w Word> {
        self.alone.iter().copied().filter(move |word| kind(word.kind))
    }

    fn has(&self, stem: &str) -> bool {
        self.words.words.iter().any(|word| self.stem(word) == stem)
    }

    /// Whether the sentence is turned round: an even number of turns is none.
    fn is_negative(&self) -> bool {
        let words = self.words.words.iter().enumerate();
        let negative = words.filter(|(at, word)| word.kind == Kind::Negative && !self.is_open(*at));
        negative.count() % 2 == 1
    }

    /// "... or why not?" leaves the question open.
    fn is_open(&self, at: usize) -> bool {
        let before = &self.words.words[at.saturating_sub(2)..at];
        before.iter().any(|word| self.text(word) == "or")
    }

    fn asks(&self) -> Option<Asks> {
        self.words.words.iter().filter_map(|word| word.asks).min()
    }

    fn content(&self) -> impl Iterator<Item = &'w Word> {
        self.kind(|kind| matches!(kind, Kind::Content | Kind::Number(_)))
    }

    /// The subject words that stand right behind a word of direction.
    fn targets(&self, direction: &str) -> impl Iterator<Item = &'w Word> {
        let words = &self.words.words;
        let at = words.iter().enumerate().filter(move |(_, word)| self.text(word) == direction);
        at.filter_map(move |(at, _)| {
            words[at + 1..].iter().take(3).find(|word| !matches!(word.kind, Kind::Empty))
        })
    }
}

impl<'w> Pair<'w> {
    fn new(a: &'w Words, b: &'w Words) -> Self {
        let mut taken = vec![false; b.words.len()];
        let mut alone = Vec::new();
        for word in &a.words {
            let partner =
                (0..b.words.len()).find(|&at| !taken[at] && same(a, word, b, &b.words[at]));
            match partner {
                Some(at) => taken[at] = true,
                None => alone.push(word),
            }
        }
        let rest = b.words.iter().zip(taken).filter(|(_, taken)| !taken).map(|(word, _)| word);
        let mut pair =
            Self { a: Side { words: a, alone }, b: Side { words: b, alone: rest.collect() } };
        join(&mut pair.a, &mut pair.b);
        join(&mut pair.b, &mut pair.a);
        pair
    }

    fn conflict(&self) -> Option<Conflict> {
        let checks = [
            (Conflict::Number, self.other_numbers()),
            (Conflict::Calendar, self.other_times()),
            (Conflict::Negation, self.a.is_negative() != self.b.is_negative()),
            (Conflict::Opposite, self.opposites()),
            (Conflict::Name, self.other_names()),
            (Conflict::Direction, self.turned_round()),
        ];
        checks.into_iter().find(|(_, found)| *found).map(|(conflict, _)| conflict)
    }

    fn tier(&self) -> Difference {
        let alone = (self.a.content().count(), self.b.content().count());
        match alone {
            _ if self.a.words.cut || self.b.words.cut => Difference::Other,
            (0, 0) if self.a.asks() == self.b.asks() => Difference::Same,
            (0, 0) | (1, 1) | (1, 0) | (0, 1) => Difference::Substituted,
            _ => Difference::Other,
        }
    }

    /// A number in digits without its partner, unless it is "1", which may be an article; a number as
    /// a word only against another one, since "one" and "second" are often no numbers.
    fn other_numbers(&self) -> bool {
        let digits = |side: &Side<'_>| {
            side.kind(|kind| kind == Kind::Digits).any(|word| side.text(word) != "1")
        };
        let number = |kind| matches!(kind, Kind::Number(_) | Kind::Digits);
        let any = |side: &Side<'_>| side.kind(number).next().is_some();
        digits(&self.a) || digits(&self.b) || (any(&self.a) && any(&self.b))
    }

    fn other_times(&self) -> bool {
        let time = |side: &Side<'_>| side.kind(|kind| kind == Kind::Calendar).next().is_some();
        time(&self.a) || time(&self.b)
    }

    fn opposites(&self) -> bool {
        self.a.alone.iter().any(|a| {
            self.b.alone.iter().any(|b| {
                exclude(self.a.stem(a), self.b.stem(b))
                    || turns(self.a.text(a), self.b.text(b))
                    || turns(self.b.text(b), self.a.text(a))
            })
        })
    }

    /// A name on one side, and on the other another word in its place. A name that was only added
    /// narrows the question, as any word that was added does.
    fn other_names(&self) -> bool {
        let name = |side: &Side<'_>| side.kind(|kind| kind == Kind::Content).any(|word| word.name);
        let any = |side: &Side<'_>| side.content().next().is_some();
        (name(&self.a) && any(&self.b)) || (name(&self.b) && any(&self.a))
    }

    /// The words stand on both sides, but go the other way.
    fn turned_round(&self) -> bool {
        super::lists::DIRECTIONS.iter().any(|direction| {
            let crossed = |from: &Side<'_>, to: &Side<'_>| {
                from.targets(direction).any(|word| {
                    let stem = from.stem(word);
                    to.has(stem) && !to.targets(direction).any(|other| to.stem(other) == stem)
                })
            };
            crossed(&self.a, &self.b) && crossed(&self.b, &self.a)
        })
    }
}

/// Whether two words stand for the same.
fn same(a: &Words, x: &Word, b: &Words, y: &Word) -> bool {
    match (x.kind, y.kind) {
        (Kind::Digits, Kind::Number(n)) => a.text(x).parse() == Ok(n),
        (Kind::Number(n), Kind::Digits) => b.text(y).parse() == Ok(n),
        (Kind::Number(m), Kind::Number(n)) => m == n,
        (Kind::Digits, Kind::Digits) => a.text(x) == b.text(y),
        (Kind::Content, Kind::Content) if x.name && y.name => {
            a.stem(x) == b.stem(y) || belongs(a.text(x), b.text(y)) || belongs(b.text(y), a.text(x))
        }
        (Kind::Content, Kind::Content) => {
            a.meaning(x) == b.meaning(y) || misspelt(a.text(x), b.text(y))
        }
        (m, n) => m == n && a.text(x) == b.text(y),
    }
}

/// Whether `long` is the adjective of the name `short`, as "Indian" is of "India".
fn belongs(short: &str, long: &str) -> bool {
    let ending = long.strip_prefix(short).filter(|_| short.len() >= 4);
    ending
        .is_some_and(|ending| matches!(ending, "n" | "ns" | "an" | "ans" | "ian" | "ians" | "ese"))
}

/// Two words of `several` that are one word of `one` ("log in", "login") have found their partner.
fn join(one: &mut Side<'_>, several: &mut Side<'_>) {
    let mut at = 0;
    while at < one.alone.len() {
        let whole = one.text(one.alone[at]);
        let is_pair = |pair: &[Word]| {
            whole.strip_prefix(several.text(&pair[0])) == Some(several.text(&pair[1]))
        };
        match several.words.words.windows(2).find(|pair| is_pair(pair)) {
            Some(pair) => {
                one.alone.remove(at);
                several.alone.retain(|word| !pair.contains(word));
            }
            None => at += 1,
        }
    }
}

/// The shortest word in which a slip of one letter is taken for one.
const LEAST_MISSPELT: usize = 5;

/// One letter more, less, or two that changed places, behind the first one.
fn misspelt(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() < LEAST_MISSPELT || long.len() - short.len() > 1 || !long.is_ascii() {
        return false;
    }
    let (short, long) = (short.as_bytes(), long.as_bytes());
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    if same == 0 {
        return false;
    }
    if long.len() > short.len() {
        return short[same..] == long[same + 1..];
    }
    same + 1 < short.len()
        && short[same] == long[same + 1]
        && short[same + 1] == long[same]
        && short[same + 2..] == long[same + 2..]
}

/// Whether `long` is `short` with a beginning that turns it round.
fn turns(short: &str, long: &str) -> bool {
    short.len() >= 3 && TURNING.iter().any(|turning| long.strip_prefix(turning) == Some(short))
}

/// Whether two stems are opposites.
fn exclude(a: &str, b: &str) -> bool {
    static PAIRS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(opposites);
    PAIRS.binary_search(&(a, b)).is_ok()
}

/// The stems of the list, in both orders, sorted.
fn opposites() -> Vec<(&'static str, &'static str)> {
    let stem = |word: &'static str| &word[..stem_length(word)];
    let mut pairs = Vec::new();
    for line in OPPOSITES.split_whitespace() {
        let Some((word, others)) = line.split_once(':') else { continue };
        for other in others.split(',') {
            pairs.extend([(stem(word), stem(other)), (stem(other), stem(word))]);
        }
    }
    pairs.sort_unstable();
    pairs
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

    #[test]
    fn the_lists_are_sorted_for_bisection() {
        use super::super::lists::{CALENDAR, DIRECTIONS, EMPTY, NEGATIVE};
        assert!([CALENDAR, DIRECTIONS, EMPTY, NEGATIVE].iter().all(|list| list.is_sorted()));
    }
}
