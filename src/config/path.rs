//! Where in a configuration something is wrong.

use crate::error::BuildError;

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
}
