//! When two texts are the same text.

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::feed::Feed;

/// Longer texts are compared byte by byte: composing costs some 25 us a kilobyte.
const MOST_COMPOSED_BYTES: usize = 64 << 10;

/// What is taken for the same last user text by the exact tier. Everything else of a request is
/// compared as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Normalizer {
    /// White space around the text does not count, nor, up to 64 KiB, in which Unicode form (NFC or
    /// NFD) it is. The case of letters does count: `US` is not `us`.
    #[default]
    Canonical,
    /// White space around the text and the case of its letters do not count. Wrong for code and for
    /// whatever tells words apart by their case.
    CaseFold,
    /// Every byte counts.
    Verbatim,
}

impl Normalizer {
    pub(super) const fn tag(self) -> u8 {
        match self {
            Self::Canonical => 0,
            Self::CaseFold => 1,
            Self::Verbatim => 2,
        }
    }

    /// Feeds the normal form of `text`, which must be the last that is fed.
    pub(super) fn feed(self, text: &str, feed: &mut Feed) {
        match self {
            Self::Verbatim => feed.raw(text.as_bytes()),
            Self::Canonical => canonical(text.trim(), feed),
            Self::CaseFold if text.is_ascii() => lower_ascii(text.trim(), feed),
            Self::CaseFold => canonical(&text.trim().to_lowercase(), feed),
        }
    }
}

fn canonical(text: &str, feed: &mut Feed) {
    let plain = text.is_ascii()
        || text.len() > MOST_COMPOSED_BYTES
        || is_nfc_quick(text.chars()) == IsNormalized::Yes;
    if plain {
        return feed.raw(text.as_bytes());
    }
    let mut utf8 = [0; 4];
    text.nfc().for_each(|c| feed.raw(c.encode_utf8(&mut utf8).as_bytes()));
}

fn lower_ascii(text: &str, feed: &mut Feed) {
    let mut lower = [0; 256];
    for piece in text.as_bytes().chunks(lower.len()) {
        let lower = &mut lower[..piece.len()];
        lower.copy_from_slice(piece);
        lower.make_ascii_lowercase();
        feed.raw(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(normalizer: Normalizer, a: &str, b: &str) -> bool {
        let of = |text: &str| {
            let mut feed = Feed::new([9; 4]);
            normalizer.feed(text, &mut feed);
            feed.finish()
        };
        of(a) == of(b)
    }

    #[test]
    fn space_around_and_unicode_form_do_not_count_but_case_does() {
        let canonical = Normalizer::Canonical;
        assert!(same(canonical, " what is it?\n", "what is it?"));
        assert!(same(canonical, "caf\u{e9}", "cafe\u{301}"));
        assert!(!same(canonical, "Help US now", "Help us now"));
        assert!(!same(canonical, "a  b", "a b"));
    }

    #[test]
    fn case_counts_for_nothing_where_it_was_chosen() {
        let fold = Normalizer::CaseFold;
        assert!(same(fold, " What IS it? ", "what is it?"));
        assert!(same(fold, "CAF\u{c9}", "cafe\u{301}"));
        let long = "A".repeat(1_000);
        assert!(same(fold, &long, &long.to_lowercase()));
        assert!(!same(Normalizer::Verbatim, "a", "a "));
    }

    #[test]
    fn very_long_texts_are_compared_byte_by_byte() {
        let long = |accent: &str| format!("{}{accent}", "x".repeat(MOST_COMPOSED_BYTES));
        assert!(!same(Normalizer::Canonical, &long("\u{e9}"), &long("e\u{301}")));
        assert!(same(Normalizer::Canonical, &long("e\u{301}"), &long("e\u{301}")));
    }
}
