//! What is found, beside what reading everything finds.

use evenkeel::Embedding;
use evenkeel::cache::shared::VectorIndex as _;
use evenkeel::rng::Rng;
use evenkeel::stores::postgres::PostgresIndex;
use evenkeel::vector::dot;
use futures::{StreamExt as _, stream};

use crate::entries::{anywhere, around, entry};
use crate::server::{Server, Version};

const DIMENSIONS: usize = 24;
const ROWS: u128 = 5_000;
/// One row in a hundred is in the selective partition, one in two in the large one.
const SELECTIVE: u128 = 1;
const LARGE: u128 = 2;

struct Filled {
    rng: Rng,
    centers: Vec<Embedding>,
    rows: Vec<(u128, u128, Embedding)>,
}

impl Filled {
    /// Half of the vectors anywhere, half of them in fifty clusters that partitions have in common.
    fn new(seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        let centers: Vec<_> = (0..50).map(|_| anywhere(&rng, DIMENSIONS)).collect();
        let mut filled = Self { rng, centers, rows: Vec::new() };
        for exact in 0..ROWS {
            let partition = match exact % 100 {
                0 => SELECTIVE,
                1..=50 => LARGE,
                other => other,
            };
            let vector = filled.question();
            filled.rows.push((partition, exact, vector));
        }
        filled
    }

    fn question(&self) -> Embedding {
        if self.rng.below(2) == 0 {
            return anywhere(&self.rng, DIMENSIONS);
        }
        let center = &self.centers[self.rng.below(50) as usize];
        around(&self.rng, center, 0.3)
    }

    async fn insert(&self, index: &PostgresIndex) {
        let inserting = stream::iter(&self.rows).map(|(partition, exact, vector)| async move {
            index.insert(&entry((*partition, *exact), "q", vector.clone())).await
        });
        let inserted: Vec<_> = inserting.buffer_unordered(16).collect().await;
        inserted.into_iter().for_each(Result::unwrap);
    }

    /// The similarities of a partition that are at least so much, greatest first.
    fn brute_force(&self, partition: u128, wanted: &Embedding, at_least: f32) -> Vec<f32> {
        let here = self.rows.iter().filter(|(there, ..)| *there == partition);
        let similarities =
            here.map(|(.., vector)| dot(vector.as_slice(), wanted.as_slice()).unwrap());
        let mut similar: Vec<_> = similarities.filter(|it| *it >= at_least).collect();
        similar.sort_by(|a, b| b.total_cmp(a));
        similar
    }
}

async fn similarities(
    index: &PostgresIndex,
    partition: u128,
    wanted: &Embedding,
    at_least: f32,
) -> Vec<f32> {
    let found = index.nearest(partition, wanted, at_least).await.unwrap();
    found.iter().map(|near| near.similarity).collect()
}

/// Reading a vector scales it anew, which moves its last digits.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[tokio::test]
async fn a_selective_partition_is_searched_exactly_among_many_rows_of_others() {
    for version in Version::BOTH {
        let server = Server::shared(version).await;
        let index = server.index("recall").dimensions(DIMENSIONS).build().unwrap();
        index.migrate().await.unwrap();
        let filled = Filled::new(1);
        filled.insert(&index).await;
        let mut hits = 0;
        for at_least in [-1.0, 0.2, 0.5, 0.9] {
            for _ in 0..50 {
                let wanted = filled.question();
                let mut expected = filled.brute_force(SELECTIVE, &wanted, at_least);
                expected.truncate(4);
                hits += expected.len();
                let found = similarities(&index, SELECTIVE, &wanted, at_least).await;
                assert!(
                    same(&found, &expected),
                    "{version:?} from {at_least}: {found:?} {expected:?}"
                );
            }
        }
        assert!(hits > 400, "{hits} were there to be found");
    }
}

/// Searches that go through the HNSW index, though the partition is a hundredth of what is in it.
#[tokio::test]
async fn the_approximate_search_finds_enough_and_overstates_nothing() {
    let server = Server::shared(Version::Newest).await;
    let index = server
        .index_that_is_approximate("approximate")
        .dimensions(DIMENSIONS)
        .exact_up_to(10)
        .build()
        .unwrap();
    index.migrate().await.unwrap();
    let filled = Filled::new(2);
    filled.insert(&index).await;
    for partition in [SELECTIVE, LARGE] {
        let (mut best, mut all) = (0, 0);
        for _ in 0..200 {
            let wanted = filled.question();
            let expected = filled.brute_force(partition, &wanted, 0.3);
            let found = similarities(&index, partition, &wanted, 0.3).await;
            assert!(found.len() >= expected.len().min(4) * 3 / 4, "{found:?} of {expected:?}");
            let Some(nearest) = expected.first() else { continue };
            all += 1;
            best += usize::from(found.first().is_some_and(|found| (found - nearest).abs() < 1e-6));
            // Each is the similarity of a row, to single precision.
            let is_one = |found: &f32| expected.iter().any(|it| (it - found).abs() < 1e-6);
            assert!(found.iter().all(is_one), "{found:?} of {expected:?}");
        }
        println!("partition {partition}: the nearest of {all} was found {best} times");
        assert!(all >= 100 && best * 100 >= all * 97, "{best} of {all}");
    }
}
