//! By when a call must have ended.

use crate::cache::flight::Horizon;
use crate::time::Instant;

/// The deadline of a call, or of work that several calls share: that ends with the last of them.
#[derive(Debug, Clone)]
pub(super) enum Until {
    At(Instant),
    Shared(Horizon),
}

impl Until {
    /// The instant, as far as it is known now: it may move away while others join.
    #[inline]
    pub(super) fn instant(&self) -> Instant {
        match self {
            Self::At(at) => *at,
            Self::Shared(horizon) => horizon.latest(),
        }
    }
}
