//! The codes of a chunk's entries, in the order in which a scan reads them.

use std::sync::Arc;

use crate::vector::bound::{FinerTraits, LANES, Stripe, Traits};
use crate::vector::frame::{Code, Frame};

/// Codes of one frame. 32 entries are a block: byte `r` of all of them stands together, so that one
/// register holds it, and the next 32 bytes are byte `r + 1`.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    pub(super) frame: Arc<Frame>,
    first: Vec<Stripe>,
    traits: Vec<Traits>,
    /// Empty when the frame has no second plane.
    second: Vec<Stripe>,
    finer_traits: Vec<FinerTraits>,
}

/// What a scan reads of 32 entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) first: &'a [Stripe],
    pub(super) traits: &'a Traits,
    pub(super) finer: Option<(&'a [Stripe], &'a FinerTraits)>,
}

impl Codes {
    pub(super) fn new(frame: Arc<Frame>) -> Self {
        let (first, traits, second, finer_traits) = Default::default();
        Self { frame, first, traits, second, finer_traits }
    }

    /// Writes the code of entry `slot`, which is at most one block beyond the last.
    pub(super) fn set(&mut self, slot: usize, vector: &[f32]) {
        let code = self.frame.encode(vector);
        self.grow_to(slot / LANES + 1);
        let (block, lane) = (slot / LANES, slot % LANES);
        self.traits[block].set(lane, &code);
        let start = block * code.signs.len();
        write(&mut self.first[start..], lane, &code.signs);
        if let Some(finer) = &code.finer {
            write(&mut self.second[start..], lane, &finer.signs);
            self.finer_traits[block].gamma[lane] = finer.gamma;
            self.finer_traits[block].overlap[lane] = finer.overlap;
        }
    }

    /// Drops the blocks that hold none of the first `entries`.
    pub(super) fn keep(&mut self, entries: usize) {
        let blocks = entries.div_ceil(LANES);
        let rows = blocks * self.frame.code_bytes();
        self.first.truncate(rows);
        self.traits.truncate(blocks);
        self.second.truncate(rows);
        self.finer_traits.truncate(blocks);
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let rows = self.frame.code_bytes();
        let block = move |(at, first): (usize, _)| Block {
            first,
            traits: &self.traits[at],
            finer: self
                .finer_traits
                .get(at)
                .map(|traits| (&self.second[at * rows..][..rows], traits)),
        };
        self.first.chunks_exact(rows).enumerate().map(block)
    }

    pub(super) fn bytes(&self) -> usize {
        self.first.capacity() * LANES
            + self.second.capacity() * LANES
            + self.traits.capacity() * size_of::<Traits>()
            + self.finer_traits.capacity() * size_of::<FinerTraits>()
    }

    fn grow_to(&mut self, blocks: usize) {
        if blocks <= self.traits.len() {
            return;
        }
        let rows = blocks * self.frame.code_bytes();
        grow(&mut self.first, rows, Stripe([0; LANES]));
        grow(&mut self.traits, blocks, Traits::EMPTY);
        if self.frame.finer {
            grow(&mut self.second, rows, Stripe([0; LANES]));
            grow(&mut self.finer_traits, blocks, FinerTraits::EMPTY);
        }
    }
}

/// To exactly `length`: chunks are many, and what doubling reserves would add up.
fn grow<T: Clone>(vector: &mut Vec<T>, length: usize, value: T) {
    vector.reserve_exact(length - vector.len());
    vector.resize(length, value);
}

fn write(rows: &mut [Stripe], lane: usize, signs: &[u8]) {
    rows.iter_mut().zip(signs).for_each(|(row, &byte)| row.0[lane] = byte);
}

impl Traits {
    const EMPTY: Self = Self { alpha: [0.0; LANES], beta: [0.0; LANES], bias: [0.0; LANES] };

    fn set(&mut self, lane: usize, code: &Code) {
        self.alpha[lane] = code.alpha;
        self.beta[lane] = code.beta;
        self.bias[lane] = code.bias;
    }
}

impl FinerTraits {
    const EMPTY: Self = Self { gamma: [0.0; LANES], overlap: [0.0; LANES] };
}
