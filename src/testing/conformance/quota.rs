//! The laws a [`QuotaStore`] keeps, as a suite to run against one's own.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use evenkeel::quota::store::MemoryQuotaStore;
//! use evenkeel::testing::conformance;
//!
//! conformance::quota::store(|| async { MemoryQuotaStore::new() }).await;
//! # });
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::{Verdict as Finding, ensure};
use crate::quota::store::{Demand, Grant, QuotaStore, StoredScope, Verdict};
use crate::quota::{Amounts, Denied, Dimension, Level, Limit, Limits, Reason};
use crate::rng::Rng;
use crate::time::{after, now, sleep_until};

/// Long beside a round trip, short enough to be waited for on a real clock.
const WINDOW: Duration = Duration::from_secs(2);

const AMOUNT: u64 = 1_000;

/// Runs every law against the stores that `make` gives. Each is asked under keys of its own, so they
/// may be one store. Takes some seconds on a real clock, and no time on a paused one.
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn store<S, F, Fut>(make: F)
where
    S: QuotaStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let suite = Suite { make, rng: Rng::from_entropy() };
    suite.law("what fits is taken and what does not is told when", refusals_are_exact).await;
    suite.law("never is not not yet", never_is_not_not_yet).await;
    suite.law("all scopes or none", all_or_none).await;
    suite.law("many at once take no more than there is", many_at_once).await;
    suite.law("asking twice is asking once", asking_twice).await;
    suite.law("settling twice is settling once", settling_twice).await;
    suite.law("a shortfall is charged", shortfall).await;
    suite.law("what has drained is not given back", drained_stays).await;
    suite.law("a call ends when it is settled or expires", calls_end).await;
    suite.law("limits that change keep what is used", limits_change).await;
    suite.law("an instance is counted while it says that it lives", instances_are_counted).await;
}

struct Suite<F> {
    make: F,
    rng: Rng,
}

impl<S, F, Fut> Suite<F>
where
    S: QuotaStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    async fn law(&self, name: &str, law: impl AsyncFn(&Asking<S>) -> Finding) {
        let (store, run) = ((self.make)().await, self.rng.next_u64());
        let asking = Asking { store, run, rng: Rng::from_seed(run) };
        if let Err(finding) = law(&asking).await {
            panic!("quota store law broken: {name}: {finding}");
        }
    }
}

/// One law's store, with keys and ids that nobody else uses.
struct Asking<S> {
    store: S,
    run: u64,
    rng: Rng,
}

impl<S: QuotaStore> Asking<S> {
    fn scope(&self, name: &str, limits: Limits) -> StoredScope {
        StoredScope::new(format!("conformance-{:x}-{name}", self.run), Level::Tenant, limits)
    }

    fn demand(&self, amount: u64, scopes: &[StoredScope]) -> Arc<Demand> {
        let id = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        Arc::new(Demand::new(id, Amounts::tokens(amount, 0), scopes.to_vec()))
    }

    async fn ask(&self, demand: &Arc<Demand>) -> Result<Result<Grant, Denied>, String> {
        match self.store.reserve(demand).await {
            Ok(Verdict::Granted(grant)) => Ok(Ok(grant)),
            Ok(Verdict::Denied(denied)) => Ok(Err(denied)),
            Err(error) => Err(format!("reserve failed: {error}")),
        }
    }

    async fn take(&self, amount: u64, scopes: &[StoredScope]) -> Result<Grant, String> {
        let granted = self.ask(&self.demand(amount, scopes)).await?;
        granted.map_err(|denied| format!("{amount} were refused: {denied}"))
    }

    async fn refused(&self, amount: u64, scopes: &[StoredScope]) -> Result<Denied, String> {
        let granted = self.ask(&self.demand(amount, scopes)).await?;
        granted.err().ok_or_else(|| format!("{amount} were let in"))
    }

    async fn settle(&self, grant: &Grant, actual: u64) -> Finding {
        let settled = self.store.settle(grant, &Amounts::tokens(actual, 0)).await;
        settled.map_err(|error| format!("settle failed: {error}"))
    }
}

fn tokens(amount: u64) -> Limits {
    Limits::new().limit(Limit::new(Dimension::Tokens, amount, WINDOW))
}

async fn pass(time: Duration) {
    sleep_until(after(now(), time)).await;
}

async fn refusals_are_exact<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT))];
    let grant = asking.take(AMOUNT, &scopes).await?;
    asking.settle(&grant, AMOUNT).await?;
    let denied = asking.refused(AMOUNT / 2, &scopes).await?;
    let wait = denied.retry_after().ok_or("a refusal without a time")?;
    let fits = wait > WINDOW / 4 && wait <= WINDOW * 51 / 100;
    ensure(fits, || format!("half a window is to be waited for, not {wait:?}"))?;
    pass(wait / 2).await;
    asking.refused(AMOUNT / 2, &scopes).await?;
    // A timer may be early by its tick.
    pass(wait.div_f64(2.0) + Duration::from_millis(5)).await;
    asking.take(AMOUNT / 2, &scopes).await.map(drop)
}

async fn never_is_not_not_yet<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT))];
    let denied = asking.refused(AMOUNT + 1, &scopes).await?;
    let never = matches!(denied.reason, Reason::TooLarge { most: AMOUNT, .. });
    ensure(never, || format!("{denied}"))?;
    let huge = asking.refused(u64::MAX, &scopes).await?;
    ensure(huge.is_never(), || format!("{huge}"))
}

async fn all_or_none<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let wide = asking.scope("wide", tokens(AMOUNT).concurrency(2));
    let tight = asking.scope("tight", tokens(10));
    for _ in 0..5 {
        asking.refused(11, &[wide.clone(), tight.clone()]).await?;
        asking.refused(11, &[tight.clone(), wide.clone()]).await?;
    }
    asking.take(AMOUNT, &[wide]).await?;
    asking.take(10, &[tight]).await.map(drop)
}

async fn many_at_once<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let day = Limit::new(Dimension::Tokens, 10, Duration::from_secs(86_400));
    let scopes = [asking.scope("a", Limits::new().limit(day)), asking.scope("b", tokens(AMOUNT))];
    let demands: Vec<_> = (0..40).map(|_| asking.demand(1, &scopes)).collect();
    let answers = join_all(demands.iter().map(|demand| asking.ask(demand))).await;
    let granted = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let granted = granted.iter().filter(|answer| answer.is_ok()).count();
    // Refused ones may stand in the way of others for a moment, so a few less are no fault.
    ensure((8..=10).contains(&granted), || format!("{granted} of 10 were let in"))
}

async fn asking_twice<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT).concurrency(2))];
    let demand = asking.demand(AMOUNT / 4, &scopes);
    let first = asking.ask(&demand).await?;
    let second = asking.ask(&demand).await?;
    ensure(first.is_ok() && first == second, || format!("{first:?}, then {second:?}"))?;
    asking.take(AMOUNT * 3 / 4, &scopes).await.map(drop)
}

async fn settling_twice<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT).concurrency(2))];
    let first = asking.take(AMOUNT / 2, &scopes).await?;
    let _second = asking.take(AMOUNT / 2, &scopes).await?;
    for _ in 0..3 {
        asking.settle(&first, 0).await?;
    }
    let _third = asking.take(AMOUNT / 2, &scopes).await?;
    asking.refused(AMOUNT / 2, &scopes).await.map(drop)
}

async fn shortfall<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT))];
    let grant = asking.take(1, &scopes).await?;
    asking.settle(&grant, 10 * AMOUNT).await?;
    let wait = asking.refused(1, &scopes).await?.retry_after();
    let long = wait.is_some_and(|wait| wait > 8 * WINDOW && wait <= 9 * WINDOW + WINDOW / 100);
    ensure(long, || format!("ten windows were used, and the wait is {wait:?}"))?;
    let grant = asking.take(1, &[asking.scope("b", tokens(AMOUNT))]).await?;
    asking.settle(&grant, u64::MAX).await?;
    asking.refused(1, &[asking.scope("b", tokens(AMOUNT))]).await.map(drop)
}

async fn drained_stays<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", tokens(AMOUNT))];
    let early = asking.take(AMOUNT, &scopes).await?;
    pass(WINDOW * 3 / 4).await;
    let late = asking.take(AMOUNT / 2, &scopes).await?;
    // A quarter of the early one has not drained; the rest was replaced by time already.
    asking.settle(&early, 0).await?;
    asking.settle(&late, AMOUNT / 2).await?;
    asking.refused(AMOUNT * 7 / 10, &scopes).await?;
    asking.take(AMOUNT * 4 / 10, &scopes).await.map(drop)
}

async fn calls_end<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let scopes = [asking.scope("a", Limits::new().concurrency(1))];
    let first = asking.take(1, &scopes).await?;
    let denied = asking.refused(1, &scopes).await?;
    let busy = matches!(denied.reason, Reason::Concurrency { limit: 1 });
    ensure(busy, || format!("{denied}"))?;
    asking.settle(&first, 1).await?;
    let mut demand = Demand::clone(&asking.demand(1, &scopes));
    demand.expires_in = WINDOW;
    let lost = asking.ask(&Arc::new(demand)).await?.map_err(|denied| format!("{denied}"))?;
    pass(WINDOW / 2).await;
    asking.refused(1, &scopes).await?;
    pass(WINDOW).await;
    let _next = asking.take(1, &scopes).await?;
    // What comes too late must not end somebody else's call.
    asking.settle(&lost, 1).await?;
    asking.refused(1, &scopes).await.map(drop)
}

async fn limits_change<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let grant = asking.take(AMOUNT, &[asking.scope("a", tokens(AMOUNT))]).await?;
    let more = [asking.scope("a", tokens(2 * AMOUNT))];
    let denied = asking.refused(AMOUNT * 3 / 2, &more).await?;
    ensure(!denied.is_never(), || format!("{denied}"))?;
    asking.settle(&grant, AMOUNT / 2).await?;
    asking.take(AMOUNT * 3 / 2, &more).await.map(drop)
}

/// A store that does not count answers one. Nobody else may beat on the same store meanwhile.
async fn instances_are_counted<S: QuotaStore>(asking: &Asking<S>) -> Finding {
    let beat = async |instance: u32| {
        let instance = u128::from(asking.run) << 64 | u128::from(instance);
        let count = asking.store.beat(instance, WINDOW).await;
        count.map_err(|error| format!("beat failed: {error}"))
    };
    if beat(1).await? > 1 {
        // Of an earlier run, perhaps.
        pass(WINDOW * 3 / 2).await;
    }
    let first = beat(1).await?;
    let again = beat(1).await?;
    ensure(first >= 1 && again == first, || format!("one instance was {first}, then {again}"))?;
    let both = beat(2).await?;
    ensure(both == first || both == first + 1, || format!("{first} and one more are {both}"))?;
    pass(WINDOW * 3 / 2).await;
    let left = beat(2).await?;
    ensure(left == first, || format!("{first} were left, not {left}, when one had died"))
}
