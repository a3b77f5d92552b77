//! S3-FIFO over the places of a shard.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasherDefault;

use super::chain::{Chain, Link, Linked};
use super::shard::Identity;

/// Uses are counted up to here.
const MOST_USES: u8 = 3;

/// Newcomers may hold one part in so many.
const SMALL_PART: usize = 10;

/// Which places are newcomers, which have proved themselves, and whose turn it is to leave.
#[derive(Debug, Default)]
pub(super) struct S3Fifo {
    cells: Cells,
    small: Chain,
    main: Chain,
    ghosts: Ghosts,
}

#[derive(Debug, Default)]
struct Cells(Vec<Cell>);

#[derive(Debug, Default, Clone)]
struct Cell {
    link: Link,
    key: u64,
    uses: u8,
    proved: bool,
}

impl Linked for Cells {
    fn link(&mut self, place: u32) -> &mut Link {
        &mut self.0[place as usize].link
    }
}

impl S3Fifo {
    /// A new entry at `place`. A key that was turned out not long ago was turned out too early.
    pub(super) fn insert(&mut self, place: u32, key: u64) {
        let proved = self.ghosts.take(key);
        let at = place as usize;
        if at >= self.cells.0.len() {
            self.cells.0.resize(at + 1, Cell::default());
        }
        self.cells.0[at] = Cell { link: Link::default(), key, uses: 0, proved };
        let queue = if proved { &mut self.main } else { &mut self.small };
        queue.push(&mut self.cells, place);
    }

    pub(super) fn touch(&mut self, place: u32) {
        let uses = &mut self.cells.0[place as usize].uses;
        *uses = (*uses + 1).min(MOST_USES);
    }

    /// Takes one use away; whether there was one.
    pub(super) fn cool(&mut self, place: u32) -> bool {
        let uses = &mut self.cells.0[place as usize].uses;
        let used = *uses > 0;
        *uses = uses.saturating_sub(1);
        used
    }

    pub(super) fn remove(&mut self, place: u32) {
        let proved = self.cells.0[place as usize].proved;
        let queue = if proved { &mut self.main } else { &mut self.small };
        queue.remove(&mut self.cells, place);
    }

    /// The place to give up next; it stays where it is until it is removed. Constant amortised: each
    /// place that is passed over loses a use.
    pub(super) fn victim(&mut self) -> Option<u32> {
        loop {
            let total = self.small.len() + self.main.len();
            let crowded = self.small.len() * SMALL_PART > total || self.main.len() == 0;
            let found = if crowded { self.small_victim() } else { self.main_victim() };
            if found.is_some() || total == 0 {
                return found;
            }
        }
    }

    /// Of the newcomers, those used more than once move on. `None` when they all did.
    fn small_victim(&mut self) -> Option<u32> {
        while let Some(place) = self.small.oldest() {
            let cell = &mut self.cells.0[place as usize];
            if cell.uses <= 1 {
                self.ghosts.add(cell.key, self.main.len());
                return Some(place);
            }
            (cell.uses, cell.proved) = (0, true);
            self.small.remove(&mut self.cells, place);
            self.main.push(&mut self.cells, place);
        }
        None
    }

    fn main_victim(&mut self) -> Option<u32> {
        while let Some(place) = self.main.oldest() {
            if !self.cool(place) {
                return Some(place);
            }
            self.main.remove(&mut self.cells, place);
            self.main.push(&mut self.cells, place);
        }
        None
    }
}

/// The keys of newcomers that were turned out, the newest ones, at most as many as there are entries
/// in the main queue.
#[derive(Debug, Default)]
struct Ghosts {
    order: VecDeque<u64>,
    keys: HashSet<u64, BuildHasherDefault<Identity>>,
}

impl Ghosts {
    fn take(&mut self, key: u64) -> bool {
        // Its place in the order stays until its turn comes.
        self.keys.remove(&key)
    }

    fn add(&mut self, key: u64, most: usize) {
        self.order.push_back(key);
        self.keys.insert(key);
        while self.order.len() > most.max(1) {
            let oldest = self.order.pop_front();
            oldest.map(|key| self.keys.remove(&key));
        }
    }
}
