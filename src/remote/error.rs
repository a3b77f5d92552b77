//! Why a store did not answer.

use std::time::Duration;

/// Any cause, as a store's driver words it.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store that instances share did not answer. What the store then did is unknown.
///
/// The causes are a driver's: an adapter must keep addresses with credentials, keys and values out of
/// them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It could not be reached, or the connection broke.
    #[error("the store could not be reached")]
    Unreachable(#[source] Cause),
    /// It did not answer in time.
    #[error("the store did not answer within {0:?}")]
    Late(Duration),
    /// It answered that it cannot do what was asked: it is full or read only, or something else lies
    /// under the key.
    #[error("the store refused what was asked")]
    Refused(#[source] Cause),
    /// The value is larger than the store keeps, or has more labels: it was not asked.
    #[error("the value is larger than the {most} bytes or labels that the store keeps")]
    TooLarge {
        /// The most it keeps, in bytes or labels.
        most: usize,
    },
    /// Its answer made no sense, or a value was not what was stored.
    #[error("the store answered what cannot be understood")]
    Garbled(#[source] Cause),
    /// It failed often lately and is not asked before this has passed.
    #[error("the store fails and is not asked again for {0:?}")]
    Resting(Duration),
}

impl StoreError {
    /// A label of low cardinality.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Late(_) => "late",
            Self::Refused(_) => "refused",
            Self::TooLarge { .. } => "too_large",
            Self::Garbled(_) => "garbled",
            Self::Resting(_) => "resting",
        }
    }

    /// Whether it tells of the store's health. A garbled value tells of the value only, and a store
    /// that was not asked of nothing.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::Garbled(_) | Self::Resting(_))
    }
}
