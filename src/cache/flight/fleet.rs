//! The flights that take members, by key.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use crate::cache::flight::bounds::FlightBounds;
use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::seat::Seat;
use crate::cache::flight::shared::Flight;
use crate::cache::store::Identity;
use crate::sync::Mutex;
use crate::time::Instant;

/// Enough that two calls at the same moment seldom meet; one under the model checker, which must not
/// see a random choice.
const SHARDS: usize = if cfg!(evenkeel_loom) { 1 } else { 64 };

type Shard<K, P> = Mutex<HashMap<Hashed<K>, Arc<Flight<K, P>>, BuildHasherDefault<Identity>>>;

/// A key with its hash, which a flight needs five times over its life.
#[derive(Clone)]
pub(super) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Key> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl<K: Key> Eq for Hashed<K> {}

impl<K: Key> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The map. A shard's lock is taken before a flight's, never after.
pub(super) struct Fleet<K: Key, P: Piece> {
    shards: Box<[Shard<K, P>]>,
    hasher: RandomState,
    bounds: FlightBounds,
}

impl<K: Key, P: Piece> Fleet<K, P> {
    pub(super) fn new(bounds: FlightBounds) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::default())).collect();
        Self { shards, hasher: RandomState::new(), bounds }
    }

    pub(super) const fn bounds(&self) -> FlightBounds {
        self.bounds
    }

    /// A seat in the flight of `key`, in a new one where none takes members; and whether it leads.
    pub(super) fn board(self: &Arc<Self>, key: K, deadline: Instant) -> (Seat<K, P>, bool) {
        let key = Hashed { hash: self.hasher.hash_one(&key), key };
        let mut shard = self.shard(&key).lock();
        if let Some(flight) = shard.get(&key)
            && let Some((member, leads)) = flight.board(deadline)
        {
            return (Seat::new(Arc::clone(flight), member), leads);
        }
        let flight = Arc::new(Flight::new(self, key.clone(), deadline));
        let (member, leads) = flight.board(deadline).expect("a new flight takes members");
        let over = shard.insert(key, Arc::clone(&flight));
        drop(shard);
        // Its destructor may be the last to see its items, which are foreign.
        drop(over);
        (Seat::new(flight, member), leads)
    }

    /// Forgets the flight: who comes later shall not find it.
    pub(super) fn unlink(&self, flight: &Flight<K, P>) {
        let mut shard = self.shard(&flight.key).lock();
        // Another flight may have taken its place by now.
        if shard.get(&flight.key).is_some_and(|linked| std::ptr::eq(&**linked, flight)) {
            let linked = shard.remove(&flight.key);
            drop(shard);
            drop(linked);
        }
    }

    /// How many flights take members.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, key: &Hashed<K>) -> &Shard<K, P> {
        // The map goes by the lowest and the highest bits.
        &self.shards[(key.hash >> 32) as usize % SHARDS]
    }
}
