//! The laws a [`FactStore`] keeps, as a suite to run against one's own.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use evenkeel::balance::facts::MemoryFactStore;
//! use evenkeel::testing::conformance;
//!
//! conformance::facts::store(|| async { MemoryFactStore::new() }).await;
//! # });
//! ```

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;

use super::{Verdict, ensure};
use crate::balance::facts::{AccountFact, FactKind, FactStore};
use crate::remote::StoreError;
use crate::rng::Rng;
use crate::time::{after, now, sleep_until};

/// Long beside a round trip, short enough to be waited for on a real clock.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// What a round trip and rounding may take from a fact before it is read.
const SLACK: Duration = Duration::from_secs(2);

/// Runs every law against the stores that `make` gives. Each is asked about accounts of its own, so
/// they may be one store. Takes some seconds on a real clock, and no time on a paused one.
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn store<S, F, Fut>(make: F)
where
    S: FactStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let suite = Suite { make, rng: Rng::from_entropy() };
    suite.law("what is published is told with what is left of it", told).await;
    suite.law("the later end stands, in whichever order", later_stands).await;
    suite.law("the latest end of many at once stands", many_at_once).await;
    suite.law("no fact outlasts its kind", bounded).await;
    suite.law("a fact ends by itself", ends).await;
    suite.law("what lasts no time is no fact", nothing).await;
    suite.law("what is lifted is gone, and nothing else", lifted).await;
}

struct Suite<F> {
    make: F,
    rng: Rng,
}

impl<S, F, Fut> Suite<F>
where
    S: FactStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    async fn law(&self, name: &str, law: impl AsyncFn(&Asking<S>) -> Verdict) {
        let high = u128::from(self.rng.next_u64()) << 64;
        let asking = Asking { store: (self.make)().await, run: high };
        if let Err(finding) = law(&asking).await {
            panic!("fact store law broken: {name}: {finding}");
        }
    }
}

/// One law's store, with accounts that nobody else uses.
struct Asking<S> {
    store: S,
    run: u128,
}

impl<S: FactStore> Asking<S> {
    const fn account(&self, number: u128) -> u128 {
        self.run | number
    }

    async fn publish(&self, number: u128, kind: FactKind, lasts: Duration) -> Verdict {
        let fact = AccountFact::new(self.account(number), kind, lasts);
        self.store.publish(&fact).await.map_err(|error| failed("publish", &error))
    }

    async fn lift(&self, number: u128) -> Verdict {
        let lifted = self.store.lift(self.account(number)).await;
        lifted.map_err(|error| failed("lift", &error))
    }

    async fn fact(&self, number: u128) -> Result<Option<AccountFact>, String> {
        let all = self.store.all().await.map_err(|error| failed("all", &error))?;
        let mut facts = all.into_iter().filter(|fact| fact.account == self.account(number));
        let fact = facts.next();
        ensure(facts.next().is_none(), || "an account has two facts")?;
        Ok(fact)
    }

    async fn expect(&self, number: u128, kind: FactKind, lasts: Duration) -> Verdict {
        let fact = self.fact(number).await?;
        let fact = fact.ok_or_else(|| format!("nothing is told of account {number}"))?;
        let close = fact.lasts <= lasts && fact.lasts + SLACK >= lasts;
        ensure(fact.kind == kind && close, || format!("{kind:?} for {lasts:?} is told as {fact:?}"))
    }

    async fn expect_none(&self, number: u128) -> Verdict {
        let fact = self.fact(number).await?;
        ensure(fact.is_none(), || format!("{fact:?} is told"))
    }
}

fn failed(what: &str, error: &StoreError) -> String {
    format!("{what} failed: {error}")
}

async fn told<S: FactStore>(asking: &Asking<S>) -> Verdict {
    for (number, kind) in (0..).zip(FactKind::ALL) {
        asking.publish(number, kind, LONG).await?;
    }
    for (number, kind) in (0..).zip(FactKind::ALL) {
        asking.expect(number, kind, LONG).await?;
    }
    asking.expect_none(FactKind::ALL.len() as u128).await
}

async fn later_stands<S: FactStore>(asking: &Asking<S>) -> Verdict {
    asking.publish(0, FactKind::RateLimited, LONG).await?;
    asking.publish(0, FactKind::Overloaded, LONG / 2).await?;
    asking.expect(0, FactKind::RateLimited, LONG).await?;
    asking.publish(1, FactKind::RateLimited, LONG / 2).await?;
    asking.publish(1, FactKind::Overloaded, LONG).await?;
    asking.expect(1, FactKind::Overloaded, LONG).await
}

async fn many_at_once<S: FactStore>(asking: &Asking<S>) -> Verdict {
    let lengths = (1..=20).map(|tenth| LONG * (tenth * 7 % 20 + 1) / 20);
    let publishing = lengths.map(|lasts| asking.publish(0, FactKind::RateLimited, lasts));
    join_all(publishing).await.into_iter().collect::<Verdict>()?;
    asking.expect(0, FactKind::RateLimited, LONG).await
}

async fn bounded<S: FactStore>(asking: &Asking<S>) -> Verdict {
    for (number, kind) in (0..).zip(FactKind::ALL) {
        asking.publish(number, kind, Duration::MAX).await?;
        asking.expect(number, kind, kind.longest()).await?;
    }
    Ok(())
}

async fn ends<S: FactStore>(asking: &Asking<S>) -> Verdict {
    asking.publish(0, FactKind::RateLimited, SHORT).await?;
    asking.publish(1, FactKind::Auth, LONG).await?;
    sleep_until(after(now(), 2 * SHORT)).await;
    asking.expect_none(0).await?;
    asking.expect(1, FactKind::Auth, LONG - 2 * SHORT).await
}

async fn nothing<S: FactStore>(asking: &Asking<S>) -> Verdict {
    asking.publish(0, FactKind::Auth, Duration::ZERO).await?;
    asking.expect_none(0).await?;
    asking.publish(1, FactKind::Auth, LONG).await?;
    asking.publish(1, FactKind::Auth, Duration::ZERO).await?;
    asking.expect(1, FactKind::Auth, LONG).await
}

async fn lifted<S: FactStore>(asking: &Asking<S>) -> Verdict {
    asking.publish(0, FactKind::Auth, LONG).await?;
    asking.publish(1, FactKind::Auth, LONG).await?;
    asking.lift(0).await?;
    asking.lift(0).await?;
    asking.lift(2).await?;
    asking.expect_none(0).await?;
    asking.expect(1, FactKind::Auth, LONG).await?;
    asking.publish(0, FactKind::QuotaExhausted, LONG / 2).await?;
    asking.expect(0, FactKind::QuotaExhausted, LONG / 2).await
}
