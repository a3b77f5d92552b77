//! Random schedules of joining, polling, leaving and failing, on an executor that polls only what was
//! woken: a wake-up that is lost is a call that never ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::stream::Stream;
use proptest::prelude::*;

use super::script::{Act, Bell, Note, Tap};
use super::{
    Boarded, Failure, FlightError, Flights, Follower, Joined, Leader, Participant, Upstream,
};
use crate::time::now;

const OWN: &str = "the leader's own";
const SHARED: &str = "everybody's";

/// What happens next. Indexes are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Event {
    Join,
    /// A call is polled if it was woken.
    Run(usize),
    /// A call is polled though nobody woke it.
    Poke(usize),
    Leave(usize),
    Give(usize),
    Disturb(usize),
    FailOwn(usize),
    FailShared(usize),
    Panic(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = 0..64usize;
    let event = prop_oneof![
        4 => Just(Event::Join),
        12 => index.clone().prop_map(Event::Run),
        2 => index.clone().prop_map(Event::Poke),
        4 => index.clone().prop_map(Event::Leave),
        6 => index.clone().prop_map(Event::Give),
        2 => index.clone().prop_map(Event::Disturb),
        1 => index.clone().prop_map(Event::FailOwn),
        1 => index.clone().prop_map(Event::FailShared),
        1 => index.prop_map(Event::Panic),
    ];
    prop::collection::vec(event, 0..120)
}

enum Role {
    Leading(Leader<u8, Note>),
    Following(Follower<u8, Note>),
    Riding(Participant<u8, Note>),
    Ended(Result<(), FlightError<&'static str>>),
}

struct Call {
    /// `None` once it has left.
    role: Option<Role>,
    bell: Bell,
    runnable: bool,
    /// Whether it has launched work.
    launched: bool,
    received: Vec<u32>,
}

#[derive(Default)]
struct World {
    flights: Flights<u8, Note>,
    calls: Vec<Call>,
    /// The work of each launch, and how many items it was told to give.
    taps: Vec<(Tap, u32)>,
}

impl World {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Join => self.join(),
            Event::Run(index) => {
                if let Some(call) = pick(&self.calls, index).filter(|&call| self.is_woken(call)) {
                    self.run(call);
                }
            }
            Event::Poke(index) => {
                pick(&self.calls, index).into_iter().for_each(|call| self.run(call))
            }
            Event::Leave(index) => {
                if let Some(call) = pick(&self.calls, index) {
                    self.calls[call].role = None;
                }
            }
            Event::Give(index) => self.give(index, |number| Act::Give(Note::new(number))),
            Event::Disturb(index) => {
                pick(&self.taps, index).into_iter().for_each(|tap| self.taps[tap].0.disturb());
            }
            Event::FailOwn(index) => self.give(index, |_| Act::Fail(Failure::Own(OWN))),
            Event::FailShared(index) => self.give(index, |_| Act::Fail(Failure::Shared(SHARED))),
            Event::Panic(index) => self.give(index, |_| Act::Panic),
        }
    }

    fn join(&mut self) {
        let role = match self.flights.join(0, now()) {
            Joined::Lead(leader) => Role::Leading(leader),
            Joined::Follow(follower) => Role::Following(follower),
        };
        let (bell, received) = (Bell::default(), Vec::new());
        self.calls.push(Call { role: Some(role), bell, runnable: true, launched: false, received });
    }

    /// One more act of a launch's work.
    fn give(&mut self, index: usize, act: impl Fn(u32) -> Act) {
        if let Some(launch) = pick(&self.taps, index) {
            let (tap, given) = &mut self.taps[launch];
            tap.then(act(launch as u32 * 1_000 + *given));
            *given += 1;
        }
    }

    fn is_woken(&self, call: usize) -> bool {
        let call = &self.calls[call];
        let runs = !matches!(call.role, None | Some(Role::Ended(_)));
        runs && (call.runnable || call.bell.rings() > 0)
    }

    /// Polls a call once.
    fn run(&mut self, index: usize) {
        let call = &mut self.calls[index];
        let Some(role) = call.role.take() else { return };
        call.bell.has_rung();
        let waker = call.bell.waker();
        let mut cx = Context::from_waker(&waker);
        let (role, runnable) = match role {
            Role::Leading(leader) => {
                call.launched = true;
                let launched = launch(&mut self.taps);
                (Role::Riding(leader.launch(launched)), true)
            }
            Role::Following(mut follower) => match follower.poll_unpin(&mut cx) {
                Poll::Ready(Boarded::Lead(leader)) => (Role::Leading(leader), true),
                Poll::Ready(Boarded::Ride(participant)) => (Role::Riding(participant), true),
                Poll::Pending => (Role::Following(follower), false),
            },
            Role::Riding(mut participant) => match Pin::new(&mut participant).poll_next(&mut cx) {
                Poll::Ready(Some(Ok(note))) => {
                    call.received.push(note.number);
                    (Role::Riding(participant), true)
                }
                Poll::Ready(Some(Err(error))) => (Role::Ended(Err(error)), false),
                Poll::Ready(None) => (Role::Ended(Ok(())), false),
                Poll::Pending => (Role::Riding(participant), false),
            },
            ended @ Role::Ended(_) => (ended, false),
        };
        call.role = Some(role);
        call.runnable = runnable;
    }

    /// Polls what was woken until nothing is.
    fn settle(&mut self) {
        while let Some(woken) = (0..self.calls.len()).find(|&call| self.is_woken(call)) {
            self.run(woken);
        }
    }

    /// Lets everything end as it must: with the last item of all work that runs.
    fn finish(&mut self) {
        self.settle();
        let mut finished = 0;
        while finished < self.taps.len() {
            for launch in finished..self.taps.len() {
                self.give(launch, |number| Act::Give(Note::last(number)));
            }
            finished = self.taps.len();
            self.settle();
        }
    }

    fn check(&self) {
        for call in &self.calls {
            let Some(role) = &call.role else { continue };
            let Role::Ended(end) = role else { panic!("a call waits for ever") };
            let launch = call.received.first().map_or(0, |first| first / 1_000);
            let expected: Vec<_> = (launch * 1_000..).take(call.received.len()).collect();
            assert_eq!(call.received, expected, "in order, from the start, of one launch");
            match end {
                Ok(()) => assert!(!call.received.is_empty()),
                Err(FlightError::Upstream(OWN)) => assert!(
                    call.launched || !call.received.is_empty(),
                    "another call's own failure reached one that had received nothing",
                ),
                Err(FlightError::Upstream(_) | FlightError::Panicked) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(self.flights.is_empty());
        assert!(self.taps.iter().all(|(tap, _)| tap.running() == 0));
    }
}

fn launch(taps: &mut Vec<(Tap, u32)>) -> Upstream<Note> {
    let tap = Tap::default();
    let work = tap.work();
    taps.push((tap, 0));
    work
}

fn pick<T>(of: &[T], index: usize) -> Option<usize> {
    (!of.is_empty()).then(|| index % of.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_every_call_that_stays_ends_as_it_should(events in events()) {
        let mut world = World::default();
        events.into_iter().for_each(|event| world.apply(event));
        world.finish();
        world.check();
    }
}
