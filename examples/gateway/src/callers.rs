//! Who calls.

use std::collections::HashMap;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use evenkeel::{BuildError, Priority, TenantId};

use crate::failure::Failure;
use crate::settings::Settings;

/// A caller that was told apart.
#[derive(Clone, Default)]
pub struct Caller {
    /// Who pays; `None` for calls without a key, where they are taken.
    pub tenant: Option<TenantId>,
    /// How urgent its calls are.
    pub priority: Priority,
}

/// Everybody who may call. Never printed: it holds keys.
pub struct Callers {
    by_key: HashMap<String, Caller>,
    header: Option<String>,
    anonymous: bool,
}

impl Callers {
    /// The callers of `settings`, their keys found by `env`.
    ///
    /// # Errors
    /// A key that is not set or that two tenants have; nobody who may call.
    pub fn new(
        settings: &Settings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BuildError> {
        let mut by_key = HashMap::new();
        for (index, tenant) in settings.tenants.iter().enumerate() {
            let wrong = |reason: &'static str| {
                BuildError::new(format!("gateway.tenants[{index}].api_key_env"), reason)
            };
            let key = env(tenant.api_key_env.as_str()).filter(|key| !key.is_empty());
            let key = key.ok_or_else(|| wrong("the environment variable is not set"))?;
            let name = TenantId::from(tenant.name.as_str());
            let caller = Caller { tenant: Some(name), priority: tenant.priority };
            if by_key.insert(key, caller).is_some() {
                return Err(wrong("another tenant has the same key"));
            }
        }
        let header = settings.tenant_header.clone();
        if by_key.is_empty() && header.is_none() && !settings.anonymous {
            return Err(BuildError::new("gateway.tenants", "nobody may call"));
        }
        Ok(Self { by_key, header, anonymous: settings.anonymous })
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// 401 where nobody was told apart.
    pub fn of(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        if let Some(header) = &self.header {
            return self.named(headers.get(header).and_then(|value| value.to_str().ok()));
        }
        let key = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = key.and_then(|value| value.strip_prefix("Bearer "));
        match key {
            None if self.anonymous => Ok(Caller::default()),
            None => Err(Failure::unauthorized("no API key was given")),
            Some(key) => {
                let caller = self.by_key.get(key.trim()).cloned();
                caller.ok_or_else(|| Failure::unauthorized("the API key is not known"))
            }
        }
    }

    fn named(&self, tenant: Option<&str>) -> Result<Caller, Failure> {
        match tenant.filter(|tenant| !tenant.is_empty()) {
            Some(tenant) => Ok(Caller { tenant: Some(tenant.into()), ..Caller::default() }),
            None if self.anonymous => Ok(Caller::default()),
            None => Err(Failure::unauthorized("the request names no tenant")),
        }
    }
}
