//! Hides what was sealed.

use blake3::Hasher;

use crate::stores::envelope::Sealer;

/// A sealed value ends with its seal.
const SEAL: usize = 32;

/// Encrypts sealed values and decrypts them.
///
/// The seal is a keyed hash of the value and its place, so it serves as the nonce: it differs where
/// anything differs. From it and a key of its own BLAKE3 draws as many bytes as the value has, which
/// are added to it. That is the construction of synthetic initialisation vectors (Rogaway, Shrimpton
/// 2006): no randomness is needed, and what repeats shows only where the same value is sealed anew for
/// the same place.
#[derive(Clone)]
pub(super) struct Cover {
    key: [u8; 32],
}

impl Cover {
    pub(super) fn new(sealer: &Sealer) -> Self {
        Self { key: sealer.name("cover", b"index") }
    }

    /// Covers a sealed value, or uncovers it: twice is not at all. What is too short to have a seal
    /// stays as it is.
    pub(super) fn turn(&self, sealed: &mut [u8]) {
        let Some((content, seal)) = sealed.split_last_chunk_mut::<SEAL>() else { return };
        let mut stream = vec![0; content.len()];
        Hasher::new_keyed(&self.key).update(&*seal).finalize_xof().fill(&mut stream);
        content.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "what must not be read";

    fn covered(secret: &[u8], place: &[u8]) -> Vec<u8> {
        let sealer = Sealer::new(secret);
        let mut sealed = sealer.seal(place, &TEXT).unwrap().unwrap();
        Cover::new(&sealer).turn(&mut sealed);
        sealed
    }

    #[test]
    fn what_is_covered_cannot_be_read_and_is_uncovered_again() {
        let sealer = Sealer::new(b"a secret of some length");
        let mut value = covered(b"a secret of some length", b"place");
        assert!(!String::from_utf8_lossy(&value).contains("must not"));
        Cover::new(&sealer).turn(&mut value);
        assert_eq!(sealer.open::<String>(b"place", &value).unwrap(), TEXT);
    }

    #[test]
    fn the_same_text_looks_different_elsewhere_and_with_another_secret() {
        let value = covered(b"a secret of some length", b"place");
        for other in [covered(b"a secret of some length", b"other"), covered(b"another", b"place")]
        {
            let same = value.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 8, "{same} of {} bytes", value.len());
        }
    }

    #[test]
    fn what_is_too_short_stays_as_it_is() {
        let mut short = [7; SEAL - 1];
        Cover::new(&Sealer::new(b"any")).turn(&mut short);
        assert_eq!(short, [7; SEAL - 1]);
    }
}
