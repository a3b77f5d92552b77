//! A limiter as a configuration file describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::path::under;
use crate::error::BuildError;
use crate::options::TenantId;
use crate::quota::{Estimate, Limits, QuotaBuilder, QuotaLimiter};

/// The settings of a [`QuotaLimiter`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QuotaConfig {
    /// The limits of the whole service.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub global: Limits,
    /// The limits of every tenant.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub per_tenant: Limits,
    /// The limits of every tenant on every model.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub per_tenant_and_model: Limits,
    /// The limits of single tenants, in place of those that all have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<TenantId, Limits>,
    /// The limits of every value of a key of your own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub per_key: BTreeMap<String, Limits>,
    /// How much output is reserved for a call before it is made.
    pub estimate: Estimate,
    /// How many scopes are kept; `None` is the builder's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_scopes: Option<usize>,
    /// Whether answers from the cache count as requests.
    pub count_cache_hits: bool,
}

impl QuotaConfig {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The limiter, of a builder that `adjust` may change once all settings are in it.
    pub(super) fn build(
        &self,
        adjust: impl FnOnce(QuotaBuilder) -> QuotaBuilder,
    ) -> Result<QuotaLimiter, BuildError> {
        let limiter = adjust(self.builder()).build().map_err(|error| under("quota", &error))?;
        for (tenant, limits) in &self.tenants {
            // Set afterwards, for its errors name a tenant's field and not its number.
            limiter.set_tenant_limits(tenant, limits).map_err(|error| {
                let field = error.field().trim_start_matches("limits").trim_start_matches('.');
                let error = BuildError::new(field.to_owned(), error.reason().to_owned());
                under(&format!("quota.tenants.{tenant}"), &error)
            })?;
        }
        Ok(limiter)
    }

    fn builder(&self) -> QuotaBuilder {
        let builder = QuotaLimiter::builder()
            .global(self.global.clone())
            .per_tenant(self.per_tenant.clone())
            .per_tenant_and_model(self.per_tenant_and_model.clone())
            .estimate(self.estimate);
        let keys = self.per_key.iter();
        let builder = keys.fold(builder, |builder, (name, limits)| {
            builder.per_key(name.as_str(), limits.clone())
        });
        self.most_scopes.into_iter().fold(builder, QuotaBuilder::most_scopes)
    }
}
