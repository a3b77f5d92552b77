//! Every order of what threads may do to a flight, under the model checker. A wake-up that is lost is
//! a deadlock there.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt as _;
use loom::thread;

use super::script::{Act, Note, Tap};
use super::{Boarded, Failure, Flights, Follower, Joined, Leader, Participant};
use crate::time::now;

struct Unparks(thread::Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn lead(flights: &Flights<u8, Note>) -> Leader<u8, Note> {
    match flights.join(0, now()) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("somebody leads"),
    }
}

fn follow(flights: &Flights<u8, Note>) -> Follower<u8, Note> {
    match flights.join(0, now()) {
        Joined::Lead(_) => panic!("nobody leads"),
        Joined::Follow(follower) => follower,
    }
}

/// The numbers it receives, to the end.
fn read(participant: Participant<u8, Note>) -> Vec<u32> {
    block_on(participant.map(|item| item.unwrap().number).collect())
}

/// Follows, or leads with an answer of one item, numbered `own`.
fn call(follower: Follower<u8, Note>, own: u32) -> Vec<u32> {
    match block_on(follower) {
        Boarded::Ride(participant) => read(participant),
        Boarded::Lead(leader) => {
            read(leader.launch(Tap::with([Act::Give(Note::last(own))]).work()))
        }
    }
}

#[test]
fn loom_items_reach_both_whoever_polls() {
    loom::model(|| {
        let (flights, tap) = (Flights::default(), Tap::default());
        let leading = lead(&flights).launch(tap.work());
        let follower = follow(&flights);
        let other = thread::spawn(move || call(follower, 9));
        let giver = {
            let tap = tap.clone();
            thread::spawn(move || tap.then(Act::Give(Note::last(0))))
        };
        assert_eq!(read(leading), [0]);
        assert_eq!(other.join().unwrap(), [0]);
        giver.join().unwrap();
        assert_eq!((flights.len(), tap.running()), (0, 0));
    });
}

#[test]
fn loom_whoever_leaves_hands_on_what_it_was_woken_for() {
    loom::model(|| {
        let (flights, tap) = (Flights::default(), Tap::default());
        let mut leading = lead(&flights).launch(tap.work());
        let follower = follow(&flights);
        let other = thread::spawn(move || call(follower, 9));
        let giver = {
            let tap = tap.clone();
            thread::spawn(move || tap.then(Act::Give(Note::last(0))))
        };
        let mut cx = Context::from_waker(Waker::noop());
        let _ = futures::Stream::poll_next(Pin::new(&mut leading), &mut cx);
        drop(leading);
        assert_eq!(other.join().unwrap(), [0]);
        giver.join().unwrap();
        assert_eq!((flights.len(), tap.running()), (0, 0));
    });
}

#[test]
fn loom_a_leader_that_leaves_is_replaced_by_one() {
    loom::model(|| {
        let flights = Flights::default();
        let leader = lead(&flights);
        let others = [1, 2].map(|own| {
            let follower = follow(&flights);
            thread::spawn(move || call(follower, own))
        });
        drop(leader);
        let [one, other] = others.map(|other| other.join().unwrap());
        assert!(one == other && (one == [1] || one == [2]), "{one:?} {other:?}");
        assert!(flights.is_empty());
    });
}

#[test]
fn loom_a_leaders_own_failure_reaches_it_and_a_follower_starts_anew() {
    loom::model(|| {
        let (flights, own) = (Flights::default(), Tap::default());
        let mut leading = lead(&flights).launch(own.work());
        let follower = follow(&flights);
        let other = thread::spawn(move || call(follower, 1));
        let giver = {
            let own = own.clone();
            thread::spawn(move || own.then(Act::Fail(Failure::Own("late"))))
        };
        assert!(block_on(leading.next()).unwrap().is_err());
        drop(leading);
        assert_eq!(other.join().unwrap(), [1]);
        giver.join().unwrap();
        assert_eq!((flights.len(), own.running()), (0, 0));
    });
}

#[test]
fn loom_whoever_comes_as_the_last_one_leaves_finds_a_flight() {
    loom::model(|| {
        let (flights, tap) = (Flights::default(), Tap::with([Act::Give(Note::last(0))]));
        let leading = lead(&flights).launch(tap.work());
        let comer = {
            let flights = flights.clone();
            thread::spawn(move || match flights.join(0, now()) {
                Joined::Lead(leader) => {
                    read(leader.launch(Tap::with([Act::Give(Note::last(1))]).work()))
                }
                Joined::Follow(follower) => call(follower, 1),
            })
        };
        drop(leading);
        let received = comer.join().unwrap();
        assert!(received == [0] || received == [1]);
        assert_eq!((flights.len(), tap.running()), (0, 0));
    });
}
