//! What instances tell one another of their accounts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::keys::Keys;
use super::link::Link;
use super::script::Script;
use crate::balance::facts::{AccountFact, FactKind, FactStore, MOST_FACTS};
use crate::remote::StoreError;

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/publish.lua")));
static FACTS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/facts.lua")));

/// Facts about accounts on Redis: one hash, whose key goes when the last fact has ended.
#[derive(Debug, Clone)]
pub struct RedisFactStore {
    keys: Arc<Keys>,
    link: Arc<Link>,
}

impl RedisFactStore {
    pub(super) const fn new(keys: Arc<Keys>, link: Arc<Link>) -> Self {
        Self { keys, link }
    }
}

#[async_trait]
impl FactStore for RedisFactStore {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        let AccountFact { account, kind, lasts, .. } = fact.clamped();
        let arguments = |call: &mut Cmd| {
            call.arg(&account.to_be_bytes()).arg(lasts.as_micros() as u64);
            call.arg(kind.label()).arg(MOST_FACTS);
        };
        let kept: bool = PUBLISH.run(&self.link, &[self.keys.facts()], arguments).await?;
        kept.then_some(())
            .ok_or_else(|| StoreError::Refused("it keeps as many facts as it may".into()))
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        let mut call = redis::cmd("HDEL");
        call.arg(self.keys.facts()).arg(&account.to_be_bytes());
        self.link.read(self.link.ask(&call).await)
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        let found: Vec<(Vec<u8>, u64, Vec<u8>)> =
            FACTS.run(&self.link, &[self.keys.facts()], |_| {}).await?;
        Ok(found.iter().filter_map(fact).take(MOST_FACTS).collect())
    }
}

/// What was kept, if it can be read, lasting no longer than its kind may.
fn fact((account, micros, kind): &(Vec<u8>, u64, Vec<u8>)) -> Option<AccountFact> {
    let account = u128::from_be_bytes(account.as_slice().try_into().ok()?);
    let kind = FactKind::from_label(std::str::from_utf8(kind).ok()?)?;
    Some(AccountFact::new(account, kind, Duration::from_micros(*micros)).clamped())
}
