//! Answers that all instances may serve.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::keys::Keys;
use super::link::Link;
use super::script::Script;
use crate::cache::shared::{CacheStore, SharedAnswer, SharedKey};
use crate::remote::StoreError;
use crate::stores::envelope::MOST_STORED;

static GET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/get.lua")));
static EPOCHS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/epochs.lua")));
static LEAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/lead.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/release.lua")));

/// A label that nobody asks for is forgotten after so long, and with it the answers that carry it.
const LABELS_LAST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Answers on Redis, sealed: one that was altered, cut off or put under another key is
/// [`StoreError::Garbled`] and never served.
///
/// An answer is kept compressed where that pays, in at most a mebibyte; a larger one is not kept.
/// Epochs are the server's time in microseconds, so that a label which was forgotten gets a number it
/// never had. All labels lie in one slot of a cluster, an answer and the lead on it in one of their own.
#[derive(Debug, Clone)]
pub struct RedisCacheStore {
    keys: Arc<Keys>,
    link: Arc<Link>,
}

impl RedisCacheStore {
    pub(super) const fn new(keys: Arc<Keys>, link: Arc<Link>) -> Self {
        Self { keys, link }
    }

    async fn ask_labels(&self, labels: &[u128], advance: bool) -> Result<Vec<u64>, StoreError> {
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = labels.iter().map(|label| self.keys.label(*label)).collect();
        let arguments = |call: &mut Cmd| {
            call.arg(millis(LABELS_LAST)).arg(u8::from(advance));
        };
        EPOCHS.run(&self.link, &keys, arguments).await
    }

    async fn ask_lead(
        &self,
        script: &Script,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let arguments = |call: &mut Cmd| {
            call.arg(&token.to_be_bytes()).arg(millis(lease));
        };
        script.run(&self.link, &[self.keys.lead(key)], arguments).await
    }
}

#[async_trait]
impl CacheStore for RedisCacheStore {
    async fn get(&self, key: &SharedKey) -> Result<Option<SharedAnswer>, StoreError> {
        let name = self.keys.answer(key);
        let found: Option<(Vec<u8>, i64)> =
            GET.run(&self.link, std::slice::from_ref(&name), |_| {}).await?;
        let Some((sealed, left)) = found else { return Ok(None) };
        let answer: SharedAnswer = self.keys.sealer().open(name.as_bytes(), &sealed)?;
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Ok(Some(answer.expires_in(left)))
    }

    async fn put(&self, key: &SharedKey, answer: &SharedAnswer) -> Result<(), StoreError> {
        let name = self.keys.answer(key);
        let sealed = self.keys.sealer().seal(name.as_bytes(), answer)?;
        let sealed = sealed.ok_or(StoreError::TooLarge { most: MOST_STORED })?;
        let mut call = redis::cmd("SET");
        call.arg(name).arg(sealed).arg("PX").arg(millis(answer.expires_in));
        self.link.read(self.link.ask(&call).await)
    }

    async fn remove(&self, key: &SharedKey) -> Result<(), StoreError> {
        let mut call = redis::cmd("DEL");
        call.arg(self.keys.answer(key));
        self.link.read(self.link.ask(&call).await)
    }

    async fn epochs(&self, labels: &[u128]) -> Result<Vec<u64>, StoreError> {
        self.ask_labels(labels, false).await
    }

    async fn advance(&self, label: u128) -> Result<u64, StoreError> {
        let epochs = self.ask_labels(&[label], true).await?;
        epochs.first().copied().ok_or_else(|| StoreError::Garbled("no epoch".into()))
    }

    async fn try_lead(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.ask_lead(&LEAD, key, token, lease).await
    }

    async fn renew(
        &self,
        key: &SharedKey,
        token: u128,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        self.ask_lead(&RENEW, key, token, lease).await
    }

    async fn release(&self, key: &SharedKey, token: u128) -> Result<(), StoreError> {
        self.ask_lead(&RELEASE, key, token, Duration::ZERO).await.map(drop)
    }
}

/// At least one, for none is an error to the server; at most thirty years.
fn millis(time: Duration) -> u64 {
    (time.min(crate::time::FAR_FUTURE).as_millis() as u64).max(1)
}
