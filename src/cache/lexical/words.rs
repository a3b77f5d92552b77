//! A text as the words the rules look at.

use super::vocabulary::{AMBIGUOUS, Senses, Vocabulary};

/// Questions are short; what follows this many words is compared by similarity alone. Texts cut here
/// are never taken for the same.
pub(super) const MOST_WORDS: usize = 256;

/// A text in lower case, and what its words are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Words {
    lower: String,
    pub(super) words: Vec<Word>,
    pub(super) cut: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    start: u32,
    end: u32,
    /// Where its stem ends.
    stem: u32,
    pub(super) senses: Senses,
    /// Its first byte: most words differ in it, and it lies at hand.
    pub(super) first: u8,
    pub(super) kind: Kind,
    /// What it asks for, where it is a word that asks.
    pub(super) asks: Option<Asks>,
    /// Written with a capital that neither the start of a sentence nor a title explains.
    pub(super) name: bool,
}

/// What a question wants to hear. A way, a thing and a yes are often asked for in one another's
/// words; these are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asks {
    Reason,
    Time,
    Place,
    Person,
    Amount,
}

/// What a word is to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grammar or politeness.
    Empty,
    /// In front of where something goes.
    Direction,
    /// Turns the sentence round.
    Negative,
    /// A number in digits.
    Digits,
    /// A number as a word.
    Number(u32),
    /// A day, a month or a moment.
    Calendar,
    /// What the question is about.
    Content,
}

impl Word {
    pub(super) const fn len(&self) -> u32 {
        self.end - self.start
    }
}

impl Words {
    /// Linear in the text.
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self { lower: String::new(), words: Vec::new(), cut: false };
        let mut starts_sentence = true;
        let mut pieces = Pieces { rest: text };
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Word(word) => {
                    if words.words.len() == MOST_WORDS {
                        words.cut = true;
                        break;
                    }
                    words.add(word, starts_sentence);
                    starts_sentence = false;
                }
                Piece::Other(c) => {
                    starts_sentence |= matches!(c, '.' | '?' | '!' | ':' | '"' | '\n');
                }
            }
        }
        words.forgive_titles();
        words.lower.shrink_to_fit();
        words.words.shrink_to_fit();
        words
    }

    /// Bytes of memory, those on the heap included.
    pub(crate) const fn bytes(&self) -> usize {
        size_of::<Self>() + self.lower.capacity() + self.words.capacity() * size_of::<Word>()
    }

    pub(super) fn text(&self, word: &Word) -> &str {
        &self.lower[word.start as usize..word.end as usize]
    }

    pub(super) fn stem(&self, word: &Word) -> &str {
        &self.lower[word.start as usize..word.stem as usize]
    }

    fn add(&mut self, word: &str, starts_sentence: bool) {
        let start = self.lower.len();
        self.push_lower(word);
        let text = &self.lower[start..];
        let kind = kind(text, word, self.words.last().map(|word| word.kind));
        let stem = stem_length(text);
        let senses = Vocabulary::get().senses(&text[..stem]);
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let alone = word.chars().count() == 1;
        let several = word.chars().skip(1).any(char::is_uppercase);
        let name = capital && !alone && (!starts_sentence || several);
        let asks = self.asks(text);
        let first = text.bytes().next().unwrap_or_default();
        let [start, end, stem] = [start, self.lower.len(), start + stem].map(|at| at as u32);
        self.words.push(Word { start, end, stem, senses, first, kind, asks, name });
    }

    fn push_lower(&mut self, word: &str) {
        let start = self.lower.len();
        if word.is_ascii() && !word.contains(is_apostrophe) {
            self.lower.push_str(word);
            return self.lower[start..].make_ascii_lowercase();
        }
        for c in word.chars().filter(|c| !is_apostrophe(*c)) {
            self.lower.extend(c.to_lowercase());
        }
    }

    fn asks(&self, word: &str) -> Option<Asks> {
        let after_how = || self.words.last().is_some_and(|before| self.text(before) == "how");
        match word {
            "why" => Some(Asks::Reason),
            "when" => Some(Asks::Time),
            "where" => Some(Asks::Place),
            "who" | "whom" | "whose" => Some(Asks::Person),
            "many" | "much" | "long" | "far" | "often" if after_how() => Some(Asks::Amount),
            _ => None,
        }
    }

    /// Where most words have a capital, it is the style and says nothing.
    fn forgive_titles(&mut self) {
        let names = self.words.iter().filter(|word| word.name).count();
        let plain =
            self.words.iter().filter(|word| !word.name && word.kind == Kind::Content).count();
        if names > 3 && names > 2 * plain {
            self.words.iter_mut().for_each(|word| word.name = false);
        }
    }
}

fn kind(lower: &str, written: &str, before: Option<Kind>) -> Kind {
    if lower.starts_with(|c: char| c.is_ascii_digit()) {
        return Kind::Digits;
    }
    // "7am" is a number and a moment, "I am" is neither; "May" is a month, "may" is not.
    let moment = match lower {
        "am" => before == Some(Kind::Digits),
        _ => AMBIGUOUS.contains(&lower) && written.starts_with('M'),
    };
    if moment {
        return Kind::Calendar;
    }
    Vocabulary::get().kind(lower).unwrap_or(Kind::Content)
}

/// Endings that do not change what a word is about, longest first, with what must stay in front.
const ENDINGS: &[(&str, usize)] = &[
    ("ingly", 4),
    ("edly", 4),
    ("ies", 2),
    ("ing", 4),
    ("ied", 2),
    ("ed", 3),
    ("es", 3),
    ("ly", 4),
    ("s", 3),
    ("e", 3),
    ("y", 3),
];

pub(super) fn stem_length(word: &str) -> usize {
    if !word.is_ascii() || word.ends_with("ss") {
        return word.len();
    }
    let ending = ENDINGS
        .iter()
        .find(|(ending, stays)| word.len() >= stays + ending.len() && word.ends_with(ending));
    let mut stem = ending.map_or(word.len(), |(ending, _)| word.len() - ending.len());
    let bytes = word.as_bytes();
    // "planning" is of "plan".
    if stem > 3
        && stem + 2 < bytes.len()
        && bytes[stem - 1] == bytes[stem - 2]
        && !matches!(bytes[stem - 1], b'l' | b's')
    {
        stem -= 1;
    }
    if stem > 3 && stem < bytes.len() && bytes[stem - 1] == b'e' {
        stem -= 1;
    }
    stem
}

enum Piece<'t> {
    Word(&'t str),
    Other(char),
}

/// Letters with the apostrophes between them, digits with their separators, and the rest.
struct Pieces<'t> {
    rest: &'t str,
}

const fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

impl<'t> Pieces<'t> {
    fn next(&mut self) -> Option<Piece<'t>> {
        let first = self.rest.chars().next()?;
        let end = if first.is_ascii_digit() {
            self.digits()
        } else if first.is_alphabetic() {
            self.letters()
        } else {
            self.rest = &self.rest[first.len_utf8()..];
            return Some(Piece::Other(first));
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Piece::Word(word))
    }

    fn letters(&self) -> usize {
        let end = self.rest.find(|c: char| !c.is_alphabetic() && !is_apostrophe(c));
        let word = &self.rest[..end.unwrap_or(self.rest.len())];
        // "what's" is of "what", "I've" of "I", "residents'" of "residents"; "don't" is not of "don".
        let whole = word.trim_end_matches(is_apostrophe);
        match whole.split_once(is_apostrophe) {
            Some((front, "t" | "T")) if front.ends_with(['n', 'N']) => whole.len(),
            Some((front, behind)) if behind.len() <= 2 && !front.is_empty() => front.len(),
            _ => whole.len(),
        }
    }

    fn digits(&self) -> usize {
        let inside = |(at, c): &(usize, char)| {
            let digit_follows =
                self.rest[at + c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
            c.is_ascii_digit() || (matches!(c, '.' | ',' | ':' | '/') && digit_follows)
        };
        self.rest.char_indices().find(|piece| !inside(piece)).map_or(self.rest.len(), |(at, _)| at)
    }
}
