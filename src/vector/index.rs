//! The index itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::embed::Embedding;
use crate::sync::Mutex;
use crate::vector::arch::{Kernels, kernels};
use crate::vector::chunk::Chunk;
use crate::vector::entries::Entries;
use crate::vector::error::VectorError;
use crate::vector::frame::Frame;
use crate::vector::leaders::{Leaders, Match};
use crate::vector::rotation::Rotation;
use crate::vector::search::Search;

/// The most dimensions: beyond, the tables of a search would be too coarse to tell entries apart.
const MOST_DIMENSIONS: usize = 1 << 16;

/// Up to so many entries all are read: preparing a query for the codes takes as long.
const READ_WHOLE: usize = 512;

/// How many times as many entries there must be before new chunks get a new mean.
const NEW_MEAN_AFTER: usize = 16;

/// As many vectors as tell where the mean is, to a hundredth of a vector's length.
const SAMPLE: usize = 4_096;

/// Unit vectors by key, and the search for those most similar to another.
///
/// All methods take `&self`; share it in an `Arc`. Searches block nobody and are blocked by nobody:
/// each sees the index as it was at one instant, when it began. Changes wait for one another.
pub struct ExactIndex {
    kernels: &'static Kernels,
    /// Up to so many entries are all read.
    read_whole: usize,
    entries: ArcSwap<Entries>,
    writer: Mutex<Writer>,
}

/// What only changes need.
#[derive(Default)]
struct Writer {
    slots: HashMap<u64, u32>,
    /// What new chunks are encoded with.
    frame: Option<Arc<Frame>>,
    /// How many entries there were when the frame was made.
    framed_at: usize,
}

impl ExactIndex {
    /// An empty index for vectors of so many dimensions.
    ///
    /// # Errors
    /// When `dimensions` is zero or above 65,536.
    pub fn new(dimensions: usize) -> Result<Self, VectorError> {
        Self::with(dimensions, kernels(), READ_WHOLE)
    }

    pub(super) fn with(
        dimensions: usize,
        kernels: &'static Kernels,
        read_whole: usize,
    ) -> Result<Self, VectorError> {
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(VectorError::DimensionsOutOfRange { dimensions, most: MOST_DIMENSIONS });
        }
        let entries = ArcSwap::from_pointee(Entries::new(dimensions));
        Ok(Self { kernels, read_whole, entries, writer: Mutex::new(Writer::default()) })
    }

    /// Stores a copy of `vector` under `key`, in place of what was there.
    ///
    /// Takes n log n steps in the number of dimensions, and the copying of some 60 kB. Growing past
    /// 512 entries takes the time of as many insertions, once.
    ///
    /// # Errors
    /// When the embedding has another number of dimensions, or 2^32 entries are stored.
    pub fn insert(&self, key: u64, vector: &Embedding) -> Result<(), VectorError> {
        self.check(vector)?;
        let mut writer = self.writer.lock();
        let mut entries = Entries::clone(&self.entries.load());
        match writer.slots.get(&key) {
            Some(&slot) => entries.set(slot as usize, key, vector.as_slice()),
            None => {
                let slot = u32::try_from(entries.len());
                let slot = slot.map_err(|_| VectorError::Full { entries: entries.len() })?;
                entries.push(key, vector.as_slice(), writer.frame.as_ref());
                writer.slots.insert(key, slot);
                self.renew_frame(&mut writer, &mut entries);
            }
        }
        self.entries.store(Arc::new(entries));
        Ok(())
    }

    /// Whether there was an entry under `key`, which is gone now. The last entry takes its place,
    /// so that there are never gaps; costs what an insertion costs.
    pub fn remove(&self, key: u64) -> bool {
        let mut writer = self.writer.lock();
        let Some(slot) = writer.slots.remove(&key) else { return false };
        let mut entries = Entries::clone(&self.entries.load());
        if let Some((last, vector)) = entries.pop()
            && last != key
        {
            entries.set(slot as usize, last, &vector);
            writer.slots.insert(last, slot);
        }
        if entries.len() == 0 {
            *writer = Writer::default();
        }
        self.entries.store(Arc::new(entries));
        true
    }

    /// The entry most similar to `query`, if its similarity is not below `threshold`. Of several
    /// equally similar ones, that with the smallest key.
    ///
    /// # Errors
    /// When the embedding has another number of dimensions, or the threshold is not within -1 and 1.
    pub fn best_above(
        &self,
        query: &Embedding,
        threshold: f32,
    ) -> Result<Option<Match>, VectorError> {
        Ok(self.top_above(query, 1, threshold)?.into_iter().next())
    }

    /// The `k` entries most similar to `query` whose similarity is not below `threshold`: the best
    /// first, equally similar ones by key. Fewer when there are fewer.
    ///
    /// # Errors
    /// As [`best_above`](Self::best_above).
    pub fn top_above(
        &self,
        query: &Embedding,
        k: usize,
        threshold: f32,
    ) -> Result<Vec<Match>, VectorError> {
        self.check(query)?;
        if !(-1.0..=1.0).contains(&threshold) {
            return Err(VectorError::Threshold { threshold });
        }
        let entries = self.entries.load();
        let search = Search::new(query.as_slice(), self.kernels, Leaders::new(k, threshold));
        Ok(search.through(&entries))
    }

    /// What entries are stored under, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<u64> {
        self.entries.load().chunks().flat_map(Chunk::keys).copied().collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many coordinates each vector has.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.entries.load().dimensions()
    }

    /// Bytes allocated for the entries: vectors, codes, keys and the table of keys. What running
    /// searches keep of earlier instants is not in it. Waits for a change under way.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let writer = self.writer.lock();
        self.entries.load().bytes() + writer.bytes()
    }

    /// Removes all entries.
    pub fn clear(&self) {
        let mut writer = self.writer.lock();
        *writer = Writer::default();
        self.entries.store(Arc::new(Entries::new(self.dimensions())));
    }

    fn check(&self, vector: &Embedding) -> Result<(), VectorError> {
        let (expected, found) = (self.dimensions(), vector.dimensions());
        if expected == found { Ok(()) } else { Err(VectorError::Dimensions { expected, found }) }
    }

    /// Codes begin when there are too many entries to read them all; later, chunks to come get a
    /// mean of more of the data.
    fn renew_frame(&self, writer: &mut Writer, entries: &mut Entries) {
        let due = match writer.frame {
            None => self.read_whole + 1,
            Some(_) => NEW_MEAN_AFTER * writer.framed_at,
        };
        if self.kernels.look_up.is_none() || entries.len() < due {
            return;
        }
        let (dimensions, first) = (entries.dimensions(), writer.frame.is_none());
        let rotation = match &writer.frame {
            Some(frame) => Arc::clone(&frame.rotation),
            None => Arc::new(Rotation::new(dimensions)),
        };
        let frame = Frame::around(rotation, dimensions, entries.rows_for_a_mean(SAMPLE));
        let frame = Arc::new(frame);
        if first {
            entries.encode(&frame);
        }
        writer.frame = Some(frame);
        writer.framed_at = entries.len();
    }
}

impl Writer {
    fn bytes(&self) -> usize {
        // A power of two of buckets, at most seven eighths full, with a byte of control each.
        let buckets = (self.slots.capacity() * 8).div_ceil(7).next_power_of_two();
        let bucket = size_of::<(u64, u32)>() + 1;
        let slots = if self.slots.capacity() == 0 { 0 } else { buckets * bucket };
        slots + self.frame.as_ref().map_or(0, |frame| frame.bytes())
    }
}

impl fmt::Debug for ExactIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.load();
        f.debug_struct("ExactIndex")
            .field("dimensions", &entries.dimensions())
            .field("len", &entries.len())
            .finish_non_exhaustive()
    }
}
