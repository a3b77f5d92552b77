//! Entries as rows.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cover::Cover;
use crate::cache::shared::{Neighbour, SharedAnswer, SharedEntry};
use crate::embed::Embedding;
use crate::remote::StoreError;
use crate::stores::envelope::{MOST_STORED, Sealer};
use crate::vector::dot;

/// Longer than any answer is served, and far from where the server's calendar ends.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How many labels are kept of an answer.
const MOST_LABELS: usize = 64;

/// Turns entries into rows and back.
#[derive(Clone)]
pub(super) struct Entries {
    sealer: Sealer,
    cover: Cover,
}

/// An entry as it is written.
pub(super) struct Written {
    pub(super) partition: Vec<u8>,
    pub(super) exact: Vec<u8>,
    pub(super) vector: Vec<f32>,
    pub(super) body: Vec<u8>,
    pub(super) labels: Vec<Vec<u8>>,
    pub(super) micros: i64,
}

/// A row as it was read.
pub(super) struct Read {
    pub(super) exact: Vec<u8>,
    pub(super) vector: Vec<f32>,
    pub(super) body: Vec<u8>,
    pub(super) micros: i64,
}

#[derive(Serialize)]
struct Sealed<'a> {
    question: &'a str,
    answer: &'a SharedAnswer,
}

#[derive(Deserialize)]
struct Opened {
    question: String,
    answer: SharedAnswer,
}

impl Entries {
    pub(super) fn new(sealer: Sealer) -> Self {
        let cover = Cover::new(&sealer);
        Self { sealer, cover }
    }

    /// # Errors
    /// Where the answer is too large to be kept.
    pub(super) fn write(&self, entry: &SharedEntry) -> Result<Written, StoreError> {
        let SharedEntry { partition, exact, question, vector, answer, .. } = entry;
        if answer.stamps.len() > MOST_LABELS {
            return Err(StoreError::TooLarge { most: MOST_LABELS });
        }
        let place = place(*partition, *exact, vector.as_slice());
        let sealed = self.sealer.seal(&place, &Sealed { question, answer })?;
        let mut body = sealed.ok_or(StoreError::TooLarge { most: MOST_STORED })?;
        self.cover.turn(&mut body);
        let labels = answer.stamps.iter().map(|stamp| stamp.label.to_be_bytes().to_vec());
        Ok(Written {
            partition: partition.to_be_bytes().to_vec(),
            exact: exact.to_be_bytes().to_vec(),
            vector: vector.as_slice().to_vec(),
            body,
            labels: labels.collect(),
            micros: answer.expires_in.min(LONGEST).as_micros() as i64,
        })
    }

    /// The entry and how similar it is to `wanted`.
    ///
    /// # Errors
    /// [`StoreError::Garbled`] where the row is not as it was written.
    pub(super) fn read(
        &self,
        partition: u128,
        read: Read,
        wanted: &Embedding,
    ) -> Result<Neighbour, StoreError> {
        let Read { exact, vector, mut body, micros } = read;
        let exact = exact.try_into().map(u128::from_be_bytes);
        let exact = exact.map_err(|_| StoreError::Garbled("the question's hash is cut".into()))?;
        self.cover.turn(&mut body);
        let opened: Opened = self.sealer.open(&place(partition, exact, &vector), &body)?;
        let vector = Embedding::new(vector).map_err(|why| StoreError::Garbled(why.into()))?;
        let similarity = dot(vector.as_slice(), wanted.as_slice());
        let similarity = similarity.map_err(|why| StoreError::Garbled(why.into()))?;
        let left = Duration::from_micros(micros.max(0) as u64);
        let answer = opened.answer.expires_in(left);
        let entry = SharedEntry::new((partition, exact), opened.question, vector, answer);
        Ok(Neighbour::new(similarity, entry))
    }
}

/// What a body is sealed for: an answer that is moved to another question, partition or vector is not
/// opened.
fn place(partition: u128, exact: u128, vector: &[f32]) -> Vec<u8> {
    let mut place = b"index".to_vec();
    place.extend(partition.to_be_bytes());
    place.extend(exact.to_be_bytes());
    place.extend(vector.iter().flat_map(|coordinate| coordinate.to_le_bytes()));
    place
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}
