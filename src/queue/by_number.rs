//! Maps whose keys are numbers that the queue gave itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers that nobody outside can choose, so that they need no keyed hash.
pub(crate) type ByNumber<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

/// Spreads a number over all bits, by the golden ratio.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes its tag from the top and its place from the bottom.
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
