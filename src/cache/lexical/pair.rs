//! Two texts beside each other, and in what they differ.

use super::difference::{Conflict, Difference};
use super::lists::TURNING;
use super::places::Places;
use super::vocabulary::Vocabulary;
use super::words::{Asks, Kind, Word, Words};

/// Two texts, and which words of each have no partner in the other. Nothing is allocated.
pub(super) struct Pair<'w> {
    a: Side<'w>,
    b: Side<'w>,
}

struct Side<'w> {
    words: &'w Words,
    alone: Places,
}

impl<'w> Side<'w> {
    fn alone(&self) -> impl Iterator<Item = &'w Word> {
        let words = &self.words.words;
        self.alone.iter().map(|at| &words[at])
    }

    fn text(&self, word: &Word) -> &'w str {
        self.words.text(word)
    }

    fn stem(&self, word: &Word) -> &'w str {
        self.words.stem(word)
    }

    fn kind(&self, kind: impl Fn(Kind) -> bool) -> impl Iterator<Item = &'w Word> {
        self.alone().filter(move |word| kind(word.kind))
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
        let goes = move |word: &Word| word.kind == Kind::Direction && self.text(word) == direction;
        let at = words.iter().enumerate().filter(move |(_, word)| goes(word));
        at.filter_map(move |(at, _)| {
            words[at + 1..].iter().take(3).find(|word| !matches!(word.kind, Kind::Empty))
        })
    }
}

impl<'w> Pair<'w> {
    pub(super) fn new(a: &'w Words, b: &'w Words) -> Self {
        let (mut alone, mut free) = (Places::default(), Places::first(b.words.len()));
        for (at, word) in a.words.iter().enumerate() {
            match free.iter().find(|&other| same(a, word, b, &b.words[other])) {
                Some(partner) => free.remove(partner),
                None => alone.insert(at),
            }
        }
        let mut pair = Self { a: Side { words: a, alone }, b: Side { words: b, alone: free } };
        join(&mut pair.a, &mut pair.b);
        join(&mut pair.b, &mut pair.a);
        pair
    }

    pub(super) fn conflict(&self) -> Option<Conflict> {
        type Check<'w> = fn(&Pair<'w>) -> bool;
        let checks: [(Conflict, Check<'w>); 6] = [
            (Conflict::Number, Self::other_numbers),
            (Conflict::Calendar, Self::other_times),
            (Conflict::Negation, Self::one_is_negative),
            (Conflict::Opposite, Self::opposites),
            (Conflict::Name, Self::other_names),
            (Conflict::Direction, Self::turned_round),
        ];
        checks.into_iter().find(|(_, found)| found(self)).map(|(conflict, _)| conflict)
    }

    pub(super) fn tier(&self) -> Difference {
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

    fn one_is_negative(&self) -> bool {
        self.a.is_negative() != self.b.is_negative()
    }

    fn opposites(&self) -> bool {
        let vocabulary = Vocabulary::get();
        self.a.alone().any(|a| {
            self.b.alone().any(|b| {
                vocabulary.exclude(a.senses, b.senses)
                    || (turning_may_make(a, b) && turns(self.a.text(a), self.b.text(b)))
                    || (turning_may_make(b, a) && turns(self.b.text(b), self.a.text(a)))
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
        let directions = self.a.words.words.iter().filter(|word| word.kind == Kind::Direction);
        directions.map(|word| self.a.text(word)).any(|direction| {
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
        (Kind::Content, Kind::Content) if x.name && y.name => {
            x.first == y.first
                && (a.stem(x) == b.stem(y)
                    || belongs(a.text(x), b.text(y))
                    || belongs(b.text(y), a.text(x)))
        }
        (Kind::Content, Kind::Content) if x.first != y.first => is_synonym(x, y),
        (Kind::Content, Kind::Content) => {
            is_synonym(x, y) || is_inflected(a, x, b, y) || misspelt(a.text(x), b.text(y))
        }
        (m, n) => m == n && x.first == y.first && a.text(x) == b.text(y),
    }
}

/// Whether `long` is the adjective of the name `short`, as "Indian" is of "India".
fn belongs(short: &str, long: &str) -> bool {
    let ending = long.strip_prefix(short).filter(|_| short.len() >= 4);
    ending
        .is_some_and(|ending| matches!(ending, "n" | "ns" | "an" | "ans" | "ian" | "ians" | "ese"))
}

/// Whether the lists give both words one meaning.
const fn is_synonym(x: &Word, y: &Word) -> bool {
    x.senses.meaning != 0 && x.senses.meaning == y.senses.meaning
}

/// Whether two words have one stem. What is in a group of meanings is in no other.
fn is_inflected(a: &Words, x: &Word, b: &Words, y: &Word) -> bool {
    x.senses.meaning == y.senses.meaning && a.stem(x) == b.stem(y)
}

/// Two words of `several` that are one word of `one` ("log in", "login") have found their partner.
fn join(one: &mut Side<'_>, several: &mut Side<'_>) {
    for at in one.alone.iter() {
        let word = &one.words.words[at];
        let is_pair = |pair: &[Word]| {
            word.len() == pair[0].len() + pair[1].len()
                && word.first == pair[0].first
                && one.text(word).strip_prefix(several.text(&pair[0]))
                    == Some(several.text(&pair[1]))
        };
        if let Some(first) = several.words.words.windows(2).position(is_pair) {
            one.alone.remove(at);
            several.alone.remove(first);
            several.alone.remove(first + 1);
        }
    }
}

/// The shortest word in which a slip of one letter is taken for one.
const LEAST_MISSPELT: usize = 5;

/// One letter more, less, or two that changed places, behind the first one.
fn misspelt(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() < LEAST_MISSPELT || long.len() - short.len() > 1 {
        return false;
    }
    let (short, long) = (short.as_bytes(), long.as_bytes());
    if short[0] != long[0] || !long.is_ascii() {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    if long.len() > short.len() {
        return short[same..] == long[same + 1..];
    }
    same + 1 < short.len()
        && short[same] == long[same + 1]
        && short[same + 1] == long[same]
        && short[same + 2..] == long[same + 2..]
}

/// Whether `long` is longer than `short` by as much as [`TURNING`] beginnings are long.
fn turning_may_make(short: &Word, long: &Word) -> bool {
    short.len() >= 3 && (2..=4).contains(&long.len().wrapping_sub(short.len()))
}

/// Whether `long` is `short` with a beginning that turns it round.
fn turns(short: &str, long: &str) -> bool {
    long.strip_suffix(short).is_some_and(|turning| TURNING.contains(&turning))
}
