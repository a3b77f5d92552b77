//! PostgreSQL with pgvector: where instances find the answers to similar questions.
//!
//! [`PostgresIndex`] is a [`VectorIndex`](crate::cache::shared::VectorIndex): one table, whose rows are
//! a question's vector and its answer, looked through by cosine within one partition.
//!
//! **Table.** [`migrate`](PostgresIndex::migrate) makes it and brings it up to date; nothing else here
//! changes a schema. Call it when a version is deployed; several instances may do so at once.
//!
//! **Search.** A partition of at most [`exact_up_to`](PostgresIndexBuilder::exact_up_to) rows is read
//! from end to end, found by a B-tree: nothing in it is missed, however many rows others have. A larger
//! one goes through an HNSW index over half precision, which is told to go on until it has found enough
//! of this partition (`hnsw.iterative_scan`): without that, a filter applied after the search would
//! leave too few. What it finds is compared anew in single precision. It is approximate all the same: a
//! row apart from where most rows crowd may not be found, and its question is then asked anew, which is
//! why small partitions are not left to it. The choice is made by counting the rows, within the same
//! statement; for a large partition the server may still find reading it cheaper.
//!
//! **Precision.** Rows keep vectors in single precision; only the HNSW index rounds them. It can rank
//! two neighbours wrongly whose cosines differ by less than 0.001 (each coordinate is off by at most
//! one part in 2048, so a cosine by at most 0.0005), and thereby miss one, but no similarity that is
//! returned is off by more than single precision: a threshold is never passed by rounding. That costs
//! two bytes a coordinate more than half precision would.
//!
//! **Versions.** PostgreSQL with pgvector from 0.6; tested with 16.2 and 0.6.2, and with 18.4 and 0.8.5.
//! The HNSW index needs pgvector 0.8, which brought iterative scans; before it, the rows of a large
//! partition that expire last are looked through, as many as `exact_up_to` says. Vectors of more than
//! 4,000 dimensions, and of other than the [configured](PostgresIndexBuilder::dimensions) number, are
//! searched like that too.
//!
//! **Connections.** A few, each worked by a task of its own, which are started when something is first
//! asked and end with the index: a search keeps a server's process busy for milliseconds, and on one
//! connection the next would wait behind it. A connection that broke, or whose server does not answer,
//! is made anew with pauses between attempts; while there is none, operations fail at once. Every
//! statement has a deadline on the server too ([`statement_timeout`](PostgresIndexBuilder::statement_timeout)).
//! An operation whose future is dropped may still be carried out. TLS is not spoken: over a network that
//! is not your own, connect through a tunnel.
//!
//! **Size.** Measured with 384 and 1,536 dimensions: a row takes 2 and 8 kB and the compressed answer, an
//! entry of the HNSW index 1.2 and 4.1 kB. That index wants to be in the server's memory.
//!
//! **What the server sees.** Hashes, vectors, sizes and times. Questions and answers are encrypted and
//! sealed with the secret, together with the row's place and vector: a row that was altered, or whose
//! answer was taken from another row, is [`StoreError::Garbled`](crate::remote::StoreError::Garbled).
//! Vectors are in the clear, and tell roughly what was asked to whoever has the embedder. Whoever can
//! write to the table can delete rows, and make them last longer.

mod builder;
mod cover;
mod dial;
mod entry;
mod fault;
mod index;
mod lines;
mod link;
mod migration;
mod pace;
mod sql;
mod standing;

pub use builder::PostgresIndexBuilder;
pub use index::PostgresIndex;
