//! The calls that run on an endpoint, and which of them wait for their first content.

use std::array;
use std::num::NonZeroU64;

use crate::sync::{AtomicU64, Ordering};

/// How many calls without content are told apart by age. Calls beyond that are not tracked: when so
/// many wait, the oldest of the tracked ones says enough.
const TRACKED: usize = 32;

/// One running call. The bits below it tell which places are taken.
const CALL: NonZeroU64 = NonZeroU64::new(1 << TRACKED).expect("one is not zero");

const PLACES: u64 = (1 << TRACKED) - 1;

/// The start of a call that waits no longer: later than any other.
const NO_START: u64 = u64::MAX;

/// Running calls and their places in one word, so that coming and going are one write each. Cache
/// lines of its own: leases must not slow down the picks that read what lies beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Calls {
    /// Above, how many run; below, which of `starts` belong to a call that waits, a bit each.
    word: AtomicU64,
    /// In nanoseconds since the epoch of the balancer.
    starts: [AtomicU64; TRACKED],
}

/// A running call. To be given back once, with [`Calls::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call that is not given back runs for ever"]
pub(crate) struct Running {
    /// Its part of the word: itself, and the bit of its place among those that wait. There is no
    /// such bit where it has content or is not tracked.
    part: NonZeroU64,
}

impl Running {
    const fn new(place: u64) -> Self {
        Self { part: CALL.saturating_add(place) }
    }

    const fn place(&self) -> u64 {
        self.part.get() & PLACES
    }
}

impl Default for Calls {
    fn default() -> Self {
        let starts = array::from_fn(|_| AtomicU64::new(NO_START));
        Self { word: AtomicU64::new(0), starts }
    }
}

impl Calls {
    /// Lets in a call that starts at `at` and waits for content, unless `limit` calls run already.
    #[inline]
    pub(crate) fn enter(&self, limit: Option<u32>, at: u64) -> Option<Running> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if limit.is_some_and(|limit| running(word) >= limit) {
                return None;
            }
            let call = Running::new(free_place(word));
            let next = word + call.part.get();
            // Acquire pairs with the Release of whoever had the place before: its last write to the
            // start comes before ours.
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.set_start(&call, at);
                    return Some(call);
                }
                Err(current) => word = current,
            }
        }
    }

    /// The call has content and waits no longer.
    pub(crate) fn first_content(&self, call: &mut Running) {
        let place = call.place();
        if place != 0 {
            self.set_start(call, NO_START);
            // Release pairs with the Acquire of whoever takes the place next.
            self.word.fetch_sub(place, Ordering::Release);
            *call = Running::new(0);
        }
    }

    /// The call has ended.
    #[inline]
    pub(crate) fn leave(&self, call: Running) {
        self.set_start(&call, NO_START);
        // Release, as above.
        self.word.fetch_sub(call.part.get(), Ordering::Release);
    }

    /// How many calls run.
    #[inline]
    pub(crate) fn running(&self) -> u32 {
        running(self.word.load(Ordering::Relaxed))
    }

    /// When the call started that waits longest.
    #[inline]
    pub(crate) fn oldest_start(&self) -> Option<u64> {
        // Acquire pairs with the Release of whoever had a place before: a start that is not there
        // yet is seen as none, never as that of an earlier call.
        let mut waiting = self.word.load(Ordering::Acquire) & PLACES;
        let mut oldest = NO_START;
        while waiting != 0 {
            let start = &self.starts[waiting.trailing_zeros() as usize];
            oldest = oldest.min(start.load(Ordering::Relaxed));
            waiting &= waiting - 1;
        }
        (oldest != NO_START).then_some(oldest)
    }

    #[inline]
    fn set_start(&self, call: &Running, at: u64) {
        if let Some(start) = self.starts.get(call.place().trailing_zeros() as usize) {
            // Relaxed: the word orders it.
            start.store(at, Ordering::Relaxed);
        }
    }
}

const fn running(word: u64) -> u32 {
    (word >> TRACKED) as u32
}

/// The lowest free place as its bit; no bit where all are taken.
const fn free_place(word: u64) -> u64 {
    !word & (word + 1) & PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_start_is_exact_and_places_are_reused() {
        let calls = Calls::default();
        assert_eq!(calls.oldest_start(), None);
        let first = calls.enter(None, 1).unwrap();
        let place = first.place();
        let mut second = calls.enter(None, 3).unwrap();
        assert_eq!(calls.oldest_start(), Some(1));
        calls.leave(first);
        assert_eq!((calls.oldest_start(), calls.running()), (Some(3), 1));
        let third = calls.enter(None, 6).unwrap();
        assert_eq!(third.place(), place);
        calls.first_content(&mut second);
        assert_eq!((calls.oldest_start(), calls.running()), (Some(6), 2));
        calls.first_content(&mut second);
        calls.leave(second);
        calls.leave(third);
        assert_eq!((calls.oldest_start(), calls.running()), (None, 0));
    }

    #[test]
    fn more_waits_than_places_are_counted_but_not_tracked() {
        let calls = Calls::default();
        let tracked: Vec<_> = (0..TRACKED).map(|_| calls.enter(None, 5).unwrap()).collect();
        let other = calls.enter(None, 1).unwrap();
        assert_eq!((calls.running(), calls.oldest_start()), (TRACKED as u32 + 1, Some(5)));
        tracked.into_iter().for_each(|call| calls.leave(call));
        assert_eq!((calls.running(), calls.oldest_start()), (1, None));
        calls.leave(other);
        assert_eq!(calls.running(), 0);
    }

    #[test]
    fn a_full_endpoint_lets_nobody_in_until_a_call_leaves() {
        let calls = Calls::default();
        let call = calls.enter(Some(1), 0).unwrap();
        assert_eq!(calls.enter(Some(1), 0), None);
        calls.leave(call);
        assert!(calls.enter(Some(1), 0).is_some());
    }
}

#[cfg(evenkeel_loom)]
#[cfg(test)]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    #[test]
    fn loom_never_more_calls_than_the_limit() {
        loom::model(|| {
            let calls = Arc::new(Calls::default());
            let inside = Arc::new(crate::sync::AtomicU32::new(0));
            let call = |at: u64| {
                let (calls, inside) = (Arc::clone(&calls), Arc::clone(&inside));
                move || {
                    let Some(call) = calls.enter(Some(1), at) else { return };
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    calls.leave(call);
                }
            };
            let others = [1, 2].map(|at| thread::spawn(call(at)));
            call(3)();
            others.into_iter().for_each(|other| other.join().unwrap());
            assert_eq!((calls.running(), calls.oldest_start()), (0, None));
        });
    }

    /// One call gives its place up in the way of `giving_up` while two others come.
    fn a_place_changes_hands(giving_up: fn(&Calls, Running) -> Option<Running>) {
        loom::model(move || {
            let calls = Arc::new(Calls::default());
            let first = calls.enter(None, 5).unwrap();
            let giving_up = {
                let calls = Arc::clone(&calls);
                thread::spawn(move || giving_up(&calls, first))
            };
            let coming = {
                let calls = Arc::clone(&calls);
                thread::spawn(move || calls.enter(None, 9).unwrap())
            };
            let own = calls.enter(None, 7).unwrap();
            let left = giving_up.join().unwrap();
            let other = coming.join().unwrap();
            assert_ne!(own.place(), other.place());
            assert_eq!(calls.oldest_start(), Some(7));
            calls.leave(own);
            assert_eq!(calls.oldest_start(), Some(9));
            calls.leave(other);
            left.into_iter().for_each(|call| calls.leave(call));
            assert_eq!((calls.running(), calls.oldest_start()), (0, None));
        });
    }

    #[test]
    fn loom_the_start_of_a_call_is_kept_whoever_leaves_its_place() {
        a_place_changes_hands(|calls, call| {
            calls.leave(call);
            None
        });
    }

    #[test]
    fn loom_the_start_of_a_call_is_kept_whoever_has_content() {
        a_place_changes_hands(|calls, mut call| {
            calls.first_content(&mut call);
            Some(call)
        });
    }

    #[test]
    fn loom_a_place_is_never_seen_with_the_start_of_the_call_before() {
        loom::model(|| {
            let calls = Arc::new(Calls::default());
            let [early, other] = [1, 2].map(|at| calls.enter(None, at).unwrap());
            let busy = {
                let calls = Arc::clone(&calls);
                thread::spawn(move || {
                    calls.leave(early);
                    calls.leave(other);
                    calls.enter(None, 9).unwrap()
                })
            };
            // One call runs once the early one has left, be it the other or the new one.
            if calls.running() == 1 {
                assert_ne!(calls.oldest_start(), Some(1));
            }
            calls.leave(busy.join().unwrap());
        });
    }
}
