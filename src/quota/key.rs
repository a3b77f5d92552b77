//! What a scope is found by: a 128-bit hash of whose it is.
//!
//! Names are not kept, and an entry is the same size whatever the name. Two words of 64 bits, each a
//! multilinear hash with keys of its own (Lemire and Kaser, "Strongly universal string hashing is
//! fast", 2014): whatever names tenants choose, two of them meet with a probability of 2^-128, for the
//! keys are random, drawn in each process, and nothing shows what they are. It costs four
//! multiplications for eight bytes, a third of a general keyed hash for names of usual length.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Whose scope it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScopeKey {
    /// Two words: one of twice the size would be aligned to it, which costs an entry eight bytes.
    low: u64,
    high: u64,
}

impl Hash for ScopeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Words of a name and a model together that have keys; longer ones are hashed otherwise.
const WORDS: usize = 32;

/// The secret of a limiter.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    /// One for the constant, one for the lengths, one for each word.
    secrets: Box<[[u128; 2]; WORDS + 2]>,
    long: [RandomState; 2],
}

impl KeyMaker {
    pub(crate) fn new() -> Self {
        let states: [RandomState; 4] = std::array::from_fn(|_| RandomState::new());
        let half = |state: usize, at: usize| u128::from(states[state].hash_one(at));
        let secret = |at| [half(0, at) << 64 | half(1, at), half(2, at) << 64 | half(3, at)];
        Self {
            secrets: Box::new(std::array::from_fn(secret)),
            long: [RandomState::new(), RandomState::new()],
        }
    }

    /// The key of a scope of a certain kind, name and model.
    pub(crate) fn key(&self, kind: u32, name: &str, model: &str) -> ScopeKey {
        let words = name.len().div_ceil(8) + model.len().div_ceil(8);
        if words > WORDS {
            let of = |state: &RandomState| state.hash_one((kind, name, model));
            return ScopeKey { low: of(&self.long[0]), high: of(&self.long[1]) };
        }
        // The lengths say where the name ends and what is padding.
        let lengths = u64::from(kind) << 32 | (name.len() as u64) << 16 | model.len() as u64;
        let [constant, first, rest @ ..] = &*self.secrets;
        let mut sums = *constant;
        add(&mut sums, first, lengths);
        let mut secrets = rest.iter();
        for text in [name, model] {
            words_of(text, |word| {
                if let Some(secret) = secrets.next() {
                    add(&mut sums, secret, word);
                }
            });
        }
        // The upper halves: only they are universal.
        ScopeKey { low: spread((sums[0] >> 64) as u64), high: (sums[1] >> 64) as u64 }
    }
}

/// One to one, so no two names meet that did not before. Names that count up are a line to a linear
/// hash, which one key in seventy draws so flat that a part of the map would get three times its share.
const fn spread(sum: u64) -> u64 {
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

fn add(sums: &mut [u128; 2], secret: &[u128; 2], word: u64) {
    for (sum, secret) in sums.iter_mut().zip(secret) {
        *sum = sum.wrapping_add(secret.wrapping_mul(u128::from(word)));
    }
}

/// Eight bytes at a time, the last padded with zeros.
fn words_of(text: &str, mut visit: impl FnMut(u64)) {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    whole.iter().for_each(|word| visit(u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        visit(u64::from_le_bytes(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn whatever_differs_has_another_key_and_what_does_not_has_the_same() {
        let maker = KeyMaker::new();
        let long = "x".repeat(300);
        let names = ["", "a", "ab", "a\0", "abcdefgh", "abcdefghi", &long[..256], &long];
        let mut seen = HashSet::new();
        for kind in 0..3 {
            for name in names {
                for model in names {
                    let key = maker.key(kind, name, model);
                    assert!(seen.insert((key.low, key.high)), "{kind} {name:?} {model:?}");
                    assert_eq!(key, maker.key(kind, name, model));
                }
            }
        }
    }

    #[test]
    fn keys_are_spread_over_the_bits_that_maps_use() {
        // Keys are drawn: an unlucky one in seventy must be as good as the others.
        (0..100).for_each(|_| must_spread(&KeyMaker::new()));
    }

    fn must_spread(maker: &KeyMaker) {
        let keys = (0..40_000).map(|i| maker.key(0, &format!("tenant-{i}"), "").low);
        let mut buckets = [[0u32; 256]; 3];
        for key in keys {
            for (shift, counts) in [0, 49, 56].into_iter().zip(&mut buckets) {
                counts[(key >> shift) as usize % 256] += 1;
            }
        }
        // 156 each on average, with a standard deviation of 12.5.
        assert!(buckets.iter().flatten().all(|count| (60..280).contains(count)), "{buckets:?}");
    }

    #[test]
    fn every_limiter_has_its_own_keys() {
        assert_ne!(KeyMaker::new().key(0, "a", ""), KeyMaker::new().key(0, "a", ""));
    }
}
