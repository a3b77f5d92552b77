//! What a store of facts is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::ErrorKind;
use crate::remote::StoreError;

/// The most facts a store keeps. A fleet has a handful of accounts; beyond this somebody writes
/// what nobody reads.
pub const MOST_FACTS: usize = 4_096;

/// Where facts about accounts are kept that several instances share.
///
/// Each method is one round trip to the store. Errors say that the store did not answer; what it
/// then did is unknown, and the same may be asked again.
#[async_trait]
pub trait FactStore: Send + Sync + 'static {
    /// Keeps `fact` until it ends, by the store's clock.
    ///
    /// Of two facts about one account the one that ends last stands, in whichever order they come:
    /// two instances that were refused must not shorten what the other was told. A fact lasts no
    /// longer than [`FactKind::longest`], whatever it says, and one that lasts no time is none.
    ///
    /// # Errors
    /// Where the store could not be asked; [`StoreError::Refused`] where it keeps [`MOST_FACTS`]
    /// others.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it is kept.
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError>;

    /// Forgets what is kept about `account`: somebody has found out that it is over.
    ///
    /// # Errors
    /// Where the store could not be asked. That nothing is kept is none.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it is forgotten.
    async fn lift(&self, account: u128) -> Result<(), StoreError>;

    /// Every fact that has not ended, in any order, one an account, at most [`MOST_FACTS`]. What
    /// cannot be read is left out.
    ///
    /// # Errors
    /// Where the store could not be asked.
    ///
    /// # Cancellation
    /// Nothing is lost by dropping the future.
    async fn all(&self) -> Result<Vec<AccountFact>, StoreError>;
}

#[async_trait]
impl<S: FactStore + ?Sized> FactStore for Arc<S> {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        (**self).publish(fact).await
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        (**self).lift(account).await
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        (**self).all().await
    }
}

/// What a provider said about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountFact {
    /// A hash of the account, and of the backend's model where the fact is about one model of it;
    /// keyed with the secret of the instances. Never a key, never a name.
    pub account: u128,
    /// What was said.
    pub kind: FactKind,
    /// How much longer it holds. Clocks of different machines differ, so instances and stores tell
    /// one another what is left, never when.
    pub lasts: Duration,
}

impl AccountFact {
    /// A fact that holds for `lasts` from now on.
    #[must_use]
    pub const fn new(account: u128, kind: FactKind, lasts: Duration) -> Self {
        Self { account, kind, lasts }
    }

    /// The same, lasting no longer than its kind may.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { lasts: self.lasts.min(self.kind.longest()), ..self }
    }
}

/// What a provider can say about an account that concerns all who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FactKind {
    /// It is over its rate limit, until a time the provider named.
    RateLimited,
    /// The provider sheds load, until a time it named.
    Overloaded,
    /// It is out of money or quota.
    QuotaExhausted,
    /// Its credentials are refused.
    Auth,
}

impl FactKind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::RateLimited, Self::Overloaded, Self::QuotaExhausted, Self::Auth];

    /// The longest that a fact of this kind is believed: five minutes for what ends by itself, ten
    /// for money and credentials, which whoever still finds them missing then publishes again.
    #[must_use]
    pub const fn longest(self) -> Duration {
        match self {
            Self::RateLimited | Self::Overloaded => Duration::from_secs(300),
            Self::QuotaExhausted | Self::Auth => Duration::from_secs(600),
        }
    }

    /// The failure that tells of it.
    #[must_use]
    pub const fn error_kind(self) -> ErrorKind {
        match self {
            Self::RateLimited => ErrorKind::RateLimited,
            Self::Overloaded => ErrorKind::Overloaded,
            Self::QuotaExhausted => ErrorKind::QuotaExhausted,
            Self::Auth => ErrorKind::Auth,
        }
    }

    /// What a failure tells of the account, if anything.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Option<Self> {
        match kind {
            ErrorKind::RateLimited => Some(Self::RateLimited),
            ErrorKind::Overloaded => Some(Self::Overloaded),
            ErrorKind::QuotaExhausted => Some(Self::QuotaExhausted),
            ErrorKind::Auth => Some(Self::Auth),
            _ => None,
        }
    }

    /// A label of low cardinality, the failure's.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.error_kind().label()
    }

    /// The kind with this label, for stores that keep it as text.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_label_and_by_its_failure() {
        for kind in FactKind::ALL {
            assert_eq!(FactKind::from_label(kind.label()), Some(kind));
            assert_eq!(FactKind::of(kind.error_kind()), Some(kind));
        }
        let others = ErrorKind::ALL.into_iter().filter(|kind| FactKind::of(*kind).is_none());
        assert_eq!(others.count(), ErrorKind::ALL.len() - FactKind::ALL.len());
        assert_eq!(FactKind::from_label("timeout"), None);
    }

    #[test]
    fn no_fact_outlasts_its_kind() {
        for kind in FactKind::ALL {
            let fact = AccountFact::new(1, kind, Duration::MAX).clamped();
            assert_eq!(fact.lasts, kind.longest());
            let short = AccountFact::new(1, kind, Duration::from_secs(1));
            assert_eq!(short.clamped(), short);
        }
    }
}
