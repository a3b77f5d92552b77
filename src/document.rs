//! Reading a configuration without repeating what it says: a key may stand where none belongs.

use serde::de::{Deserialize, Deserializer};

use crate::error::BuildError;

/// How serde introduces a text of the document that has the wrong type or value.
const QUOTED: &str = "string \"";

/// The longest word that an error repeats from the document. Names of fields and variants are shorter,
/// keys are longer.
const LONGEST_WORD: usize = 24;

/// Reads a `T`; an error names the field at fault by its path, and shows neither the document, as some
/// formats' own errors do, nor a long text that stands in it.
pub(crate) fn read<'de, T, D>(deserializer: D) -> Result<T, BuildError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = without_long_name(&error.path().to_string());
        let message = without_excerpt(&error.into_inner().to_string());
        BuildError::new(path, without_long_words(&without_texts(&message)))
    })
}

/// `message` in one line, without those of the document itself: `2 | key = 3` and `  |       ^`.
fn without_excerpt(message: &str) -> String {
    let margin = |c: char| c.is_ascii_digit() || c == ' ';
    let told = message.lines().filter(|line| !line.trim_start_matches(margin).starts_with('|'));
    told.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// `invalid type: string "..", expected a number` without what stands between the quotes.
fn without_texts(message: &str) -> String {
    let mut told = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(QUOTED) {
        told.push_str(&rest[..at]);
        told.push_str("a text");
        rest = after_quote(&rest[at + QUOTED.len()..]);
    }
    told + rest
}

/// What follows the quote that ends a text. A backslash takes the next character with it.
fn after_quote(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == '"' && !escaped {
            return &text[at + 1..];
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

/// ``unknown field `..`, expected `a` ``: a long word between ticks is left out.
fn without_long_words(message: &str) -> String {
    let parts: Vec<_> = message.split('`').collect();
    let told = parts.iter().enumerate().map(|(at, part)| {
        let inside = at % 2 == 1;
        if inside && part.len() > LONGEST_WORD { ".." } else { part }
    });
    told.collect::<Vec<_>>().join("`")
}

/// `providers.east.key`: a last name that is no field of ours may be a key, and is left out then.
fn without_long_name(path: &str) -> String {
    let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
    if name.len() <= LONGEST_WORD { path.to_owned() } else { format!("{above}...") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_not_shown() {
        let message = "error at line 2, column 9\n  |\n2 | key = 'sk-1'\n  |       ^^^^\nno name\n";
        assert_eq!(without_excerpt(message), "error at line 2, column 9: no name");
    }

    #[test]
    fn a_text_of_the_document_is_not_repeated() {
        let told = without_texts(r#"invalid type: string "sk-\"1\\", expected u32 at line 1"#);
        assert_eq!(told, "invalid type: a text, expected u32 at line 1");
        assert_eq!(without_texts(r#"string "never ends"#), "a text");
        assert_eq!(without_texts("a map, expected a string"), "a map, expected a string");
    }

    #[test]
    fn a_path_ends_before_what_may_be_a_key() {
        let key = "k".repeat(LONGEST_WORD + 1);
        assert_eq!(without_long_name(&format!("providers.east.{key}")), "providers.east...");
        assert_eq!(
            without_long_name(&format!("tenants.{key}.rates")),
            format!("tenants.{key}.rates")
        );
        assert_eq!(without_long_name(&key), "...");
    }

    #[test]
    fn a_word_is_repeated_unless_it_may_be_a_key() {
        let key = "k".repeat(LONGEST_WORD + 1);
        let told =
            |word: &str| without_long_words(&format!("unknown field `{word}`, expected `a`"));
        assert_eq!(told("weigth"), "unknown field `weigth`, expected `a`");
        assert_eq!(told(&key), "unknown field `..`, expected `a`");
    }
}
