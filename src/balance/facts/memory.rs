//! The reference store: in this process, under one lock.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::contract::{AccountFact, FactKind, FactStore, MOST_FACTS};
use crate::remote::StoreError;
use crate::sync::Mutex;
use crate::time::{Instant, after, now};

/// The reference store: in this process, under one lock. For tests, and for several balancers of one
/// process that use the same accounts.
///
/// Cheap to clone; clones share everything.
#[derive(Debug, Clone, Default)]
pub struct MemoryFactStore {
    facts: Arc<Mutex<HashMap<u128, Kept>>>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    kind: FactKind,
    until: Instant,
}

impl MemoryFactStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl FactStore for MemoryFactStore {
    async fn publish(&self, fact: &AccountFact) -> Result<(), StoreError> {
        let AccountFact { account, kind, lasts } = fact.clamped();
        let now = now();
        let until = after(now, lasts);
        let mut facts = self.facts.lock();
        facts.retain(|_, kept| kept.until > now);
        let known = facts.get(&account);
        if until <= now || known.is_some_and(|kept| kept.until >= until) {
            return Ok(());
        }
        if known.is_none() && facts.len() >= MOST_FACTS {
            return Err(StoreError::Refused("it keeps as many facts as it may".into()));
        }
        facts.insert(account, Kept { kind, until });
        Ok(())
    }

    async fn lift(&self, account: u128) -> Result<(), StoreError> {
        self.facts.lock().remove(&account);
        Ok(())
    }

    async fn all(&self) -> Result<Vec<AccountFact>, StoreError> {
        let now = now();
        let facts = self.facts.lock();
        let running = facts.iter().filter(|(_, kept)| kept.until > now);
        let fact = |(account, kept): (&u128, &Kept)| {
            AccountFact::new(*account, kept.kind, kept.until - now)
        };
        Ok(running.map(fact).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_keeps_so_many_facts_and_room_comes_with_their_end() {
        let store = MemoryFactStore::new();
        let fact = |account, lasts| AccountFact::new(account, FactKind::Auth, lasts);
        for account in 0..MOST_FACTS as u128 {
            store.publish(&fact(account, Duration::from_secs(1))).await.unwrap();
        }
        let long = Duration::from_secs(60);
        let refused = store.publish(&fact(u128::MAX, long)).await.unwrap_err();
        assert_eq!(refused.label(), "refused");
        store.publish(&fact(0, long)).await.unwrap();
        crate::time::sleep_until(after(now(), Duration::from_secs(1))).await;
        store.publish(&fact(u128::MAX, long)).await.unwrap();
        assert_eq!(store.all().await.unwrap().len(), 2);
    }
}
