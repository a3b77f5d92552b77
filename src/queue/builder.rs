//! Putting a queue together.

use std::time::Duration;

use crate::error::BuildError;
use crate::options::TenantId;
use crate::queue::adaptive::{AdaptiveLimit, AdaptivePolicy};
use crate::queue::request_queue::RequestQueue;
use crate::queue::settings::QueueSettings;

/// Configures a [`RequestQueue`].
#[derive(Debug, Default)]
#[must_use]
pub struct QueueBuilder {
    settings: QueueSettings,
}

impl QueueBuilder {
    /// Replaces all settings, as loaded from a configuration.
    pub fn settings(mut self, settings: QueueSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how many calls may wait.
    pub fn max_depth(mut self, calls: usize) -> Self {
        self.settings.max_depth = calls;
        self
    }

    /// Sets how many calls of one tenant may wait.
    pub fn max_depth_per_tenant(mut self, calls: usize) -> Self {
        self.settings.max_depth_per_tenant = Some(calls);
        self
    }

    /// Sets how long any call waits at the most.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.max_wait = wait;
        self
    }

    /// Sets after how long a waiting call counts as one class higher.
    pub fn aging(mut self, step: Duration) -> Self {
        self.settings.aging = step;
        self
    }

    /// Sets the part of its time a call may be expected to wait.
    pub fn patience(mut self, share: f64) -> Self {
        self.settings.patience = share;
        self
    }

    /// Gives a tenant a larger share than others when calls have to wait.
    pub fn weight(mut self, tenant: impl Into<TenantId>, weight: u32) -> Self {
        self.settings.weights.insert(tenant.into(), weight);
        self
    }

    /// Limits the calls that run at once, and adapts the limit to how fast answers begin.
    pub fn adaptive(mut self, policy: AdaptivePolicy) -> Self {
        self.settings.adaptive = Some(policy);
        self
    }

    /// Builds the queue.
    ///
    /// # Errors
    /// Names the field at fault: bounds, waits or weights of nothing, shares that are none.
    pub fn build(self) -> Result<RequestQueue, BuildError> {
        self.settings.validate()?;
        let adaptive = self.settings.adaptive.map(AdaptiveLimit::new);
        Ok(RequestQueue::from_parts(self.settings, adaptive))
    }
}
