//! The role of whoever starts the work.

use futures::stream::BoxStream;

use crate::cache::flight::failure::Failure;
use crate::cache::flight::horizon::Horizon;
use crate::cache::flight::participant::Participant;
use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::seat::Seat;

/// The upstream work of a flight: items up to the [last](Piece::is_last), or a failure. It is dropped
/// with either, before anybody receives it, so all that the work holds is settled by then.
///
/// A call that is answered whole is a stream of one item. It should finish what it has to settle
/// before it gives its last item. A panic of it ends the flight with
/// [`FlightError::Panicked`](crate::cache::flight::FlightError::Panicked).
pub type Upstream<P> = BoxStream<'static, Result<P, Failure<<P as Piece>::Error>>>;

/// The right to launch a flight's work, while the others wait. Dropping it hands it to one of them.
///
/// What the leader waits for on its own account (its quota, say) belongs before the launch; what the
/// work holds for as long as it runs belongs into the work.
#[derive(Debug)]
#[must_use = "dropping it makes another participant the leader"]
pub struct Leader<K: Key, P: Piece> {
    seat: Seat<K, P>,
}

impl<K: Key, P: Piece> Leader<K, P> {
    pub(super) const fn new(seat: Seat<K, P>) -> Self {
        Self { seat }
    }

    /// By when the flight is wanted, for the work to go by.
    #[must_use]
    pub fn horizon(&self) -> Horizon {
        self.seat.flight().horizon.clone()
    }

    /// Hands the work to the flight. The leader is a participant like the others from then on.
    pub fn launch(self, upstream: Upstream<P>) -> Participant<K, P> {
        self.seat.flight().launch(self.seat.member(), upstream);
        Participant::new(self.seat)
    }
}
