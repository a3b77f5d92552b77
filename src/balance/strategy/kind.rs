//! The strategies there are.

use std::fmt;
use std::sync::Arc;

use crate::balance::strategy::candidate::Candidates;
use crate::balance::strategy::custom::{self, Strategy};
use crate::balance::strategy::{adaptive, affinity, cheapest, least_busy};

/// How one of the eligible endpoints is chosen.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum StrategyKind {
    /// By weight: exact over every cycle of the reduced weights.
    #[default]
    Weighted,
    /// By the lowest expected time: running calls over weight, times the expected time to the first
    /// content and the rest of the answer; an endpoint that has let a call wait for far longer than
    /// it usually does counts as that slow.
    Adaptive,
    /// By the fewest running calls in proportion to the weight.
    LeastBusy,
    /// By key: calls of one session, or that begin alike, prefer one endpoint, whose prompt cache is
    /// then warm, as long as it carries no more than a quarter above its share. Calls without a key
    /// go by weight.
    Affinity,
    /// By the lowest expected cost, for endpoints with prices; by weight among equals.
    Cheapest,
    /// As your own code says.
    Custom(Arc<dyn Strategy>),
}

impl StrategyKind {
    /// Your own strategy.
    pub fn custom(strategy: impl Strategy) -> Self {
        Self::Custom(Arc::new(strategy))
    }

    /// A stable name, as the configuration spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Adaptive => "adaptive",
            Self::LeastBusy => "least_busy",
            Self::Affinity => "affinity",
            Self::Cheapest => "cheapest",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Debug for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The position of the candidate to use; `None` leaves the choice to the weights.
pub(crate) fn choose(kind: &StrategyKind, candidates: &Candidates<'_>) -> Option<usize> {
    match kind {
        StrategyKind::Weighted => None,
        StrategyKind::Adaptive => adaptive::choose(candidates),
        StrategyKind::LeastBusy => least_busy::choose(candidates),
        StrategyKind::Affinity => affinity::choose(candidates),
        StrategyKind::Cheapest => cheapest::choose(candidates),
        StrategyKind::Custom(strategy) => custom::choose(&**strategy, candidates),
    }
}
