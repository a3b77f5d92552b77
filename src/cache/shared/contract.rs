//! What a store of answers is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answer::{SharedAnswer, SharedKey};
use crate::remote::StoreError;

/// Where answers are kept that several instances share.
///
/// Every method is one round trip. An error says that the store did not answer; what it then did is
/// unknown, and the same may be asked again. A store may forget whatever it likes at any time: an
/// answer that is gone is fetched again.
///
/// Dropping a future leaves open whether the store did what was asked.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// The answer under a key, with what is left of [`SharedAnswer::expires_in`].
    ///
    /// # Errors
    /// Where the store could not be asked, and [`StoreError::Garbled`] where what lies under the key
    /// is not what was put there: altered, cut, or put under another key.
    async fn get(&self, key: &SharedKey) -> Result<Option<SharedAnswer>, StoreError>;

    /// Puts an answer under a key, in place of the one there, for [`SharedAnswer::expires_in`].
    ///
    /// # Errors
    /// Where the store could not be asked or takes no such answer.
    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Result<(), StoreError>;

    /// Removes the answer under a key, if there is one.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn remove(&self, key: &SharedKey) -> Result<(), StoreError>;

    /// The epochs of some labels, in order, read in that order or all at one moment.
    ///
    /// The epoch of a label lasts until it is [advanced](Self::advance), and no later epoch of the
    /// label has the same number, whatever is forgotten in between. A label that the store does not
    /// know, or no longer, is therefore given a number it never had, by a counter or a clock, and
    /// keeps it: the second reader sees what the first one saw. It should not be forgotten before the
    /// answers that carry it; it may be, at the cost of those answers.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn epochs(&self, labels: &[u128]) -> Result<Vec<u64>, StoreError>;

    /// Ends the epoch of a label, and with it the life of every answer that carries it; the new one.
    /// Whoever asks later sees the new one.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn advance(&self, label: u128) -> Result<u64, StoreError>;

    /// Takes the lead on a key for as long as `lease`, unless another one has it; whether it has it
    /// now. Asked again with the same token, it answers the same.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn try_lead(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError>;

    /// Keeps the lead for as long as `lease` from now on. False where the token no longer has it: it
    /// came too late, and another one may lead.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn renew(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives the lead back, if the token has it. Another one's is left alone.
    ///
    /// # Errors
    /// Where the store could not be asked.
    async fn release(&self, key: &SharedKey, token: u128) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: CacheStore + ?Sized> CacheStore for Arc<S> {
    async fn get(&self, key: &SharedKey) -> Result<Option<SharedAnswer>, StoreError> {
        (**self).get(key).await
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Result<(), StoreError> {
        (**self).put(key, answer).await
    }

    async fn remove(&self, key: &SharedKey) -> Result<(), StoreError> {
        (**self).remove(key).await
    }

    async fn epochs(&self, labels: &[u128]) -> Result<Vec<u64>, StoreError> {
        (**self).epochs(labels).await
    }

    async fn advance(&self, label: u128) -> Result<u64, StoreError> {
        (**self).advance(label).await
    }

    async fn try_lead(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        (**self).try_lead(key, token, lease).await
    }

    async fn renew(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        (**self).renew(key, token, lease).await
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Result<(), StoreError> {
        (**self).release(key, token).await
    }
}
