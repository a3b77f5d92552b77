//! What scopes are called in a store: hashes that every instance derives alike.

use std::fmt;
use std::sync::Arc;

use highway::{HighwayHash, HighwayHasher, Key};

use crate::quota::denied::Level;
use crate::quota::limiter::Whose;

/// The fleet's secret. Without it nobody who reads the store can tell whose scope a name is, nor make
/// two tenants meet.
#[derive(Clone)]
pub(super) struct Names(Key);

impl Names {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let (words, _rest) = secret.as_chunks::<8>();
        let mut key = [0; 4];
        key.iter_mut().zip(words).for_each(|(to, word)| *to = u64::from_le_bytes(*word));
        Self(Key(key))
    }

    /// The name of a scope: 128 bits in hexadecimal digits; for a tenant on a model the tenant's name,
    /// a slash and the model's, so that a store which is spread over machines can keep a tenant's scopes
    /// together. `value` is that of a key of the application's own.
    pub(super) fn name(&self, level: &Level, whose: &Whose<'_>, value: &str) -> Arc<str> {
        let tenant = || self.hash(["t", whose.tenant_name(), ""]);
        match level {
            Level::Global => format!("{:032x}", self.hash(["g", "", ""])),
            Level::Tenant => format!("{:032x}", tenant()),
            Level::TenantModel => {
                let model = self.hash(["m", whose.tenant_name(), whose.model_name()]);
                format!("{:032x}/{model:032x}", tenant())
            }
            Level::Key(name) => format!("{:032x}", self.hash(["k", name, value])),
        }
        .into()
    }

    fn hash(&self, parts: [&str; 3]) -> u128 {
        let mut hasher = HighwayHasher::new(self.0);
        for part in parts {
            // The length says where a part ends.
            hasher.append(&(part.len() as u64).to_le_bytes());
            hasher.append(part.as_bytes());
        }
        let [low, high] = hasher.finalize128();
        u128::from(high) << 64 | u128::from(low)
    }
}

/// It is a secret.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::TenantId;

    #[test]
    fn instances_with_one_secret_call_a_scope_alike_and_others_do_not() {
        let acme = TenantId::new("acme");
        let whose = Whose::new(Some(&acme), Some("m"), &[]);
        let name = |secret: u8| Names::new(&[secret; 32]).name(&Level::Tenant, &whose, "");
        assert_eq!(name(1), name(1));
        assert_ne!(name(1), name(2));
        assert!(name(1).len() == 32 && !name(1).contains("acme"));
    }

    #[test]
    fn a_tenants_scopes_begin_alike() {
        let (names, acme) = (Names::new(&[7; 32]), TenantId::new("acme"));
        let whose = Whose::new(Some(&acme), Some("m"), &[]);
        let tenant = names.name(&Level::Tenant, &whose, "");
        let on_model = names.name(&Level::TenantModel, &whose, "");
        assert_eq!(on_model.split_once('/').map(|(before, _)| before), Some(&*tenant));
    }

    #[test]
    fn scopes_that_differ_in_anything_have_names_of_their_own() {
        let names = Names::new(&[7; 32]);
        let tenants = ["", "a", "am", "k"].map(TenantId::new);
        let key = |name: &str| Level::Key(name.into());
        let mut seen = std::collections::HashSet::new();
        assert!(seen.insert(names.name(&Level::Global, &Whose::default(), "")));
        for tenant in &tenants {
            for model in ["m", "mm"] {
                let whose = Whose::new(Some(tenant), Some(model), &[]);
                assert!(seen.insert(names.name(&Level::TenantModel, &whose, "")));
            }
            assert!(seen.insert(names.name(&Level::Tenant, &Whose::tenant(tenant), "")));
            for name in ["a", "k"] {
                let own = names.name(&key(name), &Whose::default(), tenant.as_str());
                assert!(seen.insert(own));
            }
        }
    }
}
