//! What a balancer has to tell, until it is told.

use std::collections::BTreeMap;

use tokio::sync::Notify;

use crate::balance::block::Told;
use crate::balance::facts::contract::MOST_FACTS;
use crate::sync::Mutex;

/// What is to be said about one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letter {
    /// It is to be left alone.
    Told(Told),
    /// It is disabled no longer.
    Restored,
}

/// One letter an account, the newest word: a burst of refusals is one thing to say. Bounded by the
/// most a store keeps; what goes beyond is not said.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    letters: Mutex<BTreeMap<u128, Letter>>,
    filled: Notify,
}

impl Outbox {
    /// Puts a letter in, beside or in place of what is there.
    pub(crate) fn post(&self, account: u128, letter: Letter) {
        let mut letters = self.letters.lock();
        let before = letters.get(&account).copied();
        if before.is_some() || letters.len() < MOST_FACTS {
            letters.insert(account, newest(before, letter));
            drop(letters);
            self.filled.notify_one();
        }
    }

    /// Puts back what could not be delivered, unless there is something newer. Nobody is woken: the
    /// store has just failed.
    pub(crate) fn put_back(&self, account: u128, letter: Letter) {
        let mut letters = self.letters.lock();
        if letters.len() < MOST_FACTS {
            letters.entry(account).or_insert(letter);
        }
    }

    pub(crate) fn take(&self) -> BTreeMap<u128, Letter> {
        std::mem::take(&mut *self.letters.lock())
    }

    /// Waits until something is put in.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Whether what a store still says about the account is known to be over.
    pub(crate) fn says_restored(&self, account: u128) -> bool {
        self.letters.lock().get(&account) == Some(&Letter::Restored)
    }
}

/// Of two cooldowns the later one; else what was said last.
fn newest(before: Option<Letter>, letter: Letter) -> Letter {
    match (before, letter) {
        (Some(Letter::Told(before)), Letter::Told(told)) if before.ends > told.ends => {
            Letter::Told(before)
        }
        (_, letter) => letter,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::time::{Instant, now};

    fn told(ends: Instant) -> Letter {
        Letter::Told(Told { why: ErrorKind::Auth, ends })
    }

    fn only(outbox: &Outbox) -> Letter {
        let letters = outbox.take();
        assert_eq!(letters.len(), 1);
        letters[&1]
    }

    #[test]
    fn of_two_ends_the_later_is_told_and_a_recovery_replaces_both() {
        let (outbox, soon) = (Outbox::default(), now());
        let late = soon + Duration::from_secs(1);
        for ends in [soon, late, soon] {
            outbox.post(1, told(ends));
        }
        assert_eq!(only(&outbox), told(late));
        outbox.post(1, told(late));
        outbox.post(1, Letter::Restored);
        assert!(outbox.says_restored(1) && !outbox.says_restored(2));
        assert_eq!(only(&outbox), Letter::Restored);
        outbox.post(1, Letter::Restored);
        outbox.post(1, told(soon));
        assert_eq!(only(&outbox), told(soon));
    }

    #[test]
    fn what_comes_back_undelivered_does_not_replace_what_is_newer() {
        let outbox = Outbox::default();
        outbox.post(1, Letter::Restored);
        outbox.put_back(1, told(now()));
        assert_eq!(only(&outbox), Letter::Restored);
        outbox.put_back(1, told(now()));
        assert!(matches!(only(&outbox), Letter::Told(_)));
    }

    #[test]
    fn it_holds_no_more_than_a_store_does() {
        let outbox = Outbox::default();
        for account in 0..=MOST_FACTS as u128 {
            outbox.post(account, told(now()));
        }
        outbox.put_back(u128::MAX, Letter::Restored);
        outbox.post(0, Letter::Restored);
        let letters = outbox.take();
        assert_eq!((letters.len(), letters[&0]), (MOST_FACTS, Letter::Restored));
    }
}
