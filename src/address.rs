//! An address as it may be shown: people put passwords and keys into URLs.

use std::fmt;

/// Shows an address without its query and fragment, and of one with credentials only the scheme: where
/// those end is for a parser to say, and what it refuses is shown as well.
pub(crate) struct Address<'a>(pub(crate) &'a str);

impl fmt::Debug for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains('@') {
            let scheme = self.0.split_once("://").map_or("", |(scheme, _)| scheme);
            let known = ["http", "https"].contains(&scheme);
            return write!(f, "\"{}..\"", if known { scheme } else { "" });
        }
        self.0[..self.0.find(['?', '#']).unwrap_or(self.0.len())].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_left_out() {
        for (address, shown) in [
            ("https://eu.example.com/v1", "https://eu.example.com/v1"),
            ("https://eu.example.com/v1?key=k#f", "https://eu.example.com/v1"),
            ("https://me:p/a?s@eu.example.com/v1", "https.."),
            ("https://eu.example.com/v1?key=a@b", "https.."),
            ("me:pass@eu.example.com://", ".."),
            ("", ""),
        ] {
            assert_eq!(format!("{:?}", Address(address)), format!("{shown:?}"));
        }
    }
}
