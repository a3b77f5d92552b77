//! Entries to fill an index with.

use std::time::Duration;

use evenkeel::cache::StoredAnswer;
use evenkeel::cache::shared::{SharedAnswer, SharedEntry, Stamp};
use evenkeel::rng::Rng;
use evenkeel::{ChatResponse, Embedding};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// In eight dimensions, at so many degrees from the first axis.
pub(crate) fn at_degrees(degrees: f32) -> Embedding {
    let (sin, cos) = degrees.to_radians().sin_cos();
    Embedding::new(vec![cos, sin, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap()
}

pub(crate) fn answer(text: &str, labels: &[u128]) -> SharedAnswer {
    let stored = StoredAnswer::new(ChatResponse::text_only(text));
    let stamps = labels.iter().map(|label| Stamp::new(*label, 1)).collect();
    SharedAnswer::new(3, stamps, stored, LONG)
}

/// The entry of a question in a partition, which is also its answer.
pub(crate) fn entry(place: (u128, u128), text: &str, vector: Embedding) -> SharedEntry {
    SharedEntry::new(place, text, vector, answer(text, &[]))
}

/// Evenly in all directions.
pub(crate) fn anywhere(rng: &Rng, dimensions: usize) -> Embedding {
    // The sum of twelve is near enough to normal.
    let normal = |_| (0..12).map(|_| rng.unit()).sum::<f64>() as f32 - 6.0;
    Embedding::new((0..dimensions).map(normal).collect()).unwrap()
}

/// Somewhere around `center`.
pub(crate) fn around(rng: &Rng, center: &Embedding, spread: f32) -> Embedding {
    let noise = anywhere(rng, center.dimensions());
    let moved = center.as_slice().iter().zip(noise.as_slice()).map(|(c, n)| c + spread * n);
    Embedding::new(moved.collect()).unwrap()
}
