//! The role of whoever waits for an answer that another one has asked for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::cache::flight::leader::Leader;
use crate::cache::flight::participant::Participant;
use crate::cache::flight::piece::{Key, Piece};
use crate::cache::flight::seat::Seat;
use crate::cache::flight::state::Turn;

/// Waits until the flight has something to give: its first item, or the leader's role.
///
/// Polling it may poll the flight's work. Dropping it leaves the flight.
#[derive(Debug)]
#[must_use = "a follower waits only while it is polled"]
pub struct Follower<K: Key, P: Piece> {
    /// `None` once it has boarded.
    seat: Option<Seat<K, P>>,
}

/// What a follower's wait comes to.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a call leads or it does not")]
pub enum Boarded<K: Key, P: Piece> {
    /// The leader left or failed by its own fault before anything was received: the follower is to
    /// launch work of its own.
    Lead(Leader<K, P>),
    /// The flight has begun or ended. The first item is at hand, or the failure is.
    Ride(Participant<K, P>),
}

impl<K: Key, P: Piece> Follower<K, P> {
    pub(super) const fn new(seat: Seat<K, P>) -> Self {
        Self { seat: Some(seat) }
    }
}

impl<K: Key, P: Piece> Future for Follower<K, P> {
    type Output = Boarded<K, P>;

    /// # Panics
    /// When polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let seat = self.seat.as_ref().expect("a future is not polled after it was ready");
        let turn = ready!(seat.poll(0, cx));
        let seat = self.seat.take().expect("it was there");
        Poll::Ready(match turn {
            Turn::Lead => Boarded::Lead(Leader::new(seat)),
            // The participant reads it again, from the start.
            Turn::Item(_) | Turn::Complete | Turn::Broken(_) => {
                Boarded::Ride(Participant::new(seat))
            }
        })
    }
}
