//! Putting a limiter together.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::BuildError;
use crate::options::TenantId;
use crate::quota::estimate::{Estimate, Estimator};
use crate::quota::limiter::{Inner, QuotaLimiter};
use crate::quota::limits::Limits;
use crate::quota::shared::SharedQuota;

/// How many scopes are kept at the most, unless told otherwise.
const MOST_SCOPES: usize = 1_000_000;

/// Configures a [`QuotaLimiter`].
#[derive(Debug)]
#[must_use]
pub struct QuotaBuilder {
    global: Limits,
    tenant: Limits,
    tenant_model: Limits,
    keys: Vec<(Arc<str>, Limits)>,
    overrides: Vec<(TenantId, Limits)>,
    estimate: Estimate,
    most_scopes: usize,
    shared: Option<SharedQuota>,
}

impl Default for QuotaBuilder {
    fn default() -> Self {
        Self {
            global: Limits::new(),
            tenant: Limits::new(),
            tenant_model: Limits::new(),
            keys: Vec::new(),
            overrides: Vec::new(),
            estimate: Estimate::default(),
            most_scopes: MOST_SCOPES,
            shared: None,
        }
    }
}

impl QuotaBuilder {
    /// Limits the whole service.
    pub fn global(mut self, limits: Limits) -> Self {
        self.global = limits;
        self
    }

    /// Limits every tenant.
    pub fn per_tenant(mut self, limits: Limits) -> Self {
        self.tenant = limits;
        self
    }

    /// Gives one tenant limits of its own, in place of those that all have.
    pub fn tenant(mut self, tenant: impl Into<TenantId>, limits: Limits) -> Self {
        self.overrides.push((tenant.into(), limits));
        self
    }

    /// Limits every tenant on every model.
    pub fn per_tenant_and_model(mut self, limits: Limits) -> Self {
        self.tenant_model = limits;
        self
    }

    /// Limits every value of a key of your own, such as a team or a user. Calls that carry no such
    /// key are not limited by it.
    pub fn per_key(mut self, name: impl Into<Arc<str>>, limits: Limits) -> Self {
        self.keys.push((name.into(), limits));
        self
    }

    /// Sets how much output is reserved for a call before it is made.
    pub fn estimate(mut self, estimate: Estimate) -> Self {
        self.estimate = estimate;
        self
    }

    /// Sets how many scopes are kept: tenants, tenants on models and keys that used something within
    /// the window of their limits. A million, unless set. Idle ones are forgotten, which nobody can
    /// notice. Where all are in use, a new one is refused as [saturated](crate::quota::Reason::Saturated);
    /// a full limiter looks for idle ones again after a microsecond for each it keeps, so that a flood
    /// of new tenants costs little.
    pub fn most_scopes(mut self, most: usize) -> Self {
        self.most_scopes = most;
        self
    }

    /// Keeps the limits in a store that other instances share, instead of in this process.
    ///
    /// Then calls are let in by [`reserve`](QuotaLimiter::reserve) alone, which asks the store.
    /// [`most_scopes`](Self::most_scopes) bounds what is kept here while it is away.
    pub fn shared(mut self, shared: SharedQuota) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// Names the field at fault: a limit of nothing or out of range, a key used twice, no scopes; what
    /// is shared without a secret.
    pub fn build(self) -> Result<QuotaLimiter, BuildError> {
        self.validate()?;
        let Self { global, tenant, tenant_model, keys, overrides, estimate, most_scopes, shared } =
            self;
        let estimator = Estimator::new(estimate);
        let inner = Inner::new(&global, &tenant, &tenant_model, &keys, most_scopes, estimator);
        for (tenant, limits) in &overrides {
            let _key = inner.override_tenant(tenant, limits);
        }
        let limiter = QuotaLimiter::from_inner(inner);
        if let Some(shared) = shared {
            limiter.share(shared)?;
        }
        Ok(limiter)
    }

    fn validate(&self) -> Result<(), BuildError> {
        self.global.validate("global")?;
        self.tenant.validate("per_tenant")?;
        self.tenant_model.validate("per_tenant_and_model")?;
        let mut names = HashSet::new();
        for (name, limits) in &self.keys {
            limits.validate(&format!("per_key.{name}"))?;
            if !names.insert(name) {
                return Err(BuildError::new(format!("per_key.{name}"), "is configured twice"));
            }
        }
        for (index, (_, limits)) in self.overrides.iter().enumerate() {
            limits.validate(&format!("tenants[{index}]"))?;
        }
        if self.most_scopes == 0 {
            return Err(BuildError::new("most_scopes", "must be above zero"));
        }
        Ok(())
    }
}
