//! How a value is kept in a store that others can write to.
//!
//! ```text
//! version  flags   length of the body     body                 seal
//! 1 byte   1 byte  4 bytes, little end    JSON, maybe in LZ4   32 bytes
//! ```
//!
//! The seal is a keyed BLAKE3 hash of the place the value is kept in and of all bytes before it: what
//! was altered, cut off, moved to another key, or written by somebody without the secret is not opened.
//! It is looked at before anything is decompressed or parsed, and the length bounds what may come out.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::remote::StoreError;

const VERSION: u8 = 1;
const COMPRESSED: u8 = 1;

const HEAD: usize = 6;
const SEAL: usize = 32;

/// Shorter bodies are kept as they are: what is saved would not pay for the time.
const WORTH_COMPRESSING: usize = 1_024;

/// The most a value may take in a store.
pub(crate) const MOST_STORED: usize = 1 << 20;

/// The most it may take when it is opened.
const MOST_OPENED: usize = 4 << 20;

/// Seals values, and gives what is stored names that tell nothing, with the secret that the instances
/// share.
#[derive(Clone)]
pub(crate) struct Sealer {
    seals: [u8; 32],
    names: [u8; 32],
    #[cfg(feature = "redis")]
    instances: [u8; 32],
    #[cfg(feature = "redis")]
    caches: [u8; 32],
}

impl Sealer {
    /// With keys that are derived from `secret`, whatever its length.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            seals: blake3::derive_key("evenkeel stores v1: seals of values", secret),
            names: blake3::derive_key("evenkeel stores v1: names of keys", secret),
            #[cfg(feature = "redis")]
            instances: blake3::derive_key("evenkeel stores v1: secret of instances", secret),
            #[cfg(feature = "redis")]
            caches: blake3::derive_key("evenkeel stores v1: secret of caches", secret),
        }
    }

    /// The secret for what instances share beyond what is kept here.
    #[cfg(feature = "redis")]
    pub(crate) const fn of_instances(&self) -> [u8; 32] {
        self.instances
    }

    /// The secret for the caches of all instances.
    #[cfg(feature = "redis")]
    pub(crate) const fn of_caches(&self) -> [u8; 32] {
        self.caches
    }

    /// What to call `whose` among things of a `kind`: the same for all instances, and unrelated to
    /// anything for who lacks the secret.
    pub(crate) fn name(&self, kind: &str, whose: &[u8]) -> [u8; 32] {
        keyed(&self.names, kind.as_bytes(), &[whose])
    }

    /// `value` in the form in which it is kept at `place`; `None` where it is too large.
    ///
    /// # Errors
    /// [`StoreError::Garbled`] where it cannot be written as JSON.
    pub(crate) fn seal<T: Serialize>(
        &self,
        place: &[u8],
        value: &T,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let body = serde_json::to_vec(value).map_err(|error| StoreError::Garbled(error.into()))?;
        if body.len() > MOST_OPENED {
            return Ok(None);
        }
        let length = (body.len() as u32).to_le_bytes();
        let (flags, body) = compressed(body);
        let mut sealed = Vec::with_capacity(HEAD + body.len() + SEAL);
        sealed.extend_from_slice(&[VERSION, flags]);
        sealed.extend_from_slice(&length);
        sealed.extend_from_slice(&body);
        let sealed = self.sealed(place, sealed);
        Ok((sealed.len() <= MOST_STORED).then_some(sealed))
    }

    /// `content` with its seal.
    pub(super) fn sealed(&self, place: &[u8], mut content: Vec<u8>) -> Vec<u8> {
        let seal = keyed(&self.seals, place, &[&content]);
        content.extend_from_slice(&seal);
        content
    }

    /// What was sealed for `place`.
    ///
    /// # Errors
    /// [`StoreError::Garbled`] where it was not, or not as it is.
    pub(crate) fn open<T: DeserializeOwned>(
        &self,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<T, StoreError> {
        let broken = |why: Broken| StoreError::Garbled(why.into());
        let (content, seal) =
            sealed.split_last_chunk::<SEAL>().ok_or_else(|| broken(Broken::Short))?;
        // A comparison in constant time: the hash's own.
        if blake3::Hash::from(keyed(&self.seals, place, &[content])) != *seal {
            return Err(broken(Broken::Seal));
        }
        let body = body(content).map_err(broken)?;
        // Without its cause, which would quote the value.
        serde_json::from_slice(&body).map_err(|_| broken(Broken::Content))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// Why a value is not what was kept there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the value is too short")]
    Short,
    #[error("the seal does not fit the value, its key and the secret")]
    Seal,
    #[error("the value is of version {0}, which this one cannot read")]
    Version(u8),
    #[error("the length does not fit the value")]
    Length,
    #[error("the value is not of the kind that is kept there")]
    Content,
}

/// A hash of `head` and `parts`, where `head` cannot flow into what follows.
fn keyed(key: &[u8; 32], head: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(head.len() as u64).to_le_bytes()).update(head);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn compressed(body: Vec<u8>) -> (u8, Vec<u8>) {
    if body.len() <= WORTH_COMPRESSING {
        return (0, body);
    }
    let smaller = lz4_flex::block::compress(&body);
    if smaller.len() < body.len() { (COMPRESSED, smaller) } else { (0, body) }
}

/// The body of `content`, whose seal fits.
pub(super) fn body(content: &[u8]) -> Result<Cow<'_, [u8]>, Broken> {
    let ([version, flags, length @ ..], body) =
        content.split_first_chunk::<HEAD>().ok_or(Broken::Short)?;
    if *version != VERSION {
        return Err(Broken::Version(*version));
    }
    let length = u32::from_le_bytes(*length) as usize;
    if length > MOST_OPENED {
        return Err(Broken::Length);
    }
    let body = match *flags {
        COMPRESSED => Cow::Owned(decompressed(body, length)?),
        _ => Cow::Borrowed(body),
    };
    if body.len() == length { Ok(body) } else { Err(Broken::Length) }
}

fn decompressed(body: &[u8], length: usize) -> Result<Vec<u8>, Broken> {
    lz4_flex::block::decompress(body, length).map_err(|_| Broken::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(b"a secret that all instances have")
    }

    fn is_refused(sealer: &Sealer, place: &[u8], sealed: &[u8]) -> bool {
        matches!(sealer.open::<String>(place, sealed), Err(StoreError::Garbled(_)))
    }

    #[test]
    fn what_was_sealed_is_opened_again_short_or_long() {
        for length in [0, 10, WORTH_COMPRESSING, 50_000] {
            let text: String = "abc def ".chars().cycle().take(length).collect();
            let sealed = sealer().seal(b"k", &text).unwrap().unwrap();
            assert_eq!(sealer().open::<String>(b"k", &sealed).unwrap(), text);
            assert!(sealed.len() < length / 2 || length <= WORTH_COMPRESSING, "{}", sealed.len());
        }
    }

    #[test]
    fn a_value_that_is_too_large_is_not_kept() {
        let rng = crate::rng::Rng::from_seed(1);
        let noise: Vec<u64> = (0..MOST_STORED / 15).map(|_| rng.next_u64()).collect();
        assert!(sealer().seal(b"k", &noise).unwrap().is_none());
        let blank = " ".repeat(MOST_OPENED);
        assert!(sealer().seal(b"k", &blank).unwrap().is_none(), "it could not be opened again");
    }

    #[test]
    fn every_altered_bit_and_every_cut_is_noticed() {
        for length in [20, 2_000] {
            let sealed = sealer().seal(b"k", &"x".repeat(length)).unwrap().unwrap();
            for at in 0..sealed.len() {
                assert!(is_refused(&sealer(), b"k", &sealed[..at]), "cut at {at}");
                for bit in 0..8 {
                    let mut altered = sealed.clone();
                    altered[at] ^= 1 << bit;
                    assert!(is_refused(&sealer(), b"k", &altered), "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_value_opens_under_its_own_key_and_secret_only() {
        let sealed = sealer().seal(b"k", &"x").unwrap().unwrap();
        assert!(is_refused(&sealer(), b"l", &sealed));
        assert!(is_refused(&sealer(), b"", &sealed));
        assert!(is_refused(&Sealer::new(b"another"), b"k", &sealed));
    }

    #[test]
    fn a_length_that_lies_is_refused_before_room_is_made_for_it() {
        let mut bomb = vec![VERSION, COMPRESSED, 0, 0, 0, 0];
        bomb.extend_from_slice(&lz4_flex::block::compress(&vec![b' '; 8 << 20]));
        for length in [0, 100, MOST_OPENED as u32, 8 << 20, u32::MAX] {
            bomb[2..6].copy_from_slice(&u32::to_le_bytes(length));
            assert_eq!(body(&bomb), Err(Broken::Length), "{length}");
        }
    }

    #[test]
    fn names_differ_by_kind_whose_and_secret() {
        let name = sealer().name("quota", b"acme");
        assert_eq!(name, sealer().name("quota", b"acme"));
        assert_ne!(name, sealer().name("cache", b"acme"));
        assert_ne!(name, sealer().name("quot", b"aacme"));
        assert_ne!(name, Sealer::new(b"another").name("quota", b"acme"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(place: Vec<u8>, bytes: Vec<u8>) {
            prop_assert!(is_refused(&sealer(), &place, &bytes));
            let _ = body(&bytes);
        }
    }
}
