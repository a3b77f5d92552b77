//! Embeddings in process: a table of word pieces' vectors, whose mean is the vector of a text.
//!
//! Such a model was distilled from a sentence encoder by
//! [Model2Vec](https://github.com/MinishLab/model2vec); no network runs, neither to load it nor to use
//! it. It knows which words mean alike and not how they stand to one another, so it is to be judged
//! between [`LexicalEmbedder`](crate::cache::LexicalEmbedder) and an encoder.
//!
//! **Cost.** A microsecond or two for each word of a text, of which at most 512 pieces are read. That
//! is done on the caller's thread, for handing it to another one would cost more; between two texts the
//! runtime gets its turn, so that a long list delays nobody by more than one text.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use highway::{HighwayHash as _, HighwayHasher, Key};
use model2vec_rs::model::StaticModel;

use crate::{Embedder, Embedding, ErrorKind, ProviderError};

/// The files of a model, as Model2Vec writes them.
const TOKENIZER: &str = "tokenizer.json";
const TABLE: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Larger files are no static model: the largest published one has half a gigabyte.
const MOST_BYTES: u64 = 2 << 30;

/// A static embedding model. Cheap to clone; clones share it.
///
/// ```no_run
/// use evenkeel::cache::SemanticCache;
/// use evenkeel::providers::Model2Vec;
///
/// let embedder = Model2Vec::load("models/potion-base-8M")?;
/// let cache = SemanticCache::builder().embedder(embedder).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Model2Vec {
    model: StaticModel,
    id: Box<str>,
}

impl Model2Vec {
    /// Loads the model in `directory`, which holds `tokenizer.json`, `model.safetensors` and
    /// `config.json`.
    ///
    /// Reads the files on the calling thread: megabytes, so load before you serve.
    ///
    /// # Errors
    /// Names the file that is missing, cannot be read or is too large, or the directory whose files are
    /// no model.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, ModelError> {
        let directory = directory.as_ref();
        let [tokenizer, table, config] =
            [TOKENIZER, TABLE, CONFIG].map(|name| read(directory.join(name)));
        let (tokenizer, table, config) = (tokenizer?, table?, config?);
        let load = || StaticModel::from_bytes(&tokenizer, &table, &config, Some(true));
        // Made for files it wrote itself: others may well be out of its bounds.
        let model = match catch_unwind(load) {
            Ok(loaded) => loaded.map_err(|error| format!("{error:#}")),
            Err(_) => Err("its files do not fit together".into()),
        };
        let id = id_of([&tokenizer, &table, &config]);
        let damaged = |why| ModelError { path: directory.into(), fault: ModelFault::Damaged(why) };
        Ok(Self { model: model.map_err(damaged)?, id })
    }

    /// How many coordinates a vector has.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.model.dim()
    }

    fn embed_one(&self, at: usize, text: &str) -> Result<Embedding, ProviderError> {
        // A vocabulary longer than the table shows only when such a word comes up.
        let vector = catch_unwind(AssertUnwindSafe(|| self.model.encode_single(text)));
        let vector = vector.map_err(|_| malformed(format!("text {at}: a word has no vector")))?;
        Embedding::new(vector).map_err(|invalid| {
            malformed(format!("text {at}: no word is known")).with_source(invalid)
        })
    }
}

#[async_trait]
impl Embedder for Model2Vec {
    /// Of the files' contents: another model, or another version of it, has another one.
    fn id(&self) -> &str {
        &self.id
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ProviderError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            vectors.push(self.embed_one(at, text)?);
        }
        Ok(vectors)
    }
}

impl fmt::Debug for Model2Vec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model2Vec")
            .field("id", &self.id)
            .field("dimensions", &self.dimensions())
            .finish_non_exhaustive()
    }
}

fn malformed(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, message)
}

fn id_of(files: [&[u8]; 3]) -> Box<str> {
    let mut hasher = HighwayHasher::new(Key::default());
    files.into_iter().for_each(|file| hasher.append(file));
    format!("model2vec/{:016x}", hasher.finalize64()).into()
}

fn read(path: PathBuf) -> Result<Vec<u8>, ModelError> {
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MOST_BYTES => {
            Err(ModelError { path, fault: ModelFault::TooLarge })
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(ModelError { path, fault: ModelFault::Io(error) }),
    }
}

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("static embedding model, {}: {fault}", path.display())]
#[non_exhaustive]
pub struct ModelError {
    /// The file, or the directory where it cannot be told which one of its files.
    pub path: PathBuf,
    /// What is the matter with it.
    pub fault: ModelFault,
}

/// What is the matter with a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFault {
    /// The file is not there or cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// The file has more than 2 GiB.
    #[error("is too large for a static model")]
    TooLarge,
    /// The files are no static model.
    #[error("is no static model: {0}")]
    Damaged(String),
}
