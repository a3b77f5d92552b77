//! Quotas that all instances take from.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::kept::{never, refusal, write_amounts, write_limits};
use super::keys::{Keys, tag};
use super::link::Link;
use super::script::Script;
use crate::quota::store::{Demand, Grant, QuotaStore, StoredScope, Verdict};
use crate::quota::{Amounts, Denied};
use crate::remote::StoreError;

static RESERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("lua/scope.lua"), include_str!("lua/reserve.lua")))
});

static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("lua/scope.lua"), include_str!("lua/settle.lua")))
});

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/beat.lua")));

/// Quotas on Redis: what [`MemoryQuotaStore`](crate::quota::store::MemoryQuotaStore) does in one
/// process, for all instances.
///
/// **Form.** A hash for each scope: its limits with how much of each is used, and an entry for each call
/// that is out. It takes about 140 bytes with two limits, is forgotten by itself once it is idle, and
/// keeps how full it is when its limits change.
///
/// **Exactness.** Amounts are whole numbers. Those of a limit up to 2^50, which is a million dollars in
/// nano-dollars, are kept to the last one; a larger limit is kept in units of a power of two, as many
/// that it is below 2^50 of them, and what is charged is rounded up. What flows in is rounded down to
/// whole units, never cumulatively. Debts stop growing at 2^51.
///
/// **Time** is the server's, in microseconds. A clock that is set back lets nothing flow in until it has
/// caught up, or, if it was set back by more than five seconds, from there on.
///
/// **Clusters.** A script reaches the scopes of one slot. The part of a scope's key before its first
/// slash decides the slot: a tenant's scopes are asked together when they agree there. Scopes of other
/// slots are asked one after the other, in the demand's order, and what the first ones gave goes back
/// when a later one refuses. That costs a round trip each, and until it is back it may refuse others,
/// but lets nothing through. A refusal then names the time of the first slot that refused, and the
/// scopes behind it may take longer. A future that is dropped in between leaves what the first slots
/// gave to its expiry.
///
/// **Replays.** A demand that arrives twice is granted once, and so is a settlement; the driver may
/// therefore send again what may have been lost.
#[derive(Debug, Clone)]
pub struct RedisQuotaStore {
    keys: Arc<Keys>,
    link: Arc<Link>,
}

/// The scopes of a demand that one script can reach.
struct Part<'a> {
    scopes: Vec<&'a StoredScope>,
    keys: Vec<String>,
}

impl RedisQuotaStore {
    pub(super) const fn new(keys: Arc<Keys>, link: Arc<Link>) -> Self {
        Self { keys, link }
    }

    /// The parts of a demand, in the order of the first scope of each.
    fn parts<'a>(&self, demand: &'a Demand) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(1);
        for scope in &demand.scopes {
            let key = self.keys.quota(&scope.key);
            let together = |part: &&mut Part<'_>| {
                !self.link.is_cluster() || part.keys.first().is_some_and(|it| tag(it) == tag(&key))
            };
            match parts.iter_mut().find(together) {
                Some(part) => {
                    part.scopes.push(scope);
                    part.keys.push(key);
                }
                None => parts.push(Part { scopes: vec![scope], keys: vec![key] }),
            }
        }
        parts
    }

    async fn reserve_part(&self, demand: &Demand, part: &Part<'_>) -> Result<(), Refused> {
        let arguments = |call: &mut Cmd| {
            call.arg(&demand.id.to_be_bytes()).arg(micros(demand.expires_in));
            write_amounts(call, &demand.amounts);
            part.scopes.iter().for_each(|scope| write_limits(call, &scope.limits));
        };
        let found: Vec<u64> = RESERVE.run(&self.link, &part.keys, arguments).await?;
        if found.is_empty() {
            return Ok(());
        }
        let nonsense = || StoreError::Garbled("a refusal by a limit that is not there".into());
        Err(Refused::Denied(refusal(&part.scopes, &found).ok_or_else(nonsense)?))
    }

    /// Without an actual use, the call never was.
    async fn settle_part(
        &self,
        demand: &Demand,
        part: &Part<'_>,
        actual: Option<&Amounts>,
    ) -> Result<(), StoreError> {
        let arguments = |call: &mut Cmd| {
            call.arg(&demand.id.to_be_bytes());
            write_amounts(call, &demand.amounts);
            write_amounts(call, actual.unwrap_or(&Amounts::NONE));
            call.arg(u8::from(actual.is_none()));
        };
        SETTLE.run(&self.link, &part.keys, arguments).await
    }

    /// Gives back what was taken of `parts`, as well as it goes: what does not expires.
    async fn undo(&self, demand: &Demand, parts: &[Part<'_>]) {
        for part in parts {
            let _expires = self.settle_part(demand, part, None).await;
        }
    }
}

/// Why a part was not taken.
enum Refused {
    Denied(Denied),
    Failed(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

#[async_trait]
impl QuotaStore for RedisQuotaStore {
    async fn reserve(&self, demand: &Arc<Demand>) -> Result<Verdict, StoreError> {
        if let Some(denied) = never(demand) {
            return Ok(Verdict::Denied(denied));
        }
        let parts = self.parts(demand);
        for (at, part) in parts.iter().enumerate() {
            let Err(refused) = self.reserve_part(demand, part).await else { continue };
            self.undo(demand, &parts[..at]).await;
            return match refused {
                Refused::Denied(denied) => Ok(Verdict::Denied(denied)),
                Refused::Failed(error) => Err(error),
            };
        }
        Ok(Verdict::Granted(Grant::new(Arc::clone(demand), Vec::new())))
    }

    async fn settle(&self, grant: &Grant, actual: &Amounts) -> Result<(), StoreError> {
        let mut settled = Ok(());
        // Every part, even where one fails: the others are then settled already.
        for part in self.parts(&grant.demand) {
            settled = settled.and(self.settle_part(&grant.demand, &part, Some(actual)).await);
        }
        settled
    }

    async fn beat(&self, instance: u128, ttl: Duration) -> Result<u32, StoreError> {
        let arguments = |call: &mut Cmd| {
            call.arg(&instance.to_be_bytes()).arg(micros(ttl));
        };
        BEAT.run(&self.link, &[self.keys.instances()], arguments).await
    }
}

/// At most thirty years, so that every sum with a time is exact.
fn micros(time: Duration) -> u64 {
    time.min(crate::time::FAR_FUTURE).as_micros() as u64
}
