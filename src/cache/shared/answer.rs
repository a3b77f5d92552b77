//! What instances hand to one another through a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::answer::StoredAnswer;

/// What an answer is kept under. Both halves are hashes under the secret of the instances, so they
/// may be written anywhere, and nobody without the secret can make two of them meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SharedKey {
    /// Who may see the answer.
    pub scope: u128,
    /// The whole request, its scope included.
    pub exact: u128,
}

impl SharedKey {
    /// The key of a request in a scope.
    #[must_use]
    pub const fn new(scope: u128, exact: u128) -> Self {
        Self { scope, exact }
    }
}

/// In 64 hexadecimal digits, the scope first.
impl fmt::Display for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:032x}", self.scope, self.exact)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// A label of an answer, and the label's epoch when the answer was asked for. The answer may be served
/// for as long as that epoch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stamp {
    /// A hash, as in [`SharedKey`].
    #[serde(with = "halves")]
    pub label: u128,
    /// Which epoch it was, see [`CacheStore::epochs`](super::CacheStore::epochs).
    pub epoch: u64,
}

impl Stamp {
    /// `label` in `epoch`.
    #[must_use]
    pub const fn new(label: u128, epoch: u64) -> Self {
        Self { label, epoch }
    }
}

/// An answer as it lies in a store. Cheap to clone.
///
/// It goes through serde in a format that describes itself, such as JSON: parts of an answer are told
/// apart by a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SharedAnswer {
    /// Who may see it: [`SharedKey::scope`] once more. Whoever reads the answer compares the two.
    #[serde(with = "halves")]
    pub scope: u128,
    /// What it is taken back by.
    pub stamps: Vec<Stamp>,
    /// The answer, what it cost and how long it took.
    #[serde(with = "shared")]
    pub answer: Arc<StoredAnswer>,
    /// How long it is still to be served. A writer says how long the store is to keep it, and the
    /// store says at each reading what is left, by its own clock; it is not part of the body.
    #[serde(skip)]
    pub expires_in: Duration,
}

impl SharedAnswer {
    /// An answer that is to be served for `expires_in`.
    #[must_use]
    pub fn new(
        scope: u128,
        stamps: Vec<Stamp>,
        answer: impl Into<Arc<StoredAnswer>>,
        expires_in: Duration,
    ) -> Self {
        Self { scope, stamps, answer: answer.into(), expires_in }
    }

    /// With so much left.
    #[must_use]
    pub fn expires_in(self, expires_in: Duration) -> Self {
        Self { expires_in, ..self }
    }

    /// Bytes of memory, those on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.stamps.len() * size_of::<Stamp>() + self.answer.bytes()
    }
}

/// 128 bits as two numbers: readers of JSON differ in how they treat those of more than 64.
mod halves {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(whole: &u128, to: S) -> Result<S::Ok, S::Error> {
        ((whole >> 64) as u64, *whole as u64).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let (high, low) = <(u64, u64)>::deserialize(from)?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }
}

/// As if it were not shared: serde has that behind a feature, for it loses what was the same.
mod shared {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer, StoredAnswer};

    pub(super) fn serialize<S: Serializer>(
        answer: &Arc<StoredAnswer>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        StoredAnswer::serialize(answer, to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<StoredAnswer>, D::Error> {
        StoredAnswer::deserialize(from).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::ChatResponse;

    #[test]
    fn an_answer_survives_its_body_and_what_is_left_of_it_is_the_stores_to_say() {
        let stored = StoredAnswer::new(ChatResponse::text_only("yes"));
        let stamps = vec![Stamp::new(u128::MAX - 7, u64::MAX)];
        let answer = SharedAnswer::new(u128::MAX - 1, stamps, stored, Duration::from_secs(9));
        let body = serde_json::to_vec(&answer).unwrap();
        let read: SharedAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!(read.expires_in, Duration::ZERO);
        assert_eq!(read.expires_in(Duration::from_secs(9)), answer);
    }

    #[test]
    fn a_key_is_as_long_as_any_other() {
        assert_eq!(SharedKey::new(1, 2).to_string().len(), 64);
        assert_ne!(SharedKey::new(1, 2).to_string(), SharedKey::new(2, 1).to_string());
    }
}
