//! What a store is asked, and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::quota::amounts::Amounts;
use crate::quota::denied::{Denied, Level};
use crate::quota::limits::Limits;
use crate::remote::StoreError;

/// Where quotas are kept that several instances share.
///
/// Each method is one round trip to the store. Errors say that the store did not answer; what it
/// then did is unknown, and the same may be asked again.
#[async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// Takes what is demanded from every scope, or from none.
    ///
    /// Asked again with the same [`Demand::id`], it answers the same and takes nothing more, until the
    /// grant is settled or expires.
    ///
    /// # Errors
    /// Where the store could not be asked. A refusal is no error but a [`Verdict`].
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether something was taken. What was taken ends with
    /// [`Demand::expires_in`], or when the grant of the same id is settled.
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError>;

    /// Corrects what was taken to what was used, and ends the call in every scope. A shortfall is
    /// charged; of an excess, what has not drained yet goes back. Has no effect on a grant that was
    /// settled before or has expired.
    ///
    /// # Errors
    /// Where the store could not be asked.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it was settled; it may be settled again.
    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError>;

    /// Says that an instance lives for `ttl` from now on, by the store's clock, and asks how many do:
    /// at least one, for this one does. An instance that says so again lives for the longer of the two.
    ///
    /// The number is what an instance divides limits by while the store is away. A store that does not
    /// count answers one; the application has to say then how many there are.
    ///
    /// # Errors
    /// Where the store could not be asked.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether the instance was counted; it may be counted again.
    async fn beat(&self, _instance: u128, _ttl: Duration) -> Result<u32, StoreError> {
        Ok(1)
    }
}

#[async_trait]
impl<S: QuotaStore + ?Sized> QuotaStore for Arc<S> {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        (**self).reserve(demand).await
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        (**self).settle(grant, actual).await
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Result<u32, StoreError> {
        (**self).beat(instance, ttl).await
    }
}

/// What a call is to take, from which scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demand {
    /// Different for every call of every instance: random, for example.
    pub id: u128,
    /// What is taken.
    pub amounts: Amounts,
    /// The scopes, in the order in which they are asked: all instances must have the same.
    pub scopes: Vec<StoredScope>,
    /// After how long a grant that was not settled is taken for one of an instance that died. It is
    /// then settled with what was taken. Ten minutes, unless set.
    pub expires_in: Duration,
}

impl Demand {
    /// A demand on `scopes`.
    #[must_use]
    pub const fn new(id: u128, amounts: Amounts, scopes: Vec<StoredScope>) -> Self {
        Self { id, amounts, scopes, expires_in: Duration::from_secs(600) }
    }

    /// With how long the grant may be out.
    #[must_use]
    pub const fn expires_in(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }
}

/// One scope, as all instances know it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredScope {
    /// What it is kept under. A hash, where names of tenants are not to be seen in the store.
    pub key: Arc<str>,
    /// Which kind of scope it is.
    pub level: Level,
    /// Its limits. Where they differ from those before, the scope keeps how full it is.
    pub limits: Arc<Limits>,
}

impl StoredScope {
    /// A scope.
    pub fn new(key: impl Into<Arc<str>>, level: Level, limits: impl Into<Arc<Limits>>) -> Self {
        Self { key: key.into(), level, limits: limits.into() }
    }
}

/// The key may be a tenant's name, so it is not shown.
impl fmt::Debug for StoredScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: _, level, limits } = self;
        f.debug_struct("StoredScope")
            .field("level", level)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// What a store answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It was taken.
    Granted(Grant),
    /// Nothing was taken. The refusal names the level, not the tenant, whom the store does not know.
    Denied(Denied),
}

/// What was taken, to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// What was asked.
    pub demand: Arc<Demand>,
    /// What the store wants to see again when the grant is settled.
    pub places: Vec<u64>,
}

impl Grant {
    /// A grant of `demand`.
    #[must_use]
    pub const fn new(demand: Arc<Demand>, places: Vec<u64>) -> Self {
        Self { demand, places }
    }
}

/// What a limit does while its store does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnStoreFailure {
    /// Each instance allows its share of nine tenths of the limit: the service goes on, and all
    /// instances together stay below the limit.
    #[default]
    LocalShare,
    /// Nothing passes: the limit is kept, at the cost of the service.
    Closed,
    /// Everything passes: the service goes on, at the cost of the limit.
    Open,
}

impl OnStoreFailure {
    /// How much of `amount` one of so many instances may let through by itself; `None` is without end.
    #[must_use]
    pub const fn allowance(self, amount: u64, instances: u32) -> Option<u64> {
        match self {
            Self::LocalShare => {
                let instances = if instances == 0 { 1 } else { instances as u128 };
                // Not above a u64: it is less than the amount.
                Some((amount as u128 * 9 / 10 / instances) as u64)
            }
            Self::Closed => Some(0),
            Self::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_instances_stay_below_the_limit() {
        for instances in [1, 3, 7, 1_000] {
            let share = OnStoreFailure::LocalShare.allowance(1_000_000, instances).unwrap();
            let all = share * u64::from(instances);
            assert!((899_000..=900_000).contains(&all), "{all}");
        }
        assert_eq!(OnStoreFailure::default().allowance(u64::MAX, 0), Some(u64::MAX / 10 * 9 + 4));
        assert_eq!(OnStoreFailure::Closed.allowance(7, 3), Some(0));
        assert_eq!(OnStoreFailure::Open.allowance(7, 3), None);
    }
}
