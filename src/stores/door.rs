//! What the fuzzers reach of the stores: sealed values without an engine. No part of the interface.

use serde_json::Value;

use crate::remote::StoreError;
use crate::stores::envelope::{self, Sealer};

/// `value` as it is kept at `place`; `None` where it is too large.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn seal(secret: &[u8], place: &[u8], value: &Value) -> Result<Option<Vec<u8>>, StoreError> {
    Sealer::new(secret).seal(place, value)
}

/// What was sealed for `place`.
///
/// # Errors
/// Where it was not, or not as it is.
pub fn open(secret: &[u8], place: &[u8], sealed: &[u8]) -> Result<Value, StoreError> {
    Sealer::new(secret).open(place, sealed)
}

/// `content` with a seal that fits: whoever has the secret can write anything.
pub fn sealed(secret: &[u8], place: &[u8], content: &[u8]) -> Vec<u8> {
    Sealer::new(secret).sealed(place, content.to_vec())
}

/// The JSON in what was sealed, where its length does not lie.
pub fn body(content: &[u8]) -> Option<Vec<u8>> {
    envelope::body(content).ok().map(Into::into)
}

/// What `whose` is called among things of a `kind`.
pub fn name(secret: &[u8], kind: &str, whose: &[u8]) -> [u8; 32] {
    Sealer::new(secret).name(kind, whose)
}
