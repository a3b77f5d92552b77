//! What was received, for those who have not read it yet.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::cache::flight::piece::Piece;

/// The newest part of an answer, from its start as long as it fits the bound. Positions count from
/// the answer's first item.
pub(super) struct Log<P> {
    items: VecDeque<P>,
    /// The position of the oldest item that is kept.
    start: u64,
    bytes: usize,
    bound: usize,
}

/// The item at the position is no longer kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lagged;

impl<P: Piece> Log<P> {
    pub(super) const fn new(bound: usize) -> Self {
        Self { items: VecDeque::new(), start: 0, bytes: 0, bound }
    }

    /// Adds an item; returns those that no longer fit.
    pub(super) fn push(&mut self, item: P) -> SmallVec<[P; 1]> {
        self.bytes = self.bytes.saturating_add(size(&item));
        self.items.push_back(item);
        let mut shed = SmallVec::new();
        while self.bytes > self.bound && self.items.len() > 1 {
            shed.extend(self.pop());
        }
        shed
    }

    fn pop(&mut self) -> Option<P> {
        let oldest = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&oldest));
        self.start += 1;
        Some(oldest)
    }

    /// The item at `position`; `None` where it has not been received yet.
    pub(super) fn at(&self, position: u64) -> Result<Option<&P>, Lagged> {
        let index = position.checked_sub(self.start).ok_or(Lagged)?;
        Ok(usize::try_from(index).ok().and_then(|index| self.items.get(index)))
    }

    /// Whether the answer is kept from its start.
    pub(super) const fn is_whole(&self) -> bool {
        self.start == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empties it; what it held is for the caller to drop.
    pub(super) fn take(&mut self) -> VecDeque<P> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

/// What an item costs: even an empty one takes its place.
fn size<P: Piece>(item: &P) -> usize {
    size_of::<P>().max(1).saturating_add(item.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::flight::script::Note;

    const ROOM: usize = size_of::<Note>();

    #[test]
    fn within_the_bound_everything_is_kept() {
        let mut log = Log::new(3 * ROOM);
        for number in 0..3 {
            assert!(log.push(Note::new(number)).is_empty());
        }
        assert!(log.is_whole());
        assert_eq!(log.at(0), Ok(Some(&Note::new(0))));
        assert_eq!(log.at(2), Ok(Some(&Note::new(2))));
        assert_eq!(log.at(3), Ok(None));
    }

    #[test]
    fn beyond_the_bound_the_oldest_go_first() {
        let mut log = Log::new(3 * ROOM);
        (0..3).for_each(|number| drop(log.push(Note::new(number))));
        assert_eq!(log.push(Note::new(3).weighing(ROOM))[..], [Note::new(0), Note::new(1)]);
        assert!(!log.is_whole());
        assert_eq!(log.bytes(), 3 * ROOM);
        assert_eq!(log.at(1), Err(Lagged));
        assert_eq!(log.at(2), Ok(Some(&Note::new(2))));
    }

    #[test]
    fn the_newest_item_is_kept_whatever_its_size() {
        let mut log = Log::new(0);
        assert!(log.push(Note::new(0).weighing(usize::MAX)).is_empty());
        assert_eq!(log.push(Note::new(1)).len(), 1);
        assert_eq!(log.at(1), Ok(Some(&Note::new(1))));
    }
}
