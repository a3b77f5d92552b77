//! Which epochs labels are in, as far as this instance knows.
//!
//! One label is advanced together with every other one. As long as its number stands, nothing was
//! taken back anywhere, so this is all an instance asks for, once a second at the most: whatever it
//! knew before still holds. When the number has changed, everything is to be asked for again, label by
//! label, by those who need it. The time from one change to the next is a *round* of this instance.

use std::collections::HashMap;
use std::time::Duration;

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{Instant, now};

/// For so long after a reading was begun nothing is asked. It bounds how long an answer that was taken
/// back elsewhere is still served here.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// From this age on it is worth being read again, so that nobody has to wait for it.
const AGING_FROM: Duration = Duration::from_millis(500);

/// More labels are forgotten all together, and asked for again.
const MOST_LABELS: usize = 1 << 16;

/// What labels an answer carries were in, and in which round that was found to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamped {
    /// In the order of the labels.
    pub(crate) epochs: Box<[u64]>,
    pub(crate) round: u64,
}

#[derive(Debug)]
pub(super) struct Epochs {
    base: Instant,
    /// When the last reading was begun, in nanoseconds after `base`; 0 for never.
    beat: AtomicU64,
    /// When a reading was last wished for, likewise.
    wished: AtomicU64,
    round: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The number of the label that is advanced with every other one.
    generation: Option<u64>,
    epochs: HashMap<u128, u64>,
}

impl Epochs {
    pub(super) fn new() -> Self {
        Self {
            base: now(),
            beat: AtomicU64::new(0),
            wished: AtomicU64::new(0),
            round: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    /// Whether what was found in `round` still holds.
    pub(super) fn holds(&self, round: u64, at: Instant) -> bool {
        self.is_fresh(at) && self.round() == round
    }

    pub(super) fn is_fresh(&self, at: Instant) -> bool {
        self.age(at) < TRUSTED_FOR
    }

    /// Whether somebody should read it soon. Says so to one caller at a time, and again to the next
    /// one when nothing came of it.
    pub(super) fn wants_reading(&self, at: Instant) -> bool {
        if self.age(at) < AGING_FROM {
            return false;
        }
        let at = self.nanos(at);
        let again = |before: u64| {
            let waited = at.saturating_sub(before) >= AGING_FROM.as_nanos() as u64;
            (before == 0 || waited).then_some(at)
        };
        // Relaxed: it orders nothing, and one reading more does no harm.
        self.wished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, again).is_ok()
    }

    /// The current round. To be read before anything is asked that is then [learnt](Self::learn).
    pub(super) fn round(&self) -> u64 {
        // Relaxed: whoever has seen a beat sees the round it belongs to, or a later one.
        self.round.load(Ordering::Relaxed)
    }

    fn age(&self, at: Instant) -> Duration {
        // Acquire: pairs with the Release in `touch`.
        match self.beat.load(Ordering::Acquire) {
            0 => Duration::MAX,
            beat => Duration::from_nanos(self.nanos(at).saturating_sub(beat)),
        }
    }

    /// A reading that was begun at `began` gave this number. Another one than before begins a round.
    pub(super) fn read(&self, generation: u64, began: Instant) {
        let mut known = self.known.lock();
        if known.generation != Some(generation) {
            known.generation = Some(generation);
            known.epochs.clear();
            self.round.fetch_add(1, Ordering::Relaxed);
        }
        self.touch(began);
    }

    /// The store could not be asked. What is known goes on to hold, for nobody can say otherwise.
    pub(super) fn lost(&self, began: Instant) {
        if !self.is_fresh(began) {
            self.touch(began);
        }
    }

    fn touch(&self, began: Instant) {
        let beat = self.nanos(began);
        let later = |before: u64| (before < beat).then_some(beat);
        // Release: pairs with the Acquire in `age`. The round was raised before.
        let _ = self.beat.fetch_update(Ordering::Release, Ordering::Relaxed, later);
    }

    /// From 1 on.
    fn nanos(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.base).as_nanos() as u64).saturating_add(1)
    }

    /// The epochs of `labels`, where all are known.
    pub(super) fn of(&self, labels: &[u128]) -> Option<Stamped> {
        let known = self.known.lock();
        let epochs = labels.iter().map(|label| known.epochs.get(label).copied());
        let epochs = epochs.collect::<Option<_>>()?;
        // Under the lock that every change of the round takes.
        Some(Stamped { epochs, round: self.round() })
    }

    /// Keeps the epochs that `labels` had in `round`, unless another one has begun.
    pub(super) fn learn(&self, round: u64, labels: &[u128], epochs: &[u64]) {
        let mut known = self.known.lock();
        if self.round() != round {
            return;
        }
        if known.epochs.len() + labels.len() > MOST_LABELS {
            known.epochs.clear();
        }
        known.epochs.extend(labels.iter().copied().zip(epochs.iter().copied()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(999);

    #[test]
    fn what_is_known_holds_for_a_second_after_the_reading_was_begun() {
        let (epochs, start) = (Epochs::new(), now());
        assert!(!epochs.is_fresh(start));
        epochs.read(7, start);
        let round = epochs.round();
        assert!(epochs.holds(round, start + SHORT));
        assert!(!epochs.holds(round, start + TRUSTED_FOR));
        epochs.read(7, start + TRUSTED_FOR);
        assert!(
            epochs.holds(round, start + TRUSTED_FOR + SHORT),
            "the same number: nothing happened"
        );
        epochs.read(8, start + TRUSTED_FOR);
        assert!(!epochs.holds(round, start + TRUSTED_FOR));
    }

    #[test]
    fn one_at_a_time_is_told_to_read_it_and_another_when_nothing_came_of_it() {
        let (epochs, start) = (Epochs::new(), now());
        assert!(epochs.wants_reading(start));
        assert!(!epochs.wants_reading(start));
        assert!(epochs.wants_reading(start + AGING_FROM));
        epochs.read(7, start + AGING_FROM);
        assert!(!epochs.wants_reading(start + AGING_FROM * 2 - Duration::from_millis(1)));
        assert!(epochs.wants_reading(start + AGING_FROM * 2));
    }

    #[test]
    fn another_number_makes_everything_unknown_and_what_was_asked_before_it_is_not_learnt() {
        let (epochs, start) = (Epochs::new(), now());
        epochs.read(7, start);
        let round = epochs.round();
        epochs.learn(round, &[1, 2], &[10, 20]);
        assert_eq!(epochs.of(&[2, 1]).unwrap().epochs[..], [20, 10]);
        epochs.read(8, start);
        assert_eq!(epochs.of(&[1]), None);
        epochs.learn(round, &[1], &[10]);
        assert_eq!(epochs.of(&[1]), None);
        epochs.learn(epochs.round(), &[1], &[11]);
        assert_eq!(epochs.of(&[1]).unwrap().epochs[..], [11]);
    }

    #[test]
    fn a_store_that_cannot_be_asked_takes_nothing_back() {
        let (epochs, start) = (Epochs::new(), now());
        epochs.lost(start);
        assert!(epochs.holds(0, start + SHORT), "nothing was ever known");
        epochs.read(7, start + TRUSTED_FOR);
        let round = epochs.round();
        // While it is fresh, a failure does not make it younger.
        epochs.lost(start + TRUSTED_FOR + SHORT);
        assert!(!epochs.is_fresh(start + TRUSTED_FOR * 2));
        epochs.lost(start + TRUSTED_FOR * 2);
        assert!(epochs.holds(round, start + TRUSTED_FOR * 2 + SHORT));
    }
}
