//! What a law of a shared store found, when it was broken.

use crate::remote::StoreError;

/// What was seen. A store that fails breaks every law.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

/// What a law found.
pub(super) type Finding = Result<(), Broken>;

impl From<String> for Broken {
    fn from(seen: String) -> Self {
        Self(seen)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed: {error}"))
    }
}
