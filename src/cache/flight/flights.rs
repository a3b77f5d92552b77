//! The door: who joins under a key, and in which role.

use std::fmt;
use std::sync::Arc;

use crate::cache::flight::bounds::FlightBounds;
use crate::cache::flight::fleet::Fleet;
use crate::cache::flight::follower::Follower;
use crate::cache::flight::leader::Leader;
use crate::cache::flight::piece::{Key, Piece};
use crate::time::Instant;

/// The calls that run and may be shared. Cheap to clone; clones share.
///
/// Memory is that of the running flights: a flight that has ended is forgotten at once, and gone
/// when its last participant is.
pub struct Flights<K: Key, P: Piece> {
    fleet: Arc<Fleet<K, P>>,
}

impl<K: Key, P: Piece> Flights<K, P> {
    /// No flights yet; each will keep as much as `bounds` allow.
    #[must_use]
    pub fn new(bounds: FlightBounds) -> Self {
        Self { fleet: Arc::new(Fleet::new(bounds)) }
    }

    /// Joins the flight of `key`, or starts one. The [horizon](crate::cache::flight::Horizon) of the
    /// flight rises to `deadline`; to leave at its deadline is the participant's own affair.
    ///
    /// Leads whoever comes first, and whoever comes while nobody does. A flight that has ended, or no
    /// longer keeps its answer from the start, is not joined: the call starts another one.
    ///
    /// Cost: two short locks, and two allocations for a new flight.
    pub fn join(&self, key: K, deadline: Instant) -> Joined<K, P> {
        match self.fleet.board(key, deadline) {
            (seat, true) => Joined::Lead(Leader::new(seat)),
            (seat, false) => Joined::Follow(Follower::new(seat)),
        }
    }

    /// How many flights take participants now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fleet.len()
    }

    /// Whether nothing is shared now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Key, P: Piece> Clone for Flights<K, P> {
    fn clone(&self) -> Self {
        Self { fleet: Arc::clone(&self.fleet) }
    }
}

impl<K: Key, P: Piece> Default for Flights<K, P> {
    fn default() -> Self {
        Self::new(FlightBounds::default())
    }
}

impl<K: Key, P: Piece> fmt::Debug for Flights<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("flights", &self.len()).finish_non_exhaustive()
    }
}

/// In which role a call joined.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a call leads or it does not")]
pub enum Joined<K: Key, P: Piece> {
    /// It is to prepare the upstream work and to launch it.
    Lead(Leader<K, P>),
    /// Another one leads.
    Follow(Follower<K, P>),
}
