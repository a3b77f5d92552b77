//! Searching the entries of one instant.

use std::sync::Arc;

use crate::vector::arch::{Kernels, LookUp};
use crate::vector::bound::{Bound, LANES};
use crate::vector::chunk::Chunk;
use crate::vector::codes::{Block, Codes};
use crate::vector::entries::Entries;
use crate::vector::frame::Frame;
use crate::vector::leaders::{Leaders, Match};
use crate::vector::question::Question;
use crate::vector::slack;

/// One search under way.
#[derive(Debug)]
pub(super) struct Search<'a> {
    query: &'a [f32],
    kernels: &'static Kernels,
    /// The rotated query: one for all frames, which share the rotation.
    turned: Option<Vec<f32>>,
    /// The query as the last frame sees it. Chunks of one frame follow one another.
    question: Option<(&'a Arc<Frame>, Question)>,
    leaders: Leaders,
}

impl<'a> Search<'a> {
    pub(super) fn new(query: &'a [f32], kernels: &'static Kernels, leaders: Leaders) -> Self {
        Self { query, kernels, turned: None, question: None, leaders }
    }

    /// All entries that belong to the leaders, the best first.
    pub(super) fn through(mut self, entries: &'a Entries) -> Vec<Match> {
        for chunk in entries.chunks() {
            match (&chunk.codes, &self.kernels.look_up) {
                (Some(codes), Some(look_up)) => self.codes(chunk, codes, look_up),
                _ => self.rows(chunk),
            }
        }
        self.leaders.into_matches()
    }

    /// Reads every vector, four at a time. Sums of four and of one differ in the last bits, so what
    /// may belong to the leaders is scored again.
    fn rows(&mut self, chunk: &Chunk) {
        let dimensions = self.query.len();
        let slack = slack::up(2.1 * slack::of_a_dot(dimensions));
        let mut slot = 0;
        for group in chunk.rows.groups() {
            let mut fours = group.chunks_exact(4 * dimensions);
            for four in &mut fours {
                let row = |at| &four[at * dimensions..][..dimensions];
                let sums = (self.kernels.dot_four)(self.query, [row(0), row(1), row(2), row(3)]);
                for sum in sums {
                    if sum + slack >= self.leaders.floor() {
                        self.score(chunk, slot);
                    }
                    slot += 1;
                }
            }
            for _ in fours.remainder().chunks_exact(dimensions) {
                self.score(chunk, slot);
                slot += 1;
            }
        }
    }

    /// Reads the codes, and the vectors of those that can belong to the leaders.
    fn codes(&mut self, chunk: &'a Chunk, codes: &'a Codes, look_up: &LookUp) {
        let question = self.question_for(&codes.frame);
        for (at, block) in codes.blocks().enumerate() {
            let start = at * LANES;
            let filled = u32::MAX >> LANES.saturating_sub(chunk.len() - start);
            let floor = self.leaders.floor();
            let mut left = filled & reaching(&block, &question, look_up, floor);
            while left != 0 {
                self.score(chunk, start + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
        self.question = Some((&codes.frame, question));
    }

    /// The last question if it is of the same frame.
    fn question_for(&mut self, frame: &Arc<Frame>) -> Question {
        match self.question.take() {
            Some((of, question)) if Arc::ptr_eq(of, frame) => question,
            _ => {
                let turned = self.turned.get_or_insert_with(|| frame.rotation.turned(self.query));
                Question::new(frame, self.query, turned, self.leaders.floor())
            }
        }
    }

    fn score(&mut self, chunk: &Chunk, slot: usize) {
        let similarity = (self.kernels.dot)(self.query, chunk.rows.get(slot)).clamp(-1.0, 1.0);
        self.leaders.offer(Match { key: chunk.key(slot), similarity });
    }
}

/// The entries of `block` that can reach `floor`. Most blocks are dismissed by a part of their codes.
fn reaching(block: &Block<'_>, question: &Question, look_up: &LookUp, floor: f32) -> u32 {
    let by = |bytes: usize, bound: &Bound| {
        let (codes, tables) = (&block.first[..bytes], &question.tables[..bytes]);
        (look_up.reaching)(codes, tables, bound, block.traits, floor)
    };
    if question.early.as_ref().is_some_and(|early| by(early.bytes, &early.bound) == 0) {
        return 0;
    }
    match by(block.first.len(), &question.bound) {
        0 => 0,
        left => finer(left, block, question, look_up, floor),
    }
}

/// Of the entries in `mask`, those whose second plane, too, lets them reach `floor`.
fn finer(mask: u32, block: &Block<'_>, question: &Question, look_up: &LookUp, floor: f32) -> u32 {
    let Some((second, finer)) = block.finer else { return mask };
    let [first, second] =
        [block.first, second].map(|plane| (look_up.sums)(plane, &question.tables));
    let reaches = |lane: &usize| {
        let sums = [first[*lane], second[*lane]];
        question.finer.most(sums, *lane, block.traits, finer) >= f64::from(floor)
    };
    let lanes = (0..LANES).filter(|lane| mask >> lane & 1 == 1);
    lanes.filter(reaches).fold(0, |kept, lane| kept | 1 << lane)
}
