//! One participant's place in a flight.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::shared::Flight;
use crate::cache::flight::state::Turn;
use crate::cache::flight::waiters::MemberId;

/// A place in a flight, whatever the role. Dropping it leaves: a leader's role passes on, and with
/// the last place the work ends.
pub(super) struct Seat<K: Key, P: Piece> {
    flight: Arc<Flight<K, P>>,
    member: MemberId,
}

impl<K: Key, P: Piece> Seat<K, P> {
    pub(super) const fn new(flight: Arc<Flight<K, P>>, member: MemberId) -> Self {
        Self { flight, member }
    }

    pub(super) fn flight(&self) -> &Flight<K, P> {
        &self.flight
    }

    pub(super) const fn member(&self) -> MemberId {
        self.member
    }

    pub(super) fn poll(&self, position: u64, cx: &mut Context<'_>) -> Poll<Turn<P>> {
        self.flight.poll(self.member, position, cx)
    }
}

impl<K: Key, P: Piece> Drop for Seat<K, P> {
    fn drop(&mut self) {
        self.flight.leave(self.member);
    }
}

impl<K: Key, P: Piece> fmt::Debug for Seat<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (participants, bytes) = self.flight.size();
        f.debug_struct("Flight")
            .field("participants", &participants)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}
