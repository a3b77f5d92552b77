//! The laws a [`CacheStore`] keeps, as a suite to run against one's own.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use evenkeel::cache::shared::MemoryCacheStore;
//! use evenkeel::testing::conformance;
//!
//! conformance::cache::store(|| async { MemoryCacheStore::default() }).await;
//! # });
//! ```

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use super::broken::{Broken, Finding};
use super::ensure;
use crate::cache::StoredAnswer;
use crate::cache::shared::{CacheStore, SharedAnswer, SharedKey, Stamp};
use crate::request::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason};
use crate::rng::Rng;
use crate::time::{after, now, sleep_until};
use crate::usage::Cost;

/// Long beside a round trip, short enough to be waited for on a real clock.
const WHILE: Duration = Duration::from_secs(2);

/// Longer than any law takes.
const LONG: Duration = Duration::from_secs(600);

/// Runs every law against the stores that `make` gives. Each is asked under keys of its own, so they
/// may be one store. Takes some seconds on a real clock, and no time on a paused one.
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn store<S, F, Fut>(make: F)
where
    S: CacheStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let suite = Suite { make, rng: Rng::from_entropy() };
    suite.law("what was put is got, as it was", put_is_got).await;
    suite.law("a key is its scope and its request", keys_are_whole).await;
    suite.law("the later one takes the place", later_replaces).await;
    suite.law("an answer expires, and says before what is left", answers_expire).await;
    suite.law("what was removed is gone", removed_is_gone).await;
    suite.law("an epoch lasts until it is advanced", epochs_last).await;
    suite.law("no epoch comes twice", no_epoch_twice).await;
    suite.law("one leads at a time", one_leads).await;
    suite.law("a lead ends with its lease, and not while it is renewed", leads_end).await;
    suite.law("nobody gives back another one's lead", release_compares).await;
}

struct Suite<F> {
    make: F,
    rng: Rng,
}

impl<S, F, Fut> Suite<F>
where
    S: CacheStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    async fn law(&self, name: &str, law: impl AsyncFn(&Asking<S>) -> Finding) {
        let asking =
            Asking { store: (self.make)().await, rng: Rng::from_seed(self.rng.next_u64()) };
        if let Err(Broken(finding)) = law(&asking).await {
            panic!("cache store law broken: {name}: {finding}");
        }
    }
}

/// One law's store, with keys that nobody else uses.
struct Asking<S> {
    store: S,
    rng: Rng,
}

impl<S: CacheStore> Asking<S> {
    fn hash(&self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }

    fn key(&self) -> SharedKey {
        SharedKey::new(self.hash(), self.hash())
    }

    fn answer(&self, scope: u128, text: &str, expires_in: Duration) -> SharedAnswer {
        let stored = StoredAnswer::new(ChatResponse::text_only(text));
        let stored =
            stored.with_timing(Some(WHILE / 2), WHILE).with_cost(Some(Cost::from_nano_dollars(7)));
        let stamps = vec![Stamp::new(self.hash(), u64::MAX), Stamp::new(u128::MAX, 0)];
        SharedAnswer::new(scope, stamps, stored, expires_in)
    }

    async fn text(&self, key: &SharedKey) -> Result<Option<String>, Broken> {
        Ok(self.store.get(key).await?.map(|answer| answer.answer.response.text()))
    }

    async fn expect(&self, key: &SharedKey, text: Option<&str>) -> Finding {
        let got = self.text(key).await?;
        Ok(ensure(got.as_deref() == text, || format!("{text:?} is there, and {got:?} was got"))?)
    }
}

async fn pass(time: Duration) {
    sleep_until(after(now(), time)).await;
}

/// One of every kind of part.
fn every_kind() -> ChatResponse {
    let parts = [
        Part::text("text, \u{e9}, \u{1f980}, \0"),
        Part::ToolCall(ToolCall::new("c", "find", r#"{"b": 1.50, "a": []}"#)),
        Part::Reasoning(Reasoning::new("because")),
        Part::Opaque { provider: "p".into(), value: json!({"k": [1, null, "v"]}) },
        Part::text("x".repeat(100_000)),
    ];
    ChatResponse::new(parts, FinishReason::Stop)
}

async fn put_is_got<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    asking.expect(&key, None).await?;
    let mut answer = asking.answer(key.scope, "yes", LONG);
    for response in [ChatResponse::text_only("yes"), every_kind()] {
        answer.answer = StoredAnswer::new(response).into();
        asking.store.put(&key, &answer).await?;
        let got = asking.store.get(&key).await?.map(|got| got.expires_in(LONG));
        ensure(got.as_ref() == Some(&answer), || "something else was got")?;
    }
    Ok(())
}

async fn keys_are_whole<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    let near = [
        SharedKey::new(key.scope ^ 1, key.exact),
        SharedKey::new(key.scope, key.exact ^ (1 << 127)),
        SharedKey::new(key.exact, key.scope),
    ];
    asking.store.put(&key, &asking.answer(key.scope, "yes", LONG)).await?;
    for other in near {
        asking.expect(&other, None).await?;
    }
    asking.expect(&key, Some("yes")).await
}

async fn later_replaces<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    for text in ["first", "second"] {
        asking.store.put(&key, &asking.answer(key.scope, text, LONG)).await?;
        asking.expect(&key, Some(text)).await?;
    }
    Ok(())
}

async fn answers_expire<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let (key, longer) = (asking.key(), asking.key());
    asking.store.put(&key, &asking.answer(key.scope, "short", WHILE)).await?;
    asking.store.put(&longer, &asking.answer(longer.scope, "long", LONG)).await?;
    pass(WHILE / 2).await;
    let left = asking.store.get(&key).await?.map(|answer| answer.expires_in).unwrap_or_default();
    ensure(left > WHILE / 4 && left <= WHILE * 51 / 100, || {
        format!("half of {WHILE:?} is left, not {left:?}")
    })?;
    pass(WHILE * 6 / 10).await;
    asking.expect(&key, None).await?;
    asking.expect(&longer, Some("long")).await
}

async fn removed_is_gone<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    asking.store.remove(&key).await?;
    asking.store.put(&key, &asking.answer(key.scope, "yes", LONG)).await?;
    asking.store.remove(&key).await?;
    asking.expect(&key, None).await
}

async fn epochs_last<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let labels = [asking.hash(), asking.hash(), asking.hash()];
    let first = asking.store.epochs(&labels).await?;
    ensure(first.len() == 3, || format!("{} epochs of 3 labels", first.len()))?;
    let again = asking.store.epochs(&labels).await?;
    ensure(first == again, || format!("{first:?}, then {again:?}"))?;
    let new = asking.store.advance(labels[1]).await?;
    let after = asking.store.epochs(&labels).await?;
    ensure(after == [first[0], new, first[2]], || format!("{first:?}, then {after:?}"))?;
    let none = asking.store.epochs(&[]).await?;
    Ok(ensure(none.is_empty(), || format!("{none:?} of no labels"))?)
}

async fn no_epoch_twice<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let label = asking.hash();
    let mut seen = HashSet::new();
    seen.extend(asking.store.epochs(&[label]).await?);
    for round in 1..20 {
        let advanced = join_all((0..2).map(|_| asking.store.advance(label))).await;
        seen.extend(advanced.into_iter().collect::<Result<Vec<_>, _>>()?);
        let found = || format!("{} epochs after {} advances", seen.len(), 2 * round);
        ensure(seen.len() == 1 + 2 * round, found)?;
    }
    Ok(())
}

async fn one_leads<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    let tries = (0..20).map(|token| asking.store.try_lead(&key, token, LONG));
    let leads = join_all(tries).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let Some(token) = leads.iter().position(|leads| *leads) else {
        return Err(Broken("nobody leads".into()));
    };
    let many = leads.iter().filter(|leads| **leads).count();
    ensure(many == 1, || format!("{many} lead"))?;
    let again = asking.store.try_lead(&key, token as u128, LONG).await?;
    ensure(again, || "asking twice is not asking once")?;
    let other = SharedKey::new(key.scope, !key.exact);
    ensure(asking.store.try_lead(&other, 77, LONG).await?, || "another key is led")?;
    asking.store.release(&key, token as u128).await?;
    let next = asking.store.try_lead(&key, 99, LONG).await?;
    Ok(ensure(next, || "what was given back cannot be had")?)
}

async fn leads_end<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    ensure(asking.store.try_lead(&key, 1, WHILE).await?, || "a new key is led")?;
    for _ in 0..3 {
        pass(WHILE / 2).await;
        ensure(asking.store.renew(&key, 1, WHILE).await?, || "it was lost in time")?;
        ensure(!asking.store.renew(&key, 2, WHILE).await?, || "a stranger renewed it")?;
        ensure(!asking.store.try_lead(&key, 2, WHILE).await?, || "two lead")?;
    }
    pass(WHILE * 11 / 10).await;
    ensure(asking.store.try_lead(&key, 2, WHILE).await?, || "it has no end")?;
    Ok(ensure(!asking.store.renew(&key, 1, WHILE).await?, || "it was renewed after its end")?)
}

async fn release_compares<S: CacheStore>(asking: &Asking<S>) -> Finding {
    let key = asking.key();
    let token = asking.hash();
    asking.store.release(&key, token).await?;
    ensure(asking.store.try_lead(&key, token, LONG).await?, || "a new key is led")?;
    // The halves apart: a token is 128 bits.
    for other in [token ^ 1, token ^ (1 << 127)] {
        asking.store.release(&key, other).await?;
        ensure(!asking.store.try_lead(&key, other, LONG).await?, || "two lead")?;
    }
    Ok(())
}
