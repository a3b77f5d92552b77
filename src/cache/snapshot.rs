//! A cache in a file.
//!
//! ```text
//! magic (8 bytes)  version (u32)  length (u64)  checksum (u128)  JSON
//! ```
//!
//! Numbers are little-endian. The checksum is HighwayHash under a fixed key: it finds damage, not
//! forgery. The JSON holds questions and answers as they are, and of tenants, namespaces and tags only
//! hashes; on Unix nobody but the owner may read it. A hash key of the cache's own is in it, so that
//! keys stay valid. One that [was given](CacheBuilder::secret) is not, for it is worth more than this
//! file: only a hash under it, by which the next cache knows its own. Vectors are not in it: entries
//! get theirs again when somebody looks for similar questions.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use highway::{HighwayHash, HighwayHasher, Key};
use serde::{Deserialize, Serialize};

use crate::cache::answer::StoredAnswer;
use crate::cache::builder::CacheBuilder;
use crate::cache::decision::Calibration;
use crate::cache::inner::Inner;
use crate::cache::key::{ExactKey, PartitionKey, ScopeKey, Secret};
use crate::cache::semantic_cache::SemanticCache;
use crate::cache::shared::Stamped;
use crate::cache::store::Entry;
use crate::error::BuildError;
use crate::time::{FAR_FUTURE, Instant, after, now, wall_clock};

const MAGIC: [u8; 8] = *b"evkcache";
const VERSION: u32 = 2;
const HEADER: usize = 8 + 4 + 8 + 16;

/// Why a snapshot was not written or read.
#[derive(Debug, thiserror::Error)]
#[error("cache snapshot {}: {fault}", path.display())]
#[non_exhaustive]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// What is the matter with it.
    pub fault: SnapshotFault,
}

/// What is the matter with a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// The file cannot be written or read.
    #[error(transparent)]
    Io(io::Error),
    /// It is another kind of file.
    #[error("is no cache snapshot")]
    NotASnapshot,
    /// It was written by another version of the format.
    #[error("has format {0}, this version reads {VERSION}")]
    Version(u32),
    /// Its contents are not what was written.
    #[error("is damaged")]
    Damaged,
    /// The cache it is loaded into cannot be built.
    #[error(transparent)]
    Build(BuildError),
}

#[derive(Serialize, Deserialize)]
struct Contents {
    saved: Duration,
    /// `None` where it was given to the cache.
    secret: Option<Secret>,
    /// What is the same under one secret and under no other.
    mark: Halves,
    embedder: Option<String>,
    calibration: Option<Calibration>,
    entries: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: Halves,
    scope: Halves,
    partition: Option<Halves>,
    question: Option<Box<str>>,
    tags: Vec<Halves>,
    /// What epochs they were in, where instances share them.
    #[serde(default)]
    epochs: Option<Box<[u64]>>,
    /// How long it was still to be served when it was saved.
    left: Duration,
    answer: StoredAnswer,
}

/// JSON readers differ in how they treat numbers of more than 64 bits.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Halves(u64, u64);

impl From<u128> for Halves {
    fn from(whole: u128) -> Self {
        Self((whole >> 64) as u64, whole as u64)
    }
}

impl From<Halves> for u128 {
    fn from(Halves(high, low): Halves) -> Self {
        Self::from(high) << 64 | Self::from(low)
    }
}

impl SemanticCache {
    /// Writes what the cache holds to a file, which is replaced in one step; how many entries. Blocks
    /// on the disk, and holds a copy of the cache meanwhile.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<usize, SnapshotError> {
        let path = path.as_ref();
        let contents = Contents::of(self.inner(), now());
        let written = write(path, &contents).map_err(SnapshotFault::Io);
        written.map_err(|fault| SnapshotError { path: path.into(), fault })?;
        Ok(contents.entries.len())
    }
}

impl CacheBuilder {
    /// Builds the cache with what [`SemanticCache::save`] wrote, as far as it still fits and is not
    /// too old. Blocks on the disk.
    ///
    /// # Errors
    /// Names the file and what is the matter with it, be it that the cache cannot be built.
    pub fn load(self, path: impl AsRef<Path>) -> Result<SemanticCache, SnapshotError> {
        let path = path.as_ref();
        let loaded = std::fs::read(path).map_err(SnapshotFault::Io);
        let loaded = loaded.and_then(|file| self.load_from(&file));
        loaded.map_err(|fault| SnapshotError { path: path.into(), fault })
    }

    /// The same, of a file that was read already.
    pub(super) fn load_from(self, file: &[u8]) -> Result<SemanticCache, SnapshotFault> {
        let contents = read(file)?;
        let secret = contents.secret.unwrap_or_else(Secret::random);
        let cache = self.build_with(secret).map_err(SnapshotFault::Build)?;
        contents.restore(cache.inner(), now());
        Ok(cache)
    }
}

impl Contents {
    fn of(inner: &Inner, now: Instant) -> Self {
        let entries = inner.store.entries().into_iter().map(|(_, entry)| entry);
        let fresh = entries.filter(|entry| entry.expires > now);
        Self {
            saved: since_epoch(),
            secret: (!inner.policies.may_share).then_some(inner.secret),
            mark: inner.secret.mark().into(),
            embedder: inner.embedder.as_ref().map(|embedder| embedder.id().to_owned()),
            calibration: inner.rule.lock().calibration.clone(),
            entries: fresh.map(|entry| Record::of(entry, now)).collect(),
        }
    }

    fn restore(self, inner: &Inner, now: Instant) {
        // A clock that was set back makes nothing younger than it was.
        let away = since_epoch().saturating_sub(self.saved);
        let same_embedder =
            inner.embedder.as_ref().map(|embedder| embedder.id().to_owned()) == self.embedder;
        if let (true, Some(learnt)) = (same_embedder, self.calibration) {
            inner.rule.lock().adopt(learnt);
        }
        // Under another secret nobody would find them.
        if inner.secret.mark() != u128::from(self.mark) {
            return;
        }
        for record in self.entries {
            record.restore(inner, away, now);
        }
    }
}

impl Record {
    fn of(entry: Entry, now: Instant) -> Self {
        Self {
            key: entry.key.0.into(),
            scope: entry.scope.0.into(),
            partition: entry.partition.map(|key| key.0.into()),
            question: entry.question.map(|text| Box::from(&*text)),
            tags: entry.tags.iter().map(|tag| Halves::from(*tag)).collect(),
            epochs: entry.stamped.map(|stamped| stamped.epochs),
            left: entry.expires - now,
            answer: StoredAnswer::clone(&entry.answer),
        }
    }

    /// What the cache would not take today is left out.
    fn restore(self, inner: &Inner, away: Duration, now: Instant) {
        let left = self.left.saturating_sub(away).min(inner.policies.ttl.unwrap_or(FAR_FUTURE));
        let admitted = inner.policies.admission.admit(&self.answer.response, self.answer.bytes());
        if left.is_zero() || admitted.is_err() {
            return;
        }
        let findable = inner.embedder.is_some() && self.question.is_some();
        let partition = self.partition.filter(|_| findable).map(|key| PartitionKey(key.into()));
        let (key, scope) = (ExactKey(self.key.into()), ScopeKey(self.scope.into()));
        let entry = Entry {
            partition,
            question: self.question.map(Arc::from),
            tags: self.tags.into_iter().map(u128::from).collect(),
            // To be asked for again: in no round of this instance.
            stamped: self.epochs.map(|epochs| Stamped { epochs, round: 0 }),
            ..Entry::new(key, scope, Arc::new(self.answer), after(now, left))
        };
        // What has no room any more is left out too.
        let _id = inner.keep(entry, None, None, now);
    }
}

fn write(path: &Path, contents: &Contents) -> io::Result<()> {
    let json = serde_json::to_vec(contents)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let mut file = private(&beside)?;
    file.write_all(&header(&json))?;
    file.write_all(&json)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// A file for its owner alone, as far as the system knows owners.
fn private(path: &OsStr) -> io::Result<File> {
    // What a crash left behind, or somebody put there, has rights of its own.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What stands before `json` in a file.
pub(super) fn header(json: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&(json.len() as u64).to_le_bytes());
    header[20..].copy_from_slice(&checksum(json).to_le_bytes());
    header
}

/// What a snapshot of the cache holds, as JSON.
#[cfg(feature = "__fuzz")]
pub(super) fn contents_of(cache: &SemanticCache) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Contents::of(cache.inner(), now()))
}

fn read(file: &[u8]) -> Result<Contents, SnapshotFault> {
    let rest = file.strip_prefix(&MAGIC).ok_or(SnapshotFault::NotASnapshot)?;
    let (version, rest) = rest.split_first_chunk().ok_or(SnapshotFault::Damaged)?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(SnapshotFault::Version(version));
    }
    let json = checked(rest).ok_or(SnapshotFault::Damaged)?;
    debug_assert_eq!(file.len(), HEADER + json.len());
    serde_json::from_slice(json).map_err(|_| SnapshotFault::Damaged)
}

/// The contents, if they are as long as they say and as they were.
fn checked(rest: &[u8]) -> Option<&[u8]> {
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, json) = rest.split_first_chunk()?;
    let whole = u64::from_le_bytes(*length) == json.len() as u64;
    (whole && u128::from_le_bytes(*sum) == checksum(json)).then_some(json)
}

fn checksum(bytes: &[u8]) -> u128 {
    let [low, high] = HighwayHasher::new(Key([1, 2, 3, 4])).hash128(bytes);
    u128::from(high) << 64 | u128::from(low)
}

fn since_epoch() -> Duration {
    wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
