//! How much a flight keeps.

use serde::{Deserialize, Serialize};

/// How much of an answer a flight keeps for those who have not received it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FlightBounds {
    /// Bytes of answer kept in one flight, the room its items take included. The newest item is
    /// kept whatever its size.
    ///
    /// Default 16 MiB: an answer of 128,000 tokens, each a chunk of its own, fits.
    pub bytes: usize,
}

impl FlightBounds {
    /// At most `bytes` of answer in one flight.
    #[must_use]
    pub const fn of_bytes(bytes: usize) -> Self {
        Self { bytes }
    }
}

impl Default for FlightBounds {
    fn default() -> Self {
        Self::of_bytes(16 << 20)
    }
}
