//! One shard: entries by key, within bounds, and who leaves when there is no room. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::fifo::S3Fifo;
use super::shares::{Held, Shares};
use crate::cache::answer::StoredAnswer;
use crate::cache::key::{ExactKey, PartitionKey, ScopeKey};
use crate::cache::lexical::Words;
use crate::cache::shared::Stamped;
use crate::time::Instant;

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Names one entry once: the place it lies in, and the how-manieth to lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryId(pub(crate) u64);

/// Bits of an [`EntryId`] that name the shard, and the place in it.
const SHARD_BITS: u32 = 6;
const PLACE_BITS: u32 = 26;

/// As many shards as ids can tell apart.
pub(super) const MOST_SHARDS: usize = 1 << SHARD_BITS;
/// As many entries in one shard as ids can tell apart.
pub(super) const MOST_PLACES: usize = 1 << PLACE_BITS;

impl EntryId {
    /// Names no entry: there are fewer shards.
    pub(crate) const NOWHERE: Self = Self(u64::MAX);

    const fn new(shard: u8, place: u32, generation: u32) -> Self {
        let place = (place as u64) << SHARD_BITS;
        Self((generation as u64) << (SHARD_BITS + PLACE_BITS) | place | shard as u64)
    }

    pub(super) const fn shard(self) -> usize {
        (self.0 & (MOST_SHARDS as u64 - 1)) as usize
    }

    const fn place(self) -> u32 {
        ((self.0 >> SHARD_BITS) & (MOST_PLACES as u64 - 1)) as u32
    }

    const fn generation(self) -> u32 {
        (self.0 >> (SHARD_BITS + PLACE_BITS)) as u32
    }
}

/// An answer and what it answers.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: ExactKey,
    pub(crate) scope: ScopeKey,
    /// Where similar questions look for it; `None` where they may not.
    pub(crate) partition: Option<PartitionKey>,
    /// The last user text.
    pub(crate) question: Option<Arc<str>>,
    /// Its words, for the rules that compare them: once it has a vector, where there are such rules.
    pub(crate) words: Option<Arc<Words>>,
    pub(crate) answer: Arc<StoredAnswer>,
    pub(crate) tags: Box<[u128]>,
    /// What epochs the tags were in, where instances share them.
    pub(crate) stamped: Option<Stamped>,
    pub(crate) expires: Instant,
    /// What it counts for, its vector and its words included.
    pub(crate) bytes: usize,
    /// The part of it that its vector and its words count for.
    pub(crate) findable_bytes: usize,
}

/// What an entry costs beside its contents: its place, its links, its part of the maps (a third of
/// which may be empty) and a ghost.
const OVERHEAD: usize = size_of::<Slot>() + 2 * size_of::<(ExactKey, u32)>() + 96;

impl Entry {
    /// An answer to the very same question only. It counts for something once it is stored.
    pub(crate) fn new(
        key: ExactKey,
        scope: ScopeKey,
        answer: Arc<StoredAnswer>,
        expires: Instant,
    ) -> Self {
        Self {
            key,
            scope,
            partition: None,
            question: None,
            words: None,
            answer,
            tags: Box::default(),
            stamped: None,
            expires,
            bytes: 0,
            findable_bytes: 0,
        }
    }

    /// What it counts for before it has a vector and words.
    pub(super) fn weight(&self) -> usize {
        // A tag and its epoch.
        let tags = self.tags.len() * (size_of::<u128>() + size_of::<u64>());
        OVERHEAD + self.answer.bytes() + self.question.as_deref().map_or(0, str::len) + tags
    }
}

/// Why an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Evicted,
    Expired,
    Replaced,
    Invalidated,
}

/// An entry that left, for those who know it by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) id: EntryId,
    pub(crate) partition: Option<PartitionKey>,
    pub(crate) why: Gone,
}

/// What was found under a key.
#[derive(Debug)]
pub(crate) enum Found {
    Fresh {
        id: EntryId,
        answer: Arc<StoredAnswer>,
        /// In which round it was found not to be taken back; 0 for none.
        round: u64,
    },
    /// It was there, and has just left.
    Expired(Removed),
    Nothing,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Debug)]
pub(super) struct Shard {
    number: u8,
    map: HashMap<ExactKey, u32, BuildHasherDefault<Identity>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    fifo: S3Fifo,
    shares: Shares,
    held: Held,
    most: Held,
    /// Where the search for expired entries goes on.
    hand: usize,
}

impl Shard {
    /// An empty shard that holds at most `most`, of which each scope has at most `share` when others
    /// want room.
    pub(super) fn new(number: u8, most: Held, share: Held) -> Self {
        Self {
            number,
            map: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            fifo: S3Fifo::default(),
            shares: Shares::new(share),
            held: Held::default(),
            most,
            hand: 0,
        }
    }

    pub(super) const fn held(&self) -> Held {
        self.held
    }

    pub(super) fn get(&mut self, key: ExactKey, now: Instant) -> Found {
        let Some(&place) = self.map.get(&key) else { return Found::Nothing };
        match &self.slots[place as usize].entry {
            Some(entry) if entry.expires > now => {
                let answer = Arc::clone(&entry.answer);
                let round = entry.stamped.as_ref().map_or(0, |stamped| stamped.round);
                self.fifo.touch(place);
                Found::Fresh { id: self.id(place), answer, round }
            }
            _ => self.remove_at(place, Gone::Expired).map_or(Found::Nothing, Found::Expired),
        }
    }

    /// The entry of an id, unless it has left or expired.
    pub(super) fn entry(&self, id: EntryId, now: Instant) -> Option<&Entry> {
        let slot = self.slots.get(id.place() as usize)?;
        let entry = slot.entry.as_ref().filter(|_| slot.generation == id.generation());
        entry.filter(|entry| entry.expires > now)
    }

    pub(super) fn touch(&mut self, id: EntryId) {
        if self.is_current(id) {
            self.fifo.touch(id.place());
        }
    }

    /// Stores an entry in place of the one under its key, and makes room first: the bounds hold
    /// throughout. `None` when it would not fit an empty shard.
    pub(super) fn insert(
        &mut self,
        entry: Entry,
        now: Instant,
        removed: &mut Vec<Removed>,
    ) -> Option<EntryId> {
        if Held::default().plus(entry.bytes).exceeds(self.most) {
            return None;
        }
        if let Some(&place) = self.map.get(&entry.key) {
            removed.extend(self.remove_at(place, Gone::Replaced));
        }
        self.look_for_expired(now, removed);
        while self.held.plus(entry.bytes).exceeds(self.most) {
            removed.extend(self.evict(entry.scope, entry.bytes));
        }
        Some(self.put(entry))
    }

    fn put(&mut self, entry: Entry) -> EntryId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).expect("the bounds keep places within u32")
        });
        self.held = self.held.plus(entry.bytes);
        self.map.insert(entry.key, place);
        self.fifo.insert(place, entry.key.0 as u64);
        self.shares.add(entry.scope, place, entry.bytes);
        self.slots[place as usize].entry = Some(entry);
        self.id(place)
    }

    /// Counts a vector of `bytes` for an entry, and gives it its words, at the cost of others. False
    /// when it is no longer there, be it that there was no room.
    pub(super) fn grow(
        &mut self,
        id: EntryId,
        bytes: usize,
        words: Option<Arc<Words>>,
        removed: &mut Vec<Removed>,
    ) -> bool {
        let bytes = bytes + words.as_ref().map_or(0, |words| words.bytes());
        self.shrink(id);
        while self.is_current(id) && self.held.bytes.saturating_add(bytes) > self.most.bytes {
            let Some(scope) = self.slots[id.place() as usize].entry.as_ref().map(|e| e.scope)
            else {
                return false;
            };
            removed.extend(self.evict(scope, bytes));
        }
        if !self.is_current(id) {
            return false;
        }
        if let Some(entry) = &mut self.slots[id.place() as usize].entry {
            entry.words = words;
            entry.bytes += bytes;
            entry.findable_bytes = bytes;
            self.held.bytes += bytes;
            self.shares.grow(entry.scope, bytes);
        }
        true
    }

    /// Notes that an entry was not taken back.
    pub(super) fn restamp(&mut self, id: EntryId, stamped: Stamped) {
        if self.is_current(id)
            && let Some(entry) = &mut self.slots[id.place() as usize].entry
        {
            entry.stamped = Some(stamped);
        }
    }

    /// Takes back what an entry's vector and words counted for: it is about to get others.
    fn shrink(&mut self, id: EntryId) {
        if !self.is_current(id) {
            return;
        }
        if let Some(entry) = &mut self.slots[id.place() as usize].entry {
            let bytes = std::mem::take(&mut entry.findable_bytes);
            entry.words = None;
            entry.bytes -= bytes;
            self.held.bytes -= bytes;
            self.shares.shrink(entry.scope, bytes);
        }
    }

    /// Keeps an entry for the very same question only. The partition it leaves.
    pub(super) fn seclude(&mut self, id: EntryId) -> Option<PartitionKey> {
        let slot = self.slots.get_mut(id.place() as usize)?;
        let entry = slot.entry.as_mut().filter(|_| slot.generation == id.generation())?;
        entry.partition.take()
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Removed> {
        if self.is_current(id) { self.remove_at(id.place(), Gone::Invalidated) } else { None }
    }

    /// Removes what `doomed` says. Linear in the entries.
    pub(super) fn remove_where(
        &mut self,
        why: Gone,
        removed: &mut Vec<Removed>,
        doomed: impl Fn(&Entry) -> bool,
    ) {
        for place in 0..self.slots.len() {
            if self.slots[place].entry.as_ref().is_some_and(&doomed) {
                removed.extend(self.remove_at(place as u32, why));
            }
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        let slots = self.slots.iter().zip(0..);
        slots.filter_map(|(slot, place)| Some((self.id(place), slot.entry.as_ref()?)))
    }

    fn is_current(&self, id: EntryId) -> bool {
        let slot = self.slots.get(id.place() as usize);
        slot.is_some_and(|slot| slot.generation == id.generation() && slot.entry.is_some())
    }

    fn id(&self, place: u32) -> EntryId {
        EntryId::new(self.number, place, self.slots[place as usize].generation)
    }

    /// Two places at every insertion: expired entries are found while others come.
    fn look_for_expired(&mut self, now: Instant, removed: &mut Vec<Removed>) {
        for _ in 0..2.min(self.slots.len()) {
            self.hand = (self.hand + 1) % self.slots.len();
            let entry = self.slots[self.hand].entry.as_ref();
            if entry.is_some_and(|entry| entry.expires <= now) {
                removed.extend(self.remove_at(self.hand as u32, Gone::Expired));
            }
        }
    }

    /// Turns out one entry to make room for one of `scope`.
    fn evict(&mut self, scope: ScopeKey, bytes: usize) -> Option<Removed> {
        let heavy = self.shares.gives_way(scope, bytes, self.held.entries);
        let place = match heavy {
            Some(scope) => self.coldest_of(scope),
            None => self.fifo.victim(),
        };
        self.remove_at(place?, Gone::Evicted)
    }

    /// The oldest entry of a scope that was not used since it was passed over (CLOCK).
    fn coldest_of(&mut self, scope: ScopeKey) -> Option<u32> {
        loop {
            let place = self.shares.oldest(scope)?;
            if !self.fifo.cool(place) {
                return Some(place);
            }
            self.shares.turn(scope, place);
        }
    }

    fn remove_at(&mut self, place: u32, why: Gone) -> Option<Removed> {
        let id = self.id(place);
        let slot = &mut self.slots[place as usize];
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(place);
        self.map.remove(&entry.key);
        self.fifo.remove(place);
        self.shares.remove(entry.scope, place, entry.bytes);
        self.held.entries -= 1;
        self.held.bytes -= entry.bytes;
        Some(Removed { id, partition: entry.partition, why })
    }
}
