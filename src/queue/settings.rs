//! What a queue is told when it is built.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BuildError;
use crate::options::TenantId;
use crate::queue::adaptive::AdaptivePolicy;

/// How long and how a queue lets calls wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueSettings {
    /// The most calls that may wait. Default 1,000.
    pub max_depth: usize,
    /// The most calls of one tenant that may wait. Default: as many as of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth_per_tenant: Option<usize>,
    /// The longest any call waits, if its deadline is later. Default 60 s.
    #[serde(with = "crate::duration")]
    pub max_wait: Duration,
    /// After so long a waiting call counts as one class higher, so that no class starves. Default
    /// 10 s.
    #[serde(with = "crate::duration")]
    pub aging: Duration,
    /// The part of the time a call has that it may be expected to wait; a longer wait is refused at
    /// once. The rest is for the answer, and for what the expectation does not know. Default 0.5.
    pub patience: f64,
    /// How long a call that does not fit may be passed by others that do. Default 2 s.
    #[serde(with = "crate::duration")]
    pub bypass: Duration,
    /// Weights of tenants; all others have 1.
    pub weights: HashMap<TenantId, u32>,
    /// How the calls that run at once are limited, by how soon answers begin; `None` limits none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptivePolicy>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_depth: 1_000,
            max_depth_per_tenant: None,
            max_wait: Duration::from_secs(60),
            aging: Duration::from_secs(10),
            patience: 0.5,
            bypass: Duration::from_secs(2),
            weights: HashMap::new(),
            adaptive: None,
        }
    }
}

impl QueueSettings {
    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        let wrong = |field, reason| Err(BuildError::new(field, reason));
        if self.max_depth == 0 {
            return wrong("queue.max_depth", "must be above zero");
        }
        if self.max_depth_per_tenant == Some(0) {
            return wrong("queue.max_depth_per_tenant", "must be above zero");
        }
        if self.max_wait.is_zero() {
            return wrong("queue.max_wait", "must be above zero");
        }
        if self.aging.is_zero() {
            return wrong("queue.aging", "must be above zero");
        }
        if !(self.patience > 0.0 && self.patience <= 1.0) {
            return wrong("queue.patience", "must be above 0 and at most 1");
        }
        if self.weights.values().any(|&weight| weight == 0) {
            return wrong("queue.weights", "must be above zero");
        }
        self.adaptive.as_ref().map_or(Ok(()), AdaptivePolicy::validate)
    }
}
