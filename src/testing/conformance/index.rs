//! The laws a shared [`VectorIndex`] keeps, as a suite to run against one's own.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! use evenkeel::cache::shared::MemoryVectorIndex;
//! use evenkeel::testing::conformance;
//!
//! conformance::index::store(8, || async { MemoryVectorIndex::default() }).await;
//! # });
//! ```

use std::future::Future;
use std::time::Duration;

use super::broken::{Broken, Finding};
use super::ensure;
use crate::cache::StoredAnswer;
use crate::cache::shared::{SharedAnswer, SharedEntry, Stamp, VectorIndex};
use crate::embed::Embedding;
use crate::response::ChatResponse;
use crate::rng::Rng;
use crate::time::{after, now, sleep_until};

/// Long beside a round trip, short enough to be waited for on a real clock.
const WHILE: Duration = Duration::from_secs(2);

/// Longer than any law takes.
const LONG: Duration = Duration::from_secs(600);

/// What an index may be off by: it may keep coordinates in half precision.
const ROUNDING: f32 = 0.005;

/// Runs every law against the indexes that `make` gives, with vectors of `dimensions` (at least 2).
/// Each is asked in partitions of its own, so they may be one index. Takes some seconds on a real
/// clock, and no time on a paused one.
///
/// # Panics
/// At the first law that is broken, with its name and what was seen.
pub async fn store<S, F, Fut>(dimensions: usize, make: F)
where
    S: VectorIndex,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    let suite = Suite { make, dimensions: dimensions.max(2), rng: Rng::from_entropy() };
    suite.law("what was inserted is found, as it was", inserted_is_found).await;
    suite.law("the nearest come first, and none below the least", nearest_first).await;
    suite.law("nothing is found beyond the partition", partitions_are_apart).await;
    suite.law("a few in a partition are found among many elsewhere", few_among_many).await;
    suite.law("the later one takes the place", later_replaces).await;
    suite.law("an entry expires, and says before what is left", entries_expire).await;
    suite.law("what was removed is gone", removed_is_gone).await;
}

struct Suite<F> {
    make: F,
    dimensions: usize,
    rng: Rng,
}

impl<S, F, Fut> Suite<F>
where
    S: VectorIndex,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    async fn law(&self, name: &str, law: impl AsyncFn(&Asking<S>) -> Finding) {
        let asking = Asking {
            index: (self.make)().await,
            dimensions: self.dimensions,
            rng: Rng::from_seed(self.rng.next_u64()),
        };
        if let Err(Broken(finding)) = law(&asking).await {
            panic!("vector index law broken: {name}: {finding}");
        }
    }
}

/// One law's index, with partitions that nobody else uses.
struct Asking<S> {
    index: S,
    dimensions: usize,
    rng: Rng,
}

impl<S: VectorIndex> Asking<S> {
    fn hash(&self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }

    /// At so many degrees from the first axis.
    fn vector(&self, degrees: f32) -> Embedding {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let mut coordinates = vec![0.0; self.dimensions];
        (coordinates[0], coordinates[1]) = (cos, sin);
        Embedding::new(coordinates).expect("a unit vector is one")
    }

    fn entry(&self, partition: u128, degrees: f32, text: &str) -> SharedEntry {
        let stored = StoredAnswer::new(ChatResponse::text_only(text));
        let stamps = vec![Stamp::new(self.hash(), u64::MAX)];
        let answer = SharedAnswer::new(self.hash(), stamps, stored, LONG);
        SharedEntry::new((partition, self.hash()), text, self.vector(degrees), answer)
    }

    async fn insert(&self, partition: u128, degrees: f32, text: &str) -> Finding {
        Ok(self.index.insert(&self.entry(partition, degrees, text)).await?)
    }

    async fn texts(&self, partition: u128, at_least: f32) -> Result<Vec<String>, Broken> {
        let found = self.index.nearest(partition, &self.vector(0.0), at_least).await?;
        Ok(found.iter().map(|near| near.entry.answer.answer.response.text()).collect())
    }

    async fn expect(&self, partition: u128, texts: &[&str]) -> Finding {
        let found = self.texts(partition, 0.9).await?;
        Ok(ensure(found == texts, || format!("{texts:?} are there, and {found:?} were found"))?)
    }
}

async fn pass(time: Duration) {
    sleep_until(after(now(), time)).await;
}

async fn inserted_is_found<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    asking.expect(partition, &[]).await?;
    let entry = asking.entry(partition, 10.0, "yes, \u{e9}, \u{1f980}");
    asking.index.insert(&entry).await?;
    let found = asking.index.nearest(partition, &asking.vector(0.0), 0.9).await?;
    let [near] = &found[..] else { return Err(Broken(format!("{} were found", found.len()))) };
    let cosine = 10f32.to_radians().cos();
    ensure((near.similarity - cosine).abs() < ROUNDING, || {
        format!("the cosine is {cosine}, not {}", near.similarity)
    })?;
    let (a, b) = (near.entry.vector.as_slice(), entry.vector.as_slice());
    let near_enough = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < ROUNDING);
    ensure(near_enough, || "the vector is another one")?;
    let whole = SharedEntry {
        vector: entry.vector.clone(),
        answer: near.entry.answer.clone().expires_in(LONG),
        ..near.entry.clone()
    };
    Ok(ensure(whole == entry, || "something else was found")?)
}

async fn nearest_first<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    for (degrees, text) in [(15.0, "third"), (3.0, "first"), (90.0, "far"), (9.0, "second")] {
        asking.insert(partition, degrees, text).await?;
    }
    asking.expect(partition, &["first", "second", "third"]).await?;
    let found = asking.texts(partition, 0.99).await?;
    ensure(found == ["first"], || format!("from 0.99 on there is one, not {found:?}"))?;
    let found = asking.texts(partition, 1.01).await?;
    Ok(ensure(found.is_empty(), || format!("{found:?} are nearer than the same"))?)
}

async fn partitions_are_apart<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    let others = [partition ^ 1, partition ^ (1 << 127), partition.rotate_left(64)];
    for other in others {
        asking.insert(other, 0.0, "elsewhere").await?;
    }
    asking.expect(partition, &[]).await?;
    asking.insert(partition, 0.0, "here").await?;
    asking.expect(partition, &["here"]).await?;
    asking.expect(others[0], &["elsewhere"]).await
}

/// An index that looks for the nearest first and at the partition afterwards finds too few.
async fn few_among_many<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let (partition, crowded) = (asking.hash(), asking.hash());
    for number in 0..300 {
        asking.insert(crowded, number as f32 / 100.0, "elsewhere").await?;
    }
    asking.insert(partition, 5.0, "near").await?;
    asking.insert(partition, 20.0, "less near").await?;
    asking.expect(partition, &["near", "less near"]).await
}

async fn later_replaces<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    let first = asking.entry(partition, 1.0, "first");
    asking.index.insert(&first).await?;
    let second = SharedEntry { exact: first.exact, ..asking.entry(partition, 2.0, "second") };
    asking.index.insert(&second).await?;
    asking.expect(partition, &["second"]).await
}

async fn entries_expire<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    let mut short = asking.entry(partition, 1.0, "short");
    short.answer.expires_in = WHILE;
    asking.index.insert(&short).await?;
    asking.insert(partition, 2.0, "long").await?;
    pass(WHILE / 2).await;
    let found = asking.index.nearest(partition, &asking.vector(0.0), 0.9).await?;
    let left = found.first().map(|near| near.entry.answer.expires_in).unwrap_or_default();
    ensure(left > WHILE / 4 && left <= WHILE * 51 / 100, || {
        format!("half of {WHILE:?} is left, not {left:?}")
    })?;
    pass(WHILE * 6 / 10).await;
    asking.expect(partition, &["long"]).await?;
    // Who else uses the index may have cleaned up already, so how many is not looked at.
    asking.index.clean_up().await?;
    asking.expect(partition, &["long"]).await
}

async fn removed_is_gone<S: VectorIndex>(asking: &Asking<S>) -> Finding {
    let partition = asking.hash();
    let entry = asking.entry(partition, 1.0, "gone");
    asking.index.remove(partition, entry.exact).await?;
    asking.index.insert(&entry).await?;
    asking.insert(partition, 2.0, "still here").await?;
    asking.index.remove(partition ^ 1, entry.exact).await?;
    asking.expect(partition, &["gone", "still here"]).await?;
    asking.index.remove(partition, entry.exact).await?;
    asking.expect(partition, &["still here"]).await
}
