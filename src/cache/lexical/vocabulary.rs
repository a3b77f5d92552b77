//! The lists, made ready for looking words up.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::lists::{CALENDAR, DIRECTIONS, EMPTY, INTERCHANGEABLE, NEGATIVE, OPPOSITES, numbers};
use super::words::{Kind, stem_length};

/// What the lists say, by word and by stem.
pub(super) struct Vocabulary {
    kinds: HashMap<&'static str, Kind>,
    stems: HashMap<&'static str, Senses>,
    /// The senses that exclude one another, in both orders, sorted.
    opposites: Vec<(u16, u16)>,
}

/// What the lists say of a stem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Senses {
    /// Numbers the words that may stand for one another; 0 for a stem that is in no such group.
    pub(super) meaning: u16,
    /// Numbers the stems that have opposites; 0 for one that has none.
    pub(super) opposite: u16,
}

/// Months and moments that are other words as well: what is around them tells.
pub(super) const AMBIGUOUS: [&str; 3] = ["am", "march", "may"];

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);

impl Vocabulary {
    pub(super) fn get() -> &'static Self {
        &VOCABULARY
    }

    /// The kind of a word in lower case that is listed, whatever is around it.
    pub(super) fn kind(&self, word: &str) -> Option<Kind> {
        self.kinds.get(word).copied()
    }

    pub(super) fn senses(&self, stem: &str) -> Senses {
        self.stems.get(stem).copied().unwrap_or_default()
    }

    pub(super) fn exclude(&self, a: Senses, b: Senses) -> bool {
        a.opposite != 0
            && b.opposite != 0
            && self.opposites.binary_search(&(a.opposite, b.opposite)).is_ok()
    }

    fn new() -> Self {
        let mut vocabulary = Self { kinds: kinds(), stems: HashMap::new(), opposites: Vec::new() };
        vocabulary.add_meanings();
        vocabulary.add_opposites();
        vocabulary
    }

    fn add_meanings(&mut self) {
        let groups: Vec<_> = lines(INTERCHANGEABLE).collect();
        let stands_for: HashMap<_, _> = groups
            .iter()
            .flat_map(|(word, others)| others.clone().map(|other| (stem(other), stem(word))))
            .collect();
        let mut numbers = HashMap::new();
        for (word, others) in groups {
            for stem in [word].into_iter().chain(others).map(stem) {
                let first = stands_for.get(stem).copied().unwrap_or(stem);
                let next = numbers.len() as u16 + 1;
                let number = *numbers.entry(first).or_insert(next);
                self.stems.entry(stem).or_default().meaning = number;
            }
        }
    }

    fn add_opposites(&mut self) {
        let mut count = 0;
        for (word, others) in lines(OPPOSITES) {
            for other in others {
                let [a, b] = [word, other].map(|word| {
                    let opposite = &mut self.stems.entry(stem(word)).or_default().opposite;
                    if *opposite == 0 {
                        count += 1;
                        *opposite = count;
                    }
                    *opposite
                });
                self.opposites.extend([(a, b), (b, a)]);
            }
        }
        self.opposites.sort_unstable();
    }
}

/// A word that is in several lists is what the last of them says.
fn kinds() -> HashMap<&'static str, Kind> {
    let all = |list: &'static [&'static str], kind| list.iter().map(move |word| (*word, kind));
    let times = all(CALENDAR, Kind::Calendar).filter(|(word, _)| !AMBIGUOUS.contains(word));
    numbers()
        .map(|(word, number)| (word, Kind::Number(number)))
        .chain(all(EMPTY, Kind::Empty))
        .chain(all(DIRECTIONS, Kind::Direction))
        .chain(all(NEGATIVE, Kind::Negative))
        .chain(times)
        .collect()
}

/// The lines of a list "word:other,other".
fn lines(
    list: &'static str,
) -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str> + Clone)> {
    let pairs = list.split_whitespace().filter_map(|line| line.split_once(':'));
    pairs.map(|(word, others)| (word, others.split(',')))
}

fn stem(word: &'static str) -> &'static str {
    &word[..stem_length(word)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_group_have_one_meaning_and_others_none() {
        let senses = |word: &'static str| Vocabulary::get().senses(stem(word));
        assert_eq!(senses("purchases").meaning, senses("buy").meaning);
        assert_ne!(senses("purchases").meaning, senses("begin").meaning);
        assert_eq!(senses("passport"), Senses::default());
    }

    #[test]
    fn opposites_exclude_one_another_in_both_orders() {
        let vocabulary = Vocabulary::get();
        let [accept, reject, other] =
            ["accepted", "reject", "passport"].map(|word| vocabulary.senses(stem(word)));
        assert!(vocabulary.exclude(accept, reject) && vocabulary.exclude(reject, accept));
        assert!(!vocabulary.exclude(accept, accept) && !vocabulary.exclude(accept, other));
    }
}
