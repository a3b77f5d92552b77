//! Boundaries of the histograms. The facade leaves them to the exporter.

use crate::observe::metrics::instruments::{HISTOGRAMS, Scale};

/// Seconds that a call or an attempt takes: the conventions' boundaries, and three more for reasoning
/// models that take minutes.
pub const DURATION: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36,
];

/// Seconds between two chunks: the conventions' boundaries, and three below for fast models.
pub const OUTPUT_CHUNK: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48,
    40.96, 81.92,
];

/// Seconds of the crate's own: a millisecond is much.
pub const OVERHEAD: &[f64] =
    &[0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

/// Tokens: the conventions' boundaries.
pub const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The cosine of two questions.
pub const SIMILARITY: &[f64] =
    &[0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0];

/// Every histogram with its boundaries, for exporters that take them by name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    HISTOGRAMS.iter().map(|(name, scale, _)| (*name, of(*scale)))
}

const fn of(scale: Scale) -> &'static [f64] {
    match scale {
        Scale::Duration => DURATION,
        Scale::OutputChunk => OUTPUT_CHUNK,
        Scale::Overhead => OVERHEAD,
        Scale::Tokens => TOKENS,
        Scale::Similarity => SIMILARITY,
    }
}
