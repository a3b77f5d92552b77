//! An embedder that can fail, hang, panic or change its mind, and never takes a call with it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::embed::{Embedder, Embedding};
use crate::time::{after, now, until};

/// Longer questions are compared exactly only: embedders cut what is longer than they can read.
pub(crate) const MOST_EMBEDDED_BYTES: usize = 8 << 10;

/// An embedder and how long it may take.
#[derive(Clone)]
pub(crate) struct Guarded {
    embedder: Arc<dyn Embedder>,
    timeout: Duration,
}

impl Guarded {
    pub(crate) fn new(embedder: Arc<dyn Embedder>, timeout: Duration) -> Self {
        Self { embedder, timeout }
    }

    pub(crate) fn id(&self) -> &str {
        self.embedder.id()
    }

    /// One vector a text, all of the same number of dimensions; `None` for whatever goes wrong.
    pub(crate) async fn embed(&self, texts: &[&str]) -> Option<Vec<Embedding>> {
        let deadline = after(now(), self.timeout);
        let work = AssertUnwindSafe(async { self.embedder.embed(texts).await }).catch_unwind();
        let vectors = until(deadline, work).await?.ok()?.ok()?;
        let dimensions = vectors.first()?.dimensions();
        let fits = vectors.iter().all(|vector| vector.dimensions() == dimensions);
        (fits && vectors.len() == texts.len()).then_some(vectors)
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
