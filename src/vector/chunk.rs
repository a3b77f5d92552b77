//! Some hundred entries: what is copied when one of them changes.

use std::sync::Arc;

use crate::vector::bound::LANES;
use crate::vector::codes::Codes;
use crate::vector::frame::Frame;
use crate::vector::rows::Rows;

/// Entries without gaps.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    keys: Vec<u64>,
    pub(super) rows: Rows,
    /// Of all entries; none in an index that is small enough to be read whole.
    pub(super) codes: Option<Codes>,
}

/// Codes and numbers of a chunk stay near this: what is copied to change one entry.
const CODE_BYTES: usize = 24 << 10;

/// How many entries of so many dimensions a chunk has.
pub(super) fn capacity(dimensions: usize) -> usize {
    let fitting = CODE_BYTES / dimensions.div_ceil(8);
    (1 << fitting.max(1).ilog2()).clamp(LANES, 512)
}

impl Chunk {
    pub(super) fn new(dimensions: usize, frame: Option<&Arc<Frame>>) -> Self {
        let codes = frame.map(|frame| Codes::new(Arc::clone(frame)));
        Self { keys: Vec::new(), rows: Rows::new(dimensions), codes }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key(&self, slot: usize) -> u64 {
        self.keys[slot]
    }

    pub(super) fn keys(&self) -> &[u64] {
        &self.keys
    }

    pub(super) fn push(&mut self, key: u64, row: &[f32]) {
        if let Some(codes) = &mut self.codes {
            codes.set(self.keys.len(), row);
        }
        self.rows.push(row);
        self.keys.reserve_exact(1);
        self.keys.push(key);
    }

    pub(super) fn set(&mut self, slot: usize, key: u64, row: &[f32]) {
        if let Some(codes) = &mut self.codes {
            codes.set(slot, row);
        }
        self.rows.set(slot, row);
        self.keys[slot] = key;
    }

    /// Takes the last entry off.
    pub(super) fn pop(&mut self) -> Option<(u64, Vec<f32>)> {
        let key = self.keys.pop()?;
        let row = self.rows.pop()?;
        if let Some(codes) = &mut self.codes {
            codes.keep(self.keys.len());
        }
        Some((key, row))
    }

    /// Gives every entry a code of `frame`.
    pub(super) fn encode(&mut self, frame: &Arc<Frame>) {
        let mut codes = Codes::new(Arc::clone(frame));
        for slot in 0..self.len() {
            codes.set(slot, self.rows.get(slot));
        }
        self.codes = Some(codes);
    }

    pub(super) fn bytes(&self) -> usize {
        // The two counts of its `Arc`, which stands in a list of these.
        let header = size_of::<Self>() + 3 * size_of::<usize>();
        let keys = self.keys.capacity() * size_of::<u64>();
        header + keys + self.rows.bytes() + self.codes.as_ref().map_or(0, Codes::bytes)
    }
}
