//! Who may teach, and how much: one scope must not decide what is served to all. Pure.

use std::collections::HashMap;

use crate::cache::key::ScopeKey;

/// Labels that every scope may give whatever the others do: fewer than a promise of 5 percent needs.
const FREE: f64 = 50.0;

/// Scopes beyond this are counted as one.
const MOST_SCOPES: usize = 4_096;

/// How many labels each scope has given.
#[derive(Debug)]
pub(super) struct Labellers {
    given: HashMap<ScopeKey, u64>,
    total: u64,
    /// The part of all labels that one scope may give, where others give some too.
    share: f64,
}

impl Labellers {
    pub(super) fn new(share: f64) -> Self {
        Self { given: HashMap::new(), total: 0, share }
    }

    /// Counts a label of `scope`, unless it has given its part.
    pub(super) fn admit(&mut self, scope: ScopeKey) -> bool {
        let full = self.given.len() >= MOST_SCOPES && !self.given.contains_key(&scope);
        let given = self.given.entry(if full { ScopeKey(0) } else { scope }).or_default();
        let others = (self.total - *given) as f64;
        // As much as the others, at a share of a half; without bound at a whole.
        let most = FREE + others * self.share / (1.0 - self.share);
        let admitted = others == 0.0 || (*given as f64) < most;
        if admitted {
            *given += 1;
            self.total += 1;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(labellers: &mut Labellers, scope: u128, times: usize) -> usize {
        (0..times).filter(|_| labellers.admit(ScopeKey(scope))).count()
    }

    #[test]
    fn no_scope_teaches_more_than_its_share_where_others_teach_too() {
        let mut labellers = Labellers::new(0.5);
        assert_eq!(admitted(&mut labellers, 1, 10), 10);
        assert_eq!(admitted(&mut labellers, 2, 1_000), 60);
        assert_eq!(admitted(&mut labellers, 1, 1_000), 100);
        assert_eq!(admitted(&mut labellers, 3, 1_000), 220);
    }

    #[test]
    fn a_scope_that_is_alone_teaches_all_there_is() {
        assert_eq!(admitted(&mut Labellers::new(0.1), 1, 1_000), 1_000);
        let mut unlimited = Labellers::new(1.0);
        admitted(&mut unlimited, 2, 1);
        assert_eq!(admitted(&mut unlimited, 1, 1_000), 1_000);
    }

    #[test]
    fn scopes_without_number_are_counted_as_one() {
        let mut labellers = Labellers::new(0.5);
        assert!((1..=10_000).any(|scope| !labellers.admit(ScopeKey(scope))));
        assert_eq!(labellers.given.len(), MOST_SCOPES + 1);
    }
}
