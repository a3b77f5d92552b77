//! The role of whoever receives an answer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::stream::{FusedStream, Stream};

use crate::cache::flight::failure::FlightError;
use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::seat::Seat;
use crate::cache::flight::state::Turn;

/// The answer of a flight, from its first item to its last.
///
/// After the last item, or an error item, the stream has ended, and the participant has left the
/// flight. Polling it may poll the flight's work. Dropping it leaves the flight, and cancels the work
/// where nobody else is on board.
#[must_use = "a participant that is dropped leaves its flight"]
pub struct Participant<K: Key, P: Piece> {
    /// `None` once it has received the end.
    seat: Option<Seat<K, P>>,
    received: u64,
}

impl<K: Key, P: Piece> Participant<K, P> {
    pub(super) const fn new(seat: Seat<K, P>) -> Self {
        Self { seat: Some(seat), received: 0 }
    }

    fn receive(&mut self, item: P) -> P {
        self.received += 1;
        if item.is_last() {
            self.seat = None;
        }
        item
    }

    fn end<T>(&mut self, end: T) -> T {
        self.seat = None;
        end
    }
}

impl<K: Key, P: Piece> Stream for Participant<K, P> {
    type Item = Result<P, FlightError<P::Error>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(seat) = &self.seat else { return Poll::Ready(None) };
        let turn = ready!(seat.poll(self.received, cx));
        Poll::Ready(match turn {
            Turn::Item(item) => Some(Ok(self.receive(item))),
            Turn::Broken(error) => Some(Err(self.end(error))),
            Turn::Complete => self.end(None),
            Turn::Lead => {
                unreachable!("a launcher hears of its own failure first, others never launched")
            }
        })
    }
}

impl<K: Key, P: Piece> FusedStream for Participant<K, P> {
    fn is_terminated(&self) -> bool {
        self.seat.is_none()
    }
}

impl<K: Key, P: Piece> fmt::Debug for Participant<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant")
            .field("received", &self.received)
            .field("flight", &self.seat)
            .finish()
    }
}
