//! What the store is still to be told.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::quota::amounts::Amounts;
use crate::quota::key::ScopeKey;
use crate::quota::store::{Demand, Grant};
use crate::sync::Mutex;

/// Letters that wait. What is dropped beyond them is charged as it was reserved: too much, not too
/// little.
pub(super) const MOST: usize = 4096;

/// Letters that are out at once.
pub(super) const BATCH: usize = 64;

/// A store that answers but does not do what it is told is told so often.
const MOST_TRIES: u32 = 8;

/// Something the store is to be told, until it is. Telling it twice does no harm.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) what: What,
    /// Who waits for what it gives back.
    pub(super) line: Option<ScopeKey>,
    tries: u32,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// A call has used so much.
    Settle(Grant, Amounts),
    /// Nobody knows whether this was granted. If it was, nothing was used of it.
    Undo(Arc<Demand>),
}

/// A bounded number of letters.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    letters: VecDeque<Letter>,
    /// Taken out, and not told yet.
    out: usize,
    dropped: u64,
}

impl Letter {
    pub(super) const fn new(what: What, line: Option<ScopeKey>) -> Self {
        Self { what, line, tries: 0 }
    }
}

impl Outbox {
    /// Puts a letter in, unless it is full.
    pub(super) fn put(&self, letter: Letter) {
        let mut state = self.state.lock();
        if state.letters.len() + state.out < MOST {
            state.letters.push_back(letter);
        } else {
            state.dropped += 1;
        }
    }

    /// Takes the oldest letters out, which end as [`told`](Self::told) or are put
    /// [`back`](Self::back).
    pub(super) fn take(&self) -> Vec<Letter> {
        let mut state = self.state.lock();
        let batch = state.letters.len().min(BATCH);
        state.out += batch;
        state.letters.drain(..batch).collect()
    }

    pub(super) fn told(&self) {
        self.state.lock().out -= 1;
    }

    /// A letter did not arrive. `answered` says that the store would not have it.
    pub(super) fn back(&self, mut letter: Letter, answered: bool) {
        let mut state = self.state.lock();
        state.out -= 1;
        letter.tries += u32::from(answered);
        if letter.tries < MOST_TRIES {
            state.letters.push_front(letter);
        } else {
            state.dropped += 1;
        }
    }

    /// Letters that wait or are out.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.letters.len() + state.out
    }

    /// Letters that wait.
    pub(super) fn has_letters(&self) -> bool {
        !self.state.lock().letters.is_empty()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Nobody will tell the rest.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        state.dropped += state.letters.len() as u64;
        state.letters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: u128) -> Letter {
        Letter::new(What::Undo(Arc::new(Demand::new(id, Amounts::NONE, Vec::new()))), None)
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let outbox = Outbox::default();
        (0..MOST as u128 + 3).for_each(|id| outbox.put(letter(id)));
        assert_eq!((outbox.len(), outbox.dropped()), (MOST, 3));
        let out = outbox.take();
        outbox.put(letter(0));
        assert_eq!((out.len(), outbox.len(), outbox.dropped()), (BATCH, MOST, 4));
    }

    #[test]
    fn a_letter_the_store_will_not_have_is_given_up_and_one_that_does_not_arrive_is_not() {
        let outbox = Outbox::default();
        outbox.put(letter(1));
        for _ in 0..1_000 {
            outbox.back(outbox.take().remove(0), false);
        }
        for _ in 0..MOST_TRIES {
            outbox.back(outbox.take().remove(0), true);
        }
        assert_eq!((outbox.len(), outbox.dropped()), (0, 1));
    }
}
