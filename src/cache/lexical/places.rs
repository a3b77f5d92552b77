//! A set of places in a text's words.

use super::words::MOST_WORDS;

const LANES: usize = MOST_WORDS.div_ceil(64);

/// Places below [`MOST_WORDS`], a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places([u64; LANES]);

impl Places {
    /// The first `many`.
    pub(super) fn first(many: usize) -> Self {
        let of_lane = |lane: usize| match many.saturating_sub(64 * lane) {
            0 => 0,
            bits @ 1..64 => (1 << bits) - 1,
            _ => u64::MAX,
        };
        Self(std::array::from_fn(of_lane))
    }

    pub(super) const fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(super) const fn remove(&mut self, place: usize) {
        self.0[place / 64] &= !(1 << (place % 64));
    }

    /// From the lowest on.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let lanes = self.0.into_iter().zip((0..).step_by(64));
        lanes.flat_map(|(mut bits, base)| {
            std::iter::from_fn(move || {
                let lowest = bits.trailing_zeros() as usize;
                (bits != 0).then(|| {
                    bits &= bits - 1;
                    base + lowest
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_in_order_across_lanes() {
        for many in [0, 1, 63, 64, 65, MOST_WORDS] {
            assert!(Places::first(many).iter().eq(0..many));
        }
        let mut places = Places::default();
        [255, 3, 64, 128].into_iter().for_each(|place| places.insert(place));
        places.remove(64);
        assert!(places.iter().eq([3, 128, 255]));
    }
}
