//! The vectors of a chunk.

use std::sync::Arc;

/// Vectors one after another, in groups that are copied when one of them changes.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    dimensions: usize,
    /// How many rows a full group has.
    per_group: usize,
    groups: Vec<Arc<Vec<f32>>>,
}

/// What is copied to change one vector stays near this: less than encoding the vector costs.
const GROUP_BYTES: usize = 32 << 10;

impl Rows {
    pub(super) fn new(dimensions: usize) -> Self {
        let fitting = (GROUP_BYTES / (4 * dimensions)).max(1);
        // A multiple of four, for the scan; a power of two, so that whole groups fill a chunk.
        let per_group = (1 << fitting.ilog2()).clamp(4, 32);
        Self { dimensions, per_group, groups: Vec::new() }
    }

    pub(super) fn get(&self, slot: usize) -> &[f32] {
        let start = slot % self.per_group * self.dimensions;
        &self.groups[slot / self.per_group][start..start + self.dimensions]
    }

    /// Appends a row. A group has room for exactly the rows it has.
    pub(super) fn push(&mut self, row: &[f32]) {
        let full = self.per_group * self.dimensions;
        match self.groups.last_mut() {
            Some(last) if last.len() < full => {
                let mut longer = Vec::with_capacity(last.len() + row.len());
                longer.extend_from_slice(last);
                longer.extend_from_slice(row);
                *last = Arc::new(longer);
            }
            _ => {
                self.groups.reserve_exact(1);
                self.groups.push(Arc::new(row.to_vec()));
            }
        }
    }

    pub(super) fn set(&mut self, slot: usize, row: &[f32]) {
        let start = slot % self.per_group * self.dimensions;
        let group = Arc::make_mut(&mut self.groups[slot / self.per_group]);
        group[start..start + self.dimensions].copy_from_slice(row);
    }

    /// Takes the last row off.
    pub(super) fn pop(&mut self) -> Option<Vec<f32>> {
        let last = self.groups.pop()?;
        let (left, row) = last.split_at(last.len() - self.dimensions);
        if !left.is_empty() {
            self.groups.push(Arc::new(left.to_vec()));
        }
        Some(row.to_vec())
    }

    /// Groups of whole rows, in order; all but the last have a multiple of four.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[f32]> {
        self.groups.iter().map(|group| group.as_slice())
    }

    pub(super) fn bytes(&self) -> usize {
        // The two counts of an `Arc`, the vector's three words, and the pointer to them.
        let header = 2 * size_of::<usize>() + size_of::<Vec<f32>>() + size_of::<usize>();
        let last = self.groups.last().map_or(0, |last| last.len());
        let full = self.groups.len().saturating_sub(1) * self.per_group * self.dimensions;
        self.groups.len() * header + (full + last) * size_of::<f32>()
    }
}
