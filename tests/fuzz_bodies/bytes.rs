//! Bytes as a source of decisions. A fuzzer that changes one byte changes one decision.
#![allow(dead_code, reason = "each body draws what it needs")]

/// Reads decisions; after the last byte everything is zero.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of so many; there is at least one and at most 256.
    pub(crate) fn below(&mut self, many: usize) -> usize {
        usize::from(self.byte()) % many
    }

    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number of any magnitude, the ends of the range among them.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=127 => u64::from(small),
            shift @ 128..=191 => 1 << (shift - 128),
            255 => u64::MAX,
            _ => self.word(),
        }
    }

    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        self.0.split_off(..most.min(self.0.len())).unwrap_or_default()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A text of at most so many bytes before it was made UTF-8; below 256.
    pub(crate) fn text(&mut self, most: usize) -> String {
        let length = self.below(most + 1);
        String::from_utf8_lossy(self.take(length)).into_owned()
    }
}

/// `bytes` in pieces that begin at the places which `cuts` names.
pub(crate) fn pieces<'b>(bytes: &'b [u8], cuts: &[u16]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> =
        cuts.iter().map(|cut| usize::from(*cut) % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}
