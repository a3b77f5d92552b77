//! Vectors compared, and the most similar of many found.
//!
//! [`dot`] and [`cosine`] compare two slices, [`dot_four`] one with four. [`ExactIndex`] holds unit
//! vectors ([`Embedding`](crate::embed::Embedding)s) by key and finds those whose cosine with
//! another is not below a threshold.
//!
//! ```
//! use evenkeel::Embedding;
//! use evenkeel::vector::ExactIndex;
//!
//! let index = ExactIndex::new(2)?;
//! index.insert(7, &Embedding::new(vec![3.0, 4.0])?)?;
//! index.insert(8, &Embedding::new(vec![-4.0, 3.0])?)?;
//!
//! let found = index.best_above(&Embedding::new(vec![0.6, 0.8])?, 0.97)?;
//! assert_eq!(found.map(|found| found.key), Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Guarantees.** A search is exact: it finds what scoring every entry with [`dot`] would find, at
//! any threshold, and the similarities it returns are those scores, kept between -1 and 1. Searches
//! take no lock: each sees the index as it was at one instant, whatever changes meanwhile. There are
//! never gaps: the last entry moves to where one was removed, in the same instant. Memory is the
//! vectors, an eighth of a byte a dimension (a quarter for vectors that share a direction), and some
//! 60 bytes an entry.
//!
//! **How.** Vectors are rotated at random, after which their signs say much about them: one bit a
//! dimension, as in RaBitQ (Gao, Long 2024). From the signs and three numbers follows an upper bound
//! of the cosine; what cannot reach the threshold, or the best so far, is dismissed. The codes of 32
//! entries are read at once, by looking bytes up in registers as in Quick ADC (André, Kermarrec, Le
//! Scouarnec 2017). What the first two thirds of a code rule out, or so, is read no further; what is
//! left at the end is scored. The bounds hold in every case, rounding included. Embeddings that all
//! point to one side are taken relative to their mean, and get a second bit a dimension.
//!
//! Entries form a persistent sequence of chunks: a change copies the chunk it touches, and publishes
//! the new sequence with one pointer swap.
//!
//! **Cost.** At 384 dimensions, threshold 0.9 and clustered vectors, a search takes about 2 ns an
//! entry, where reading the vectors takes 30 to 70; an insertion takes 4 us. Up to 512 entries are
//! all read. The entry that makes them more has all of them encoded, which takes the time of as many
//! insertions, once. `cargo bench --bench search` and `cargo ratios` measure on your machine.
//!
//! **Limits.** Time grows with the number of entries: beyond a million, an approximate index is
//! faster. The lower the threshold, the fewer are dismissed; where hardly any are, a search takes a
//! little longer than reading all. Codes need AVX2: on other processors all vectors are read, four
//! at a time. The mean is taken when the entries have grown sixteenfold, for chunks that come later:
//! if what is stored changes its character without growing, results stay exact and take longer. The
//! rotation is the same in every process: someone who chooses the vectors can choose them to be
//! hard to tell apart.

mod arch;
mod bound;
mod chunk;
mod codes;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod door;
mod entries;
mod error;
mod frame;
mod index;
#[cfg(test)]
mod laws;
mod leaders;
mod portable;
mod product;
mod question;
mod rotation;
mod rows;
mod search;
mod slack;

pub use error::VectorError;
pub use index::ExactIndex;
pub use leaders::Match;
pub use product::{cosine, dot, dot_four};
