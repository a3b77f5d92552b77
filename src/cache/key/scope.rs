//! Who may see an answer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::options::TenantId;

/// Who shares answers with whom. Nothing is ever served across scopes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Each tenant has answers of its own; calls without a tenant share theirs.
    #[default]
    Tenant,
    /// All calls in this namespace share answers, whoever pays for them.
    Namespace(Arc<str>),
    /// Each tenant has answers of its own in this namespace.
    TenantIn(Arc<str>),
    /// All calls share answers. For questions that carry nothing of anybody.
    Global,
}

impl Scope {
    /// The namespace named `name`, shared by all tenants.
    pub fn namespace(name: impl Into<Arc<str>>) -> Self {
        Self::Namespace(name.into())
    }

    /// The namespace named `name`, apart for each tenant.
    pub fn tenant_in(name: impl Into<Arc<str>>) -> Self {
        Self::TenantIn(name.into())
    }
}

/// Names of namespaces may name tenants.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "Tenant",
            Self::Namespace(_) => "Namespace(..)",
            Self::TenantIn(_) => "TenantIn(..)",
            Self::Global => "Global",
        })
    }
}

/// The hash of a scope: what is hashed into every key, and what shares are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScopeKey(pub(crate) u128);

/// It is a hash already.
impl Hash for ScopeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

impl Scope {
    /// The names that make this scope for a call of `tenant`: namespace, then tenant.
    pub(super) fn names<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
    ) -> (u8, Option<&'a str>, Option<&'a str>) {
        let tenant = tenant.map(TenantId::as_str);
        match self {
            Self::Tenant => (0, None, tenant),
            Self::Namespace(name) => (1, Some(name), None),
            Self::TenantIn(name) => (2, Some(name), tenant),
            Self::Global => (3, None, None),
        }
    }
}
