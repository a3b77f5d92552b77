//! What a store was heard to say. Pure.

use std::collections::HashMap;

use crate::balance::block::Told;
use crate::balance::facts::contract::{AccountFact, MOST_FACTS};
use crate::time::{Instant, after};

/// What holds of each account, bounded anew: a store is not trusted to have done it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    by_account: HashMap<u128, Told>,
}

impl Heard {
    /// What is heard at `now`. Two facts about one account are one, the later.
    pub(crate) fn new(facts: &[AccountFact], now: Instant) -> Self {
        let mut heard = Self::default();
        for fact in facts.iter().take(MOST_FACTS) {
            let AccountFact { account, kind, lasts } = fact.clamped();
            let told = Told { why: kind.error_kind(), ends: after(now, lasts) };
            let known = heard.by_account.entry(account).or_insert(told);
            if known.ends < told.ends {
                *known = told;
            }
        }
        heard
    }

    /// Without what this instance knows to be over.
    pub(crate) fn without(mut self, is_over: impl Fn(u128) -> bool) -> Self {
        self.by_account.retain(|account, _| !is_over(*account));
        self
    }

    pub(crate) fn get(&self, account: u128) -> Option<Told> {
        self.by_account.get(&account).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_account.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::facts::contract::FactKind;
    use crate::time::now;

    #[test]
    fn a_lie_lasts_no_longer_than_its_kind_and_the_later_of_two_stands() {
        let now = now();
        let fact = |account, kind, lasts| AccountFact::new(account, kind, lasts);
        let heard = Heard::new(
            &[
                fact(1, FactKind::RateLimited, Duration::from_secs(u64::MAX)),
                fact(1, FactKind::Overloaded, Duration::from_secs(1)),
                fact(2, FactKind::Auth, Duration::MAX),
            ],
            now,
        );
        let lasts = |account| heard.get(account).map(|told| (told.why.label(), told.ends - now));
        assert_eq!(lasts(1), Some(("rate_limited", Duration::from_secs(300))));
        assert_eq!(lasts(2), Some(("auth", Duration::from_secs(600))));
        assert_eq!(lasts(3), None);
        assert!(heard.without(|account| account < 3).is_empty());
    }
}
