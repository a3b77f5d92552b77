//! An embedder that hangs, fails and panics now and then.

use std::future::pending;

use evenkeel::cache::LexicalEmbedder;
use evenkeel::rng::Rng;
use evenkeel::{Embedder, Embedding, ErrorKind, ProviderError, async_trait};

use crate::world::PLANNED;

pub(crate) struct Moody {
    embedder: LexicalEmbedder,
    rng: Rng,
    /// How often each of them happens.
    share: f64,
}

impl Moody {
    pub(crate) fn new(rng: &Rng) -> Self {
        let share = 0.2 * rng.unit();
        Self { embedder: LexicalEmbedder::new(), rng: Rng::from_seed(rng.next_u64()), share }
    }
}

#[async_trait]
impl Embedder for Moody {
    fn id(&self) -> &str {
        self.embedder.id()
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let drawn = self.rng.unit() / self.share;
        match drawn {
            ..1.0 => pending().await,
            1.0..2.0 => Err(ProviderError::new(ErrorKind::Server, "no embedding today")),
            2.0..3.0 => panic!("{PLANNED}"),
            _ => self.embedder.embed(texts).await,
        }
    }
}
