//! Where in a configuration something is wrong.

use serde::de::{Deserialize, Deserializer};

use crate::error::BuildError;

/// Reads a `T`; an error names the field at fault by its path, and does not show the document: a key
/// may stand where none belongs.
pub(super) fn read<'de, T, D>(deserializer: D) -> Result<T, BuildError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        BuildError::new(path, without_excerpt(&error.into_inner().to_string()))
    })
}

/// `message` in one line, without those of the document itself: `2 | key = 3` and `  |       ^`.
fn without_excerpt(message: &str) -> String {
    let margin = |c: char| c.is_ascii_digit() || c == ' ';
    let told = message.lines().filter(|line| !line.trim_start_matches(margin).starts_with('|'));
    told.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

/// The error of a part that stands at `path`.
pub(super) fn under(path: &str, error: &BuildError) -> BuildError {
    let field = error.field();
    let join = if field.is_empty() || field.starts_with('[') { "" } else { "." };
    BuildError::new(format!("{path}{join}{field}"), error.reason().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_named_from_the_root() {
        let at = |field: &'static str| under("a.b", &BuildError::new(field, "no"));
        assert_eq!(at("c").field(), "a.b.c");
        assert_eq!(at("[2].c").field(), "a.b[2].c");
        assert_eq!(at("").field(), "a.b");
        assert_eq!(at("c").reason(), "no");
    }

    #[test]
    fn the_document_is_not_shown() {
        let message = "error at line 2, column 9\n  |\n2 | key = 'sk-1'\n  |       ^^^^\nno name\n";
        assert_eq!(without_excerpt(message), "error at line 2, column 9: no name");
    }
}
