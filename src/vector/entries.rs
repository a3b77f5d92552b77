//! All entries at one instant.

use std::sync::Arc;

use crate::vector::chunk::{self, Chunk};
use crate::vector::frame::Frame;

/// Chunks per list. A change copies one list, and the list of lists.
const CHUNKS: usize = 64;

/// A persistent sequence of entries without gaps: a clone is cheap and shares everything, and a
/// change of either copies only what it touches.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    dimensions: usize,
    /// Entries of a full chunk; all but the last are full.
    per_chunk: usize,
    len: usize,
    bytes: usize,
    lists: Vec<Arc<Vec<Arc<Chunk>>>>,
}

impl Entries {
    pub(super) fn new(dimensions: usize) -> Self {
        let per_chunk = chunk::capacity(dimensions);
        Self { dimensions, per_chunk, len: 0, bytes: 0, lists: Vec::new() }
    }

    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.lists.iter().flat_map(|list| list.iter().map(|chunk| &**chunk))
    }

    pub(super) fn row(&self, slot: usize) -> &[f32] {
        let [list, at, within] = self.place(slot);
        self.lists[list][at].rows.get(within)
    }

    /// Appends an entry. A chunk that begins with it has codes of `frame`.
    pub(super) fn push(&mut self, key: u64, row: &[f32], frame: Option<&Arc<Frame>>) {
        let slot = self.len;
        if slot.is_multiple_of(self.per_chunk) {
            self.push_chunk(Chunk::new(self.dimensions, frame));
        }
        self.len += 1;
        self.change(slot, |chunk, _| chunk.push(key, row));
    }

    pub(super) fn set(&mut self, slot: usize, key: u64, row: &[f32]) {
        self.change(slot, |chunk, within| chunk.set(within, key, row));
    }

    /// Takes the last entry off.
    pub(super) fn pop(&mut self) -> Option<(u64, Vec<f32>)> {
        let last = self.len.checked_sub(1)?;
        let popped = self.change(last, |chunk, _| chunk.pop());
        self.len = last;
        if last.is_multiple_of(self.per_chunk) {
            self.pop_chunk();
        }
        popped
    }

    /// Gives every entry a code of `frame`. Takes as long as inserting them all.
    pub(super) fn encode(&mut self, frame: &Arc<Frame>) {
        for slot in (0..self.len).step_by(self.per_chunk) {
            self.change(slot, |chunk, _| chunk.encode(frame));
        }
    }

    /// A frame around the mean of at most `most` entries, evenly spread.
    pub(super) fn rows_for_a_mean(&self, most: usize) -> impl Iterator<Item = &[f32]> {
        let stride = self.len.div_ceil(most).max(1);
        (0..self.len).step_by(stride).map(|slot| self.row(slot))
    }

    /// The list, the chunk in it, the entry in that.
    fn place(&self, slot: usize) -> [usize; 3] {
        let chunk = slot / self.per_chunk;
        [chunk / CHUNKS, chunk % CHUNKS, slot % self.per_chunk]
    }

    fn change<T>(&mut self, slot: usize, change: impl FnOnce(&mut Chunk, usize) -> T) -> T {
        let [list, at, within] = self.place(slot);
        let chunk = &mut Arc::make_mut(&mut self.lists[list])[at];
        // Before it is copied: a copy reserves less.
        let before = chunk.bytes();
        let chunk = Arc::make_mut(chunk);
        let result = change(chunk, within);
        self.bytes = self.bytes + chunk.bytes() - before;
        result
    }

    fn push_chunk(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes();
        match self.lists.last_mut() {
            Some(last) if last.len() < CHUNKS => Arc::make_mut(last).push(Arc::new(chunk)),
            _ => self.lists.push(Arc::new(vec![Arc::new(chunk)])),
        }
    }

    fn pop_chunk(&mut self) {
        let Some(last) = self.lists.last_mut() else { return };
        let chunk = Arc::make_mut(last).pop();
        self.bytes -= chunk.map_or(0, |chunk| chunk.bytes());
        if last.is_empty() {
            self.lists.pop();
        }
    }
}
